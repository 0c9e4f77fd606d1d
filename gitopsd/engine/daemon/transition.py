"""One container takes another's place: ports and names at once (docs/engine-api.md, "transition").

What is durable says how far it got: the old one's new name, then the new one's, which no longer waits.
A daemon that starts finds a new container whose
monitor holds the ports while it still waits: the move had begun, and is done to its end.
"""

from __future__ import annotations

import logging

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json
from gitopsd.engine.daemon import expect
from gitopsd.engine.daemon.connections import Connections, hello
from gitopsd.engine.daemon.container import Container
from gitopsd.engine.daemon.containers import Containers
from gitopsd.engine.daemon.lifecycle import Lifecycle
from gitopsd.engine.networks.networks import Moved

_log = logging.getLogger(__name__)

OLD_SUFFIX = ".old"


async def transition(
    containers: Containers, lifecycle: Lifecycle, connections: Connections, old: Container, new: Container
) -> Json:
    """Move; ApiError with traffic going where it went. Again when it is done: the same answer."""
    if old is new:
        raise ApiError(400, "transition: a container cannot take its own place")
    first, second = sorted((old, new), key=lambda container: container.id)
    async with first.lock, second.lock:
        for container in (old, new):
            if not container.is_running:
                raise ApiError(409, f"transition: container {container.name} is not running", "not-running")
            expect.check(container.id, container.generation)
        if new.record["replaces"] is None and old.name.endswith(OLD_SUFFIX) and new.name == old.name[: -len(OLD_SUFFIX)]:
            return _answer(Moved(sum(map(len, new.ports.values())), len(_aliases(new)), 0))
        name = old.name.removesuffix(OLD_SUFFIX)
        moved = await connections.move(old, new, name + OLD_SUFFIX, name)
        lifecycle.keep(new)
        lifecycle.keep(old)
        if old.name == name:
            await containers.take_name(old, name + OLD_SUFFIX)
        await containers.take_name(new, name, replaces=None)
        await connections.drop_reservations(old)
        return _answer(moved)


async def finish_broken_off(containers: Containers, lifecycle: Lifecycle, connections: Connections) -> None:
    """When a daemon starts: bring moves to their end that the last one had begun."""
    for new in containers.all():
        if not new.is_running or not connections.waits(new) or new.monitor is None:
            continue
        if any(name.startswith("port/") for name in (await hello(new.monitor))["sockets"]):
            old = containers.get(new.record["replaces"])
            try:
                await transition(containers, lifecycle, connections, old, new)
            except ApiError as error:
                _log.error(
                    "transition from %s to %s was broken off and cannot be finished: %s", old.name, new.name, error.message
                )


def _aliases(container: Container) -> set[str]:
    return {alias for asked in container.record["networks"].values() for alias in asked["aliases"]}


def _answer(moved: Moved) -> Json:
    return {"ports": moved.ports, "names": moved.names, "conntrack_deleted": moved.conntrack_deleted}
