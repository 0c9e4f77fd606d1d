"""What each host should have, every name resolved.  [pure]

`ContainerSpec` is also the form that what a host has is read into (observed.py), so that a diff compares like with like.
Version 1 of its JSON and of the config hash: docs/formats.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gitopsd.model.errors import Where
from gitopsd.model.fleet import Pairs
from gitopsd.model.stack import Attachment, BlockedStack, Dependency, Healthcheck, Mount, Port, Restart

DESIRED_VERSION = 1


@dataclass(frozen=True)
class ImageChoice:
    """Which bytes to run. Equality is by `digest`; one that is not built yet has only its `key`."""

    reference: str
    """The name that people read: `busybox:stable`, `shop/web`."""
    digest: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class ContainerSpec:
    """A container as it is asked for. None, empty and 0 mean: not said, the image's or the engine's default holds."""

    name: str
    image: ImageChoice
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Pairs = ()
    labels: Pairs = ()
    """Those of the user; the controller's own stand in DesiredContainer."""
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    networks: tuple[Attachment, ...] = ()
    healthcheck: Healthcheck | None = None
    restart: Restart = Restart()
    memory_bytes: int = 0
    nano_cpus: int = 0
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    read_only: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    stop_grace_ns: int = 0
    stop_signal: str = ""


@dataclass(frozen=True)
class NetworkSpec:
    name: str
    internal: bool = False
    subnet: str = ""
    labels: Pairs = ()


@dataclass(frozen=True)
class VolumeSpec:
    name: str
    labels: Pairs = ()


@dataclass(frozen=True)
class DesiredContainer:
    stack: str
    service: str
    replica: int
    spec: ContainerSpec
    config: str
    """Config hash of `spec`, `1:…`."""
    depends_on: tuple[Dependency, ...] = ()
    order: Literal["start-first", "stop-first"] = "start-first"
    reason: str = ""
    """Why it is on this host."""
    where: Where = field(default=Where(), compare=False)
    ports_at: Where = field(default=Where(), compare=False)

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.stack, self.service, self.replica)


@dataclass(frozen=True)
class DesiredNetwork:
    stack: str
    spec: NetworkSpec
    config: str


@dataclass(frozen=True)
class DesiredVolume:
    stack: str
    spec: VolumeSpec
    config: str


@dataclass(frozen=True)
class HostDesired:
    host: str
    containers: tuple[DesiredContainer, ...] = ()
    networks: tuple[DesiredNetwork, ...] = ()
    volumes: tuple[DesiredVolume, ...] = ()


@dataclass(frozen=True)
class Desired:
    fleet: str
    hosts: tuple[HostDesired, ...]
    stacks: tuple[str, ...]
    """Every stack that this Desired speaks for: an object of a fleet's stack that is not named here was removed from Git."""
    held: tuple[str, ...] = ()
    """Stacks that nobody may touch now (a broken file, a hold): their objects are left as they are."""
    blocked: tuple[BlockedStack, ...] = ()
    """Those of the held that an error holds, and the errors."""
    version: int = DESIRED_VERSION

    def host(self, name: str) -> HostDesired:
        return next((host for host in self.hosts if host.host == name), HostDesired(name))


@dataclass(frozen=True)
class PinnedImage:
    """A name and the manifest digest it means now; `digest` None: it must be built, or nobody has it (`error`)."""

    reference: str
    digest: str | None
    error: str | None = None
    """Who was asked and what they said."""
    location: str = ""
    """Where its blobs are: `host:port/repository` of the registry that answered."""


@dataclass(frozen=True)
class BuildWant:
    """An image that is made here, and whether it is there already. What the key covers: docs/formats.md."""

    stack: str
    service: str
    repository: str
    """`<registry>/<stack>/<service>`."""
    key: str
    context: str
    context_tree: str
    dockerfile: str
    args: Pairs
    bases: Pairs
    """Name in FROM to manifest digest."""
    platform: str
    epoch: int
    """SOURCE_DATE_EPOCH: when the context was last touched."""
    digest: str | None = None
    """The manifest digest, if the registry has the key; None: to be built."""
    error: str | None = None
    """Why it can be neither built nor found: a base that nobody has, a registry that does not answer. Blocks its stack."""
    where: Where = field(default=Where(), compare=False)


@dataclass(frozen=True)
class Pins:
    """All names that the stacks use, resolved once, so that all hosts run the same bytes."""

    images: tuple[PinnedImage, ...] = ()
    builds: tuple[BuildWant, ...] = ()

    def image(self, reference: str) -> PinnedImage | None:
        return next((pin for pin in self.images if pin.reference == reference), None)

    def build(self, stack: str, service: str) -> BuildWant | None:
        return next((want for want in self.builds if (want.stack, want.service) == (stack, service)), None)
