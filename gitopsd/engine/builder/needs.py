"""What a build is given: images, a way to run a command, processes for work on strangers' bytes.

The daemon hands these in. All of them may be called from several threads at once, and block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from gitopsd.oci.manifest import Descriptor

Emit = Callable[[Mapping[str, Any]], None]
"""Takes one object of Docker's build stream."""


@dataclass(frozen=True)
class Layer:
    """One layer of an image: the digest of its tar, and the blob that holds it."""

    diff_id: str
    blob: Descriptor


@dataclass(frozen=True)
class BaseImage:
    """An image to start from, its layers the lowest first."""

    id: str
    digest: str
    document: Mapping[str, Any]
    """The image config document."""
    layers: tuple[Layer, ...]

    @property
    def config(self) -> dict[str, Any]:
        """What a container of it is made with."""
        return self.document.get("config") or {}

    @property
    def history(self) -> list[Mapping[str, Any]]:
        return self.document.get("history") or []


@dataclass(frozen=True)
class BuiltImage:
    id: str
    digest: str
    """Of its manifest."""


class ImageStore(Protocol):
    def find(self, reference: str) -> Optional[BaseImage]:
        """The image of that name that is here, for this machine's platform. `name@sha256:…` only if it is that one."""
        ...

    def pull(self, reference: str, emit: Emit) -> BaseImage:
        """Fetch it, reporting progress in the pull stream's form."""
        ...

    def has(self, layers: Sequence[Layer]) -> bool:
        """Whether all of these, one above the other, are here and can be mounted."""
        ...

    def lower(self, layers: Sequence[Layer]) -> tuple[str, ...]:
        """Their folders below `layers_root`, the highest first, as overlay takes them."""
        ...

    @property
    def layers_root(self) -> str: ...

    def add_layer(self, below: Sequence[Layer], upper: str, epoch: Optional[int]) -> Layer:
        """Make a layer of an overlay's upper folder. No time in it is later than `epoch`, in seconds, where one is given."""
        ...

    def add_image(self, layers: Sequence[Layer], config: bytes, names: Sequence[str]) -> BuiltImage:
        """Make an image of layers that are here, and give it these names."""
        ...


@dataclass(frozen=True)
class Command:
    """A command to run in a stage: its root is an overlay of `lower` (below the store's `layers_root`) with `upper` on top."""

    lower: tuple[str, ...]
    upper: str
    work: str
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    directory: str
    user: str
    network: str = "default"
    extra_hosts: tuple[str, ...] = ()
    shm_size_bytes: int = 0


@dataclass(frozen=True)
class Ended:
    exit_code: int
    mounted: tuple[str, ...]
    """Where the container had something mounted: what was made there only to mount on is no part of the layer."""


class Runner(Protocol):
    def run(self, command: Command, output: Callable[[bytes], None], cancelled: threading.Event) -> Ended:
        """Run it to its end, handing on what it prints as it comes. When `cancelled` is set it is killed."""
        ...


RunWorker = Callable[[str, "dict[str, Any]", "list[int]"], Any]
"""Runs `module:function` with (arguments, descriptors) in a limited process. What that raises comes back as an ApiError."""
