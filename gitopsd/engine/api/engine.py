"""All that the API's handlers need, in one value. wiring.py fills it."""

from __future__ import annotations

from dataclasses import dataclass

from gitopsd.dockerapi.errors import ApiError
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

    def generation_of(self, kind: str, name: str) -> tuple[str, int]:
        """The id and the generation of the object that a path names; ApiError 404, or 400 where the kind has no generations."""
        if kind == "containers":
            container = self.containers.get(name)
            return container.id, container.generation
        if kind == "networks":
            network = self.networks.find(name)
            return network.id, network.generation
        if kind == "volumes":
            record = self.volumes.record(name)
            return record["name"], record["generation"]
        raise ApiError(400, f"X-Gitopsd-If-Generation: {kind} have no generation")
