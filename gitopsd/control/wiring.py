"""The adapters of one process, built here and handed down.

In: settings.  Out: a repository, a renderer, a store; for a fleet its hosts, its registries, the services of this machine.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import Self

from gitopsd.control.images import RegistryImages
from gitopsd.control.reach import Reach
from gitopsd.control.seen import Seen
from gitopsd.control.services import LocalServices
from gitopsd.control.settings import Settings, check_state_dir
from gitopsd.hosts.bootstrap import Place
from gitopsd.model.fleet import Fleet
from gitopsd.registries import DistributionRegistries, Registries, StoredRegistries
from gitopsd.render import Renderer
from gitopsd.source import Repository
from gitopsd.store import Store
from gitopsd.store.sql import SqlStore


class Wiring:
    """Built when first asked for, so that a command pays for what it uses. Hosts and registries last as long as the fleet says the same."""

    def __init__(self, settings: Settings, place: Place | None = None) -> None:
        """`place`: where engines live on hosts, if not where they usually do."""
        check_state_dir(settings)
        self.settings = settings
        self.services = LocalServices(settings)
        self.holder = f"gitopsd on {socket.gethostname()}, process {os.getpid()}"
        self._place = place
        self._lock = threading.RLock()
        self._repository: Repository | None = None
        self._renderer: Renderer | None = None
        self._store: Store | None = None
        self._seen: Seen | None = None
        self._reach: Reach | None = None
        self._registries: tuple[object, DistributionRegistries] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def repository(self) -> Repository:
        with self._lock:
            if self._repository is None:
                self._repository = Repository(self.settings.repository, self.settings.repositories)
            return self._repository

    @property
    def renderer(self) -> Renderer:
        with self._lock:
            if self._renderer is None:
                self._renderer = Renderer(listen=self.settings.registry_listen)
            return self._renderer

    @property
    def store(self) -> Store:
        with self._lock:
            if self._store is None:
                self._store = SqlStore.at(self.settings.store)
            return self._store

    def reach(self, fleet: Fleet) -> Reach:
        with self._lock:
            if self._reach is not None and self._reach.fleet != fleet:
                kept = (self._reach.fleet.hosts, self._reach.fleet.known_hosts, self._reach.fleet.pool)
                if kept == (fleet.hosts, fleet.known_hosts, fleet.pool):
                    self._reach.fleet = fleet
                else:
                    self._reach.close()
                    self._reach = None
            if self._reach is None:
                self._reach = Reach(fleet, self.settings.key, self._place)
            return self._reach

    def forget_silence(self) -> None:
        """Somebody wants to know now: ask hosts again that did not answer a moment ago."""
        with self._lock:
            if self._reach is not None:
                self._reach.forget_silence()

    @property
    def seen(self) -> Seen:
        with self._lock:
            if self._seen is None:
                self._seen = Seen(self.store)
            return self._seen

    def registries(self, fleet: Fleet) -> DistributionRegistries:
        with self._lock:
            if self._registries is None or self._registries[0] != fleet.registry:
                made = DistributionRegistries(dict(fleet.registry.mirrors), fleet.registry.insecure)
                self._registries = (fleet.registry, made)
            return self._registries[1]

    def lookups(self, fleet: Fleet) -> Registries:
        """The same for looking names up, also while the embedded registry does not run."""
        asked = self.registries(fleet)
        if not fleet.registry.embedded or self.services.registry_answers(fleet.registry):
            return asked
        return StoredRegistries(asked, fleet.registry.address, self.settings.engine_data)

    def images(self, fleet: Fleet) -> RegistryImages:
        return RegistryImages(self.registries(fleet), fleet.registry.address)

    def close(self) -> None:
        with self._lock:
            for part in (self._repository, self._renderer, self._store, self._reach, self.services):
                if part is not None:
                    part.close()
            self._repository = self._renderer = self._store = self._reach = self._seen = None
