"""/volumes."""

from __future__ import annotations

import asyncio
import time

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.api.engine import Engine
from gitopsd.engine.api.router import Route, json_body, json_response
from gitopsd.engine.daemon import expect
from gitopsd.engine.daemon.filters import is_true, matches_label, read_filters
from gitopsd.engine.daemon.times import rfc3339
from gitopsd.engine.http.server import Request, Response


async def list_all(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    shown = engine.volumes.list()
    for key, values in read_filters(request.argument("filters")).items():
        if key == "name":
            shown = [volume for volume in shown if any(value in volume["Name"] for value in values)]
        elif key == "label":
            shown = [volume for volume in shown if all(matches_label(volume["Labels"] or {}, value) for value in values)]
        elif key == "dangling":
            free = is_true(values)
            shown = [volume for volume in shown if (not engine.containers.users_of_volume(volume["Name"])) == free]
        elif key != "driver":
            raise ApiError(400, f"invalid filter '{key}'")
    return json_response({"Volumes": shown, "Warnings": None})


async def create(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    made = await asyncio.to_thread(engine.volumes.create, await json_body(request), rfc3339(time.time_ns()))
    engine.changes.bump()
    return json_response(made, 201)


async def inspect(engine: Engine, _: Request, names: dict[str, str]) -> Response:
    return json_response(engine.volumes.inspect(names["name"]))


async def remove(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    if not request.flag("force"):
        expect.check(names["name"], engine.volumes.record(names["name"])["generation"])
    await asyncio.to_thread(engine.volumes.remove, names["name"], request.flag("force"))
    engine.changes.bump()
    return Response(204)


ROUTES: list[Route] = [
    ("GET", "/volumes", list_all),
    ("POST", "/volumes/create", create),
    ("GET", "/volumes/{name*}", inspect),
    ("DELETE", "/volumes/{name*}", remove),
]
