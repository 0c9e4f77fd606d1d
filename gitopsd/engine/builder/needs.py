"""What a build is given besides images: a way to run a command, processes for work on strangers' bytes.

The daemon hands these in. All of them may be called from several threads at once, and block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Emit = Callable[[Mapping[str, Any]], None]
"""Takes one object of Docker's build stream."""


@dataclass(frozen=True)
class Command:
    """A command to run in a stage: its root is an overlay of `lower` (short ids, the highest first) with `upper` on top."""

    lower: tuple[str, ...]
    upper: str
    work: str
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    directory: str
    user: str
    network: str = "default"
    extra_hosts: tuple[str, ...] = ()


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
