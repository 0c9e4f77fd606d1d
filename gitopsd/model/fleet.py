"""What `gitopsd.yaml` says.  [pure]"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gitopsd.model.errors import Where

EngineKind = Literal["bundled", "docker", "podman"]
Pairs = tuple[tuple[str, str], ...]
"""A mapping as a sorted tuple of pairs: frozen, hashable, stable in JSON."""


@dataclass(frozen=True)
class Host:
    """One machine and how it is reached."""

    name: str
    address: str
    user: str = "root"
    port: int = 22
    key: str | None = None
    """Path of the private key on the controller; None: the controller's own."""
    host_keys: tuple[str, ...] = ()
    """Accepted host keys, `ssh-ed25519 AAAA…`; empty: the known_hosts file decides."""
    jump: str | None = None
    """The name of another host of the fleet to go through."""
    labels: Pairs = ()
    engine: EngineKind = "bundled"
    maintenance: bool = False
    where: Where = field(default=Where(), compare=False)


@dataclass(frozen=True)
class Registry:
    """Where built images go and who answers for other registries."""

    address: str
    """`host:port`, as images are named."""
    embedded: bool = True
    """Whether the controller runs it itself."""
    mirrors: Pairs = ()
    """Registry to the address that answers for it: `("docker.io", "127.0.0.1:5000")`."""
    insecure: tuple[str, ...] = ()
    """Registries that are spoken to without TLS; those on loopback always are."""


@dataclass(frozen=True)
class StackEntry:
    """A stack as the fleet file lists it."""

    name: str
    file: str
    hosts: tuple[str, ...] = ()
    """Hosts that it may use; empty: all of them."""
    constraints: tuple[str, ...] = ()
    deploy: Literal["auto", "manual"] = "auto"
    drift: Literal["heal", "notify", "off"] = "heal"
    values: Pairs = ()
    """Values for interpolation and templates, as JSON texts."""
    where: Where = field(default=Where(), compare=False)


@dataclass(frozen=True)
class Fleet:
    name: str
    hosts: tuple[Host, ...]
    registry: Registry
    stacks: tuple[StackEntry, ...]
    pool: str = "10.192.0.0/11"
    known_hosts: str | None = None
    """Path on the controller of a known_hosts file; None: the user's and the system's."""
    poll_s: float = 30.0
    drift_s: float = 60.0

    def host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)
