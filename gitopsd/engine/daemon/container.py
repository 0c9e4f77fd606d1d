"""One container: what was asked of it (the record, on disk) and how it is (in memory, derived).

States are Docker's: created, running, restarting, removing, exited, dead.
"""

from __future__ import annotations

import asyncio
from typing import Optional

from gitopsd.dockerapi.values import Json
from gitopsd.engine.daemon.monitorlink import MonitorLink

RECORD_VERSION = 1


class Container:
    """`lock` is held by whoever changes what runs, `saving` by whoever writes the record; `ended` is set whenever nothing runs."""

    def __init__(self, record: Json) -> None:
        self.record = record
        self.lock, self.saving = asyncio.Lock(), asyncio.Lock()
        self.state = "created"
        self.pid = 0
        self.run = ""
        self.started = self.finished = 0
        self.exit_code = 0
        self.oom_killed = False
        self.error = ""
        self.health: Optional[Json] = None
        self.restarts = 0
        self.endpoints: dict[str, Json] = {}
        """Name of a network to the endpoint that the running container has in it."""
        self.ports: dict[str, list[dict[str, str]]] = {}
        """Published ports as inspect shows them, ephemeral ones with their numbers."""
        self.monitor: Optional[MonitorLink] = None
        self.pidfd = -1
        self.stopping_by_user = False
        self.is_kept = False
        """A restart by hand is under way: its end removes nothing."""
        self.delay_s = 0.0
        self.tasks: set[asyncio.Task[None]] = set()
        self.settled = asyncio.Event()
        """Not set while a start is under way: an end that comes meanwhile waits for it."""
        self.settled.set()
        self.running = asyncio.Event()
        self.ended = asyncio.Event()
        self.ended.set()
        self.removed = asyncio.Event()
        self.next_end = asyncio.Event()
        """Set at the next end, or failed start; then there is a new one."""
        self.execs: set[str] = set()

    def mark_ended(self) -> None:
        """Wake who waits: nothing runs, and a run, or an attempt at one, is over."""
        self.ended.set()
        self.next_end.set()
        self.next_end = asyncio.Event()

    @property
    def id(self) -> str:
        return self.record["id"]

    @property
    def id12(self) -> str:
        return self.record["id"][:12]

    @property
    def name(self) -> str:
        return self.record["name"]

    @property
    def config(self) -> Json:
        return self.record["config"]

    @property
    def host_config(self) -> Json:
        return self.record["host_config"]

    @property
    def generation(self) -> int:
        return self.record["generation"]

    @property
    def is_running(self) -> bool:
        return self.state == "running"
