"""All that the API's handlers need, in one value. wiring.py fills it."""

from __future__ import annotations

from dataclasses import dataclass

from gitopsd.engine.builder.build import Builder
from gitopsd.engine.daemon.connections import Connections
from gitopsd.engine.daemon.containers import Containers
from gitopsd.engine.daemon.execs import Execs
from gitopsd.engine.daemon.identity import Identity
from gitopsd.engine.daemon.leases import Leases
from gitopsd.engine.daemon.lifecycle import Lifecycle
from gitopsd.engine.daemon.logs import LogWatch
from gitopsd.engine.daemon.store import ContainerStore
from gitopsd.engine.events.changes import Changes
from gitopsd.engine.images.images import Images
from gitopsd.engine.networks.networks import Networks
from gitopsd.engine.runtime.cgroups import Cgroups
from gitopsd.engine.volumes.volumes import Volumes


@dataclass
class Engine:
    version: str
    instance: str
    data_root: str
    exec_root: str
    identity: Identity
    cgroups: Cgroups
    images: Images
    builder: Builder
    networks: Networks
    connections: Connections
    containers: Containers
    lifecycle: Lifecycle
    store: ContainerStore
    execs: Execs
    logs: LogWatch
    leases: Leases
    volumes: Volumes
    changes: Changes

    def identity_of(self, kind: str, name: str) -> str:
        """The id of the object that a path names; ApiError 404."""
        if kind == "containers":
            return self.containers.get(name).id
        if kind == "networks":
            return self.networks.find(name).id
        if kind == "volumes":
            return self.volumes.record(name)["name"]
        return name
