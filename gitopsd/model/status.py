"""How a stack is: two separate facts, as Argo CD has them.  [pure]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SyncState = Literal["Synced", "OutOfSync", "Unknown"]
Health = Literal["Healthy", "Progressing", "Degraded", "Unknown"]


@dataclass(frozen=True)
class ServiceStatus:
    service: str
    host: str
    running: int
    wanted: int
    health: Health
    image: str
    message: str = ""


@dataclass(frozen=True)
class StackStatus:
    stack: str
    sync: SyncState
    health: Health
    revision: str
    """`main@3f2a9c1`, the one last applied."""
    services: tuple[ServiceStatus, ...] = ()
    message: str = ""


@dataclass(frozen=True)
class HostStatus:
    host: str
    state: Literal["Ready", "Unknown", "Maintenance"]
    message: str = ""
    engine_version: str = ""
    containers: int = 0


@dataclass(frozen=True)
class Status:
    fleet: str
    stacks: tuple[StackStatus, ...]
    hosts: tuple[HostStatus, ...]
    at: str
