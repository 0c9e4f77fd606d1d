"""One container takes another's place: ports and names at once (docs/engine-api.md, "transition").

What is durable says how far it got: the old one's new name and by whom it was replaced, then the new one's, which no longer waits. A daemon that
starts finds a new container that still waits though its monitor holds the ports, or the old one has its new name: the move is done to its end.
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
        containers.refuse_taken(name, old, new)
        containers.refuse_taken(name + OLD_SUFFIX, old)
        moved = await connections.move(old, new, name + OLD_SUFFIX, name)
        lifecycle.keep(new)
        if old.name == name:
            await containers.take_name(old, name + OLD_SUFFIX, replaced_by=new.id)
        await containers.take_name(new, name, replaces=None)
        await _leave(lifecycle, connections, old)
        return _answer(moved)


async def _leave(lifecycle: Lifecycle, connections: Connections, old: Container) -> None:
    """Let go of the ports. Last of all: a daemon that finds them here can still do the move."""
    old.ports = {}
    lifecycle.keep(old)
    await connections.drop_reservations(old)


async def finish_broken_off(containers: Containers, lifecycle: Lifecycle, connections: Connections) -> None:
    """When a daemon starts: bring moves to their end that the last one had begun."""
    for old in containers.all():
        if old.is_running and old.record.get("replaced_by") and connections.waits(old):
            await _leave(lifecycle, connections, old)
    for new in containers.all():
        if not new.is_running or not connections.waits(new) or new.monitor is None:
            continue
        old = containers.by_id(new.record["replaces"] or "")
        if old is None:
            continue
        has_ports = any(name.startswith("port/") for name in (await hello(new.monitor))["sockets"])
        if has_ports or old.record.get("replaced_by") == new.id:
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
