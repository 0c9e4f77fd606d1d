"""GET /events, for the one question that clients older than API 1.30 cannot do without: has the container that I run ended?

The docker CLI asked so before `wait` had conditions. Any other question is not there yet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.api.containers import json_line
from gitopsd.engine.api.engine import Engine
from gitopsd.engine.api.router import Route, asked_version
from gitopsd.engine.daemon.container import Container
from gitopsd.engine.daemon.filters import read_filters
from gitopsd.engine.http.server import Request, Response

_WAIT_HAS_CONDITIONS = (1, 30)


async def events(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    filters = read_filters(request.argument("filters"))
    name = filters.pop("container", [])
    is_bounded = request.argument("since") or request.argument("until")
    if asked_version(request) >= _WAIT_HAS_CONDITIONS or filters != {"type": ["container"]} or len(name) != 1 or is_bounded:
        raise ApiError(501, "GET /events is not there yet in this engine", "not-there-yet")
    container = engine.containers.get(name[0])
    return Response(200, _ends(container, container.next_end), {"Content-Type": "application/json"})


async def _ends(container: Container, end: asyncio.Event) -> AsyncIterator[bytes]:
    """Each end of a container from this one on, until it is removed. Who is answered has been heard: an end that comes before the first
    byte is asked for counts."""
    removed = asyncio.ensure_future(container.removed.wait())
    ended = asyncio.ensure_future(end.wait())
    try:
        while not removed.done():
            await asyncio.wait({removed, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended = asyncio.ensure_future(container.next_end.wait())
                yield _event(container, "die", exitCode=str(container.exit_code))
        yield _event(container, "destroy")
    finally:
        removed.cancel()
        ended.cancel()


def _event(container: Container, action: str, **more: str) -> bytes:
    now, image = time.time_ns(), container.record["image"]["reference"]
    attributes = {**container.config["Labels"], "image": image, "name": container.name, **more}
    return json_line(
        {"status": action, "id": container.id, "from": image, "Type": "container", "Action": action,
         "Actor": {"ID": container.id, "Attributes": attributes}, "scope": "local", "time": now // 1_000_000_000, "timeNano": now}
    )  # fmt: skip


ROUTES: list[Route] = [("GET", "/events", events)]
