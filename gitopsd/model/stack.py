"""A stack file, rendered, interpolated and validated: Compose's words with every short form spelled out.  [pure]"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gitopsd.model.errors import Where
from gitopsd.model.fleet import Pairs

Condition = Literal["service_started", "service_healthy", "service_completed_successfully"]
RestartName = Literal["no", "always", "unless-stopped", "on-failure"]


@dataclass(frozen=True)
class Build:
    """Paths are relative to the repository's root."""

    context: str
    dockerfile: str
    args: Pairs = ()
    salt: str = ""
    where: Where = field(default=Where(), compare=False)


@dataclass(frozen=True)
class Healthcheck:
    """Times in nanoseconds, as the Docker API has them; 0 means the engine's default."""

    test: tuple[str, ...]
    """`("CMD", …)`, `("CMD-SHELL", command)` or `("NONE",)`."""
    interval_ns: int = 0
    timeout_ns: int = 0
    retries: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0


@dataclass(frozen=True, order=True)
class Port:
    target: int
    published: int
    """0: the engine chooses one."""
    protocol: Literal["tcp", "udp"] = "tcp"
    host_ip: str = ""


@dataclass(frozen=True, order=True)
class Mount:
    target: str
    kind: Literal["volume", "bind", "tmpfs"]
    source: str = ""
    """In a stack: the volume's key or the host's path. In a ContainerSpec: the volume's name or the host's path."""
    read_only: bool = False


@dataclass(frozen=True, order=True)
class Attachment:
    network: str
    """In a stack: the network's key. In a ContainerSpec: its name."""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dependency:
    service: str
    condition: Condition = "service_started"
    required: bool = True


@dataclass(frozen=True)
class Restart:
    name: RestartName = "no"
    maximum_retries: int = 0


@dataclass(frozen=True)
class Deploy:
    mode: Literal["replicated", "global"] = "replicated"
    replicas: int = 1
    constraints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Service:
    """None and empty mean: not said, so the image's or the engine's default holds."""

    name: str
    image: str | None = None
    """As written: `busybox:stable`. With `build` it is the name that the built image gets, or None."""
    build: Build | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Pairs = ()
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    networks: tuple[Attachment, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    healthcheck: Healthcheck | None = None
    labels: Pairs = ()
    restart: Restart = Restart()
    deploy: Deploy = Deploy()
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
    order: Literal["start-first", "stop-first"] | None = None
    """What `x-gitopsd.order` says about a replacement; None: `place` decides by the mounts."""
    where: Where = field(default=Where(), compare=False)
    ports_at: Where = field(default=Where(), compare=False)


@dataclass(frozen=True)
class StackNetwork:
    key: str
    name: str
    """The name on the host: `<stack>_<key>`, or what `name:` says."""
    external: bool = False
    internal: bool = False
    subnet: str = ""
    labels: Pairs = ()
    where: Where = field(default=Where(), compare=False)


@dataclass(frozen=True)
class StackVolume:
    key: str
    name: str
    external: bool = False
    labels: Pairs = ()
    where: Where = field(default=Where(), compare=False)


@dataclass(frozen=True)
class Stack:
    name: str
    services: tuple[Service, ...]
    networks: tuple[StackNetwork, ...]
    volumes: tuple[StackVolume, ...]
    hosts: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    """Every file that rendering it read: a commit that touches none of them, nor a build context, changes nothing."""
    where: Where = field(default=Where(), compare=False)

    def service(self, name: str) -> Service:
        return next(service for service in self.services if service.name == name)


@dataclass(frozen=True)
class BlockedStack:
    """A stack that could not be rendered: it stays at its last good revision, and the others go on."""

    name: str
    errors: tuple[str, ...]
