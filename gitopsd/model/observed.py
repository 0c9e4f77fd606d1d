"""What the hosts have, read into the same form as what they should have.  [pure]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from gitopsd.model.desired import ContainerSpec, NetworkSpec, VolumeSpec

ContainerState = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]
HealthState = Literal["none", "starting", "healthy", "unhealthy"]


@dataclass(frozen=True)
class ObservedContainer:
    """Of the fleet (`stack` set) or a stranger (`stack` None), which is shown and never touched."""

    id: str
    generation: int
    spec: ContainerSpec
    state: ContainerState
    stack: str | None = None
    service: str | None = None
    replica: int = 0
    config: str = ""
    """The label: the config hash it was created with."""
    exit_code: int = 0
    health: HealthState = "none"
    started_at: str = ""
    replaces: str | None = None
    """The container whose place it takes at the transition, if it waits for one."""
    said: ContainerSpec | None = None
    """What it was created with; `spec` has what changes in place as it is now. None: the same."""

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.stack or "", self.service or "", self.replica)


@dataclass(frozen=True)
class ObservedNetwork:
    id: str
    generation: int
    spec: NetworkSpec
    stack: str | None = None
    config: str = ""


@dataclass(frozen=True)
class ObservedVolume:
    generation: int
    spec: VolumeSpec
    stack: str | None = None
    config: str = ""


@dataclass(frozen=True)
class ObservedImage:
    digest: str
    references: tuple[str, ...] = ()
    size_bytes: int = 0


@dataclass(frozen=True)
class HostFacts:
    """What a host is; `number` and `block` None until it was given its place in the fleet."""

    fleet: str | None = None
    number: int | None = None
    block: str | None = None
    architecture: str = ""
    kernel: str = ""
    os: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    free_bytes: int = 0
    engine_version: str = ""


@dataclass(frozen=True)
class Lease:
    stack: str
    holder: str
    token: int


@dataclass(frozen=True)
class HostObserved:
    """One host; `error` says why it is Unknown, and then the rest is what was last seen, or empty."""

    host: str
    etag: str = ""
    error: str | None = None
    facts: HostFacts = HostFacts()
    containers: tuple[ObservedContainer, ...] = ()
    networks: tuple[ObservedNetwork, ...] = ()
    volumes: tuple[ObservedVolume, ...] = ()
    images: tuple[ObservedImage, ...] = ()
    leases: tuple[Lease, ...] = ()
    intent_etag: str = "0"
    intent: tuple[tuple[str, Any], ...] = ()

    @property
    def is_reachable(self) -> bool:
        return self.error is None


@dataclass(frozen=True)
class Observed:
    hosts: tuple[HostObserved, ...]

    def host(self, name: str) -> HostObserved:
        return next(host for host in self.hosts if host.host == name)
