"""/networks."""

from __future__ import annotations

import asyncio

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import mapping, text
from gitopsd.engine.api.engine import Engine
from gitopsd.engine.api.router import Route, json_body, json_response
from gitopsd.engine.daemon import expect
from gitopsd.engine.daemon.filters import is_true, matches_label, read_filters
from gitopsd.engine.http.server import Request, Response


async def list_all(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    shown = [engine.networks.inspect(network.id) for network in engine.networks.list()]
    for key, values in read_filters(request.argument("filters")).items():
        if key == "name":
            shown = [network for network in shown if any(value in network["Name"] for value in values)]
        elif key == "id":
            shown = [network for network in shown if any(network["Id"].startswith(value) for value in values)]
        elif key == "label":
            shown = [network for network in shown if all(matches_label(network["Labels"], value) for value in values)]
        elif key in ("driver", "scope"):
            shown = [network for network in shown if network[key.capitalize()] in values]
        elif key == "type":
            kinds = {"builtin" if network["Name"] in ("bridge", "host", "none") else "custom" for network in shown}
            shown = (
                [n for n in shown if ("builtin" if n["Name"] in ("bridge", "host", "none") else "custom") in values]
                if kinds
                else []
            )
        elif key == "dangling":
            free = is_true(values)
            shown = [network for network in shown if (not engine.containers.users_of_network(network["Id"])) == free]
        else:
            raise ApiError(400, f"invalid filter '{key}'")
    return json_response([{**network, "Containers": {}} for network in shown])


async def create(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    made = await asyncio.to_thread(engine.networks.create, await json_body(request))
    engine.changes.bump()
    return json_response({"Id": made.id, "Warning": ""}, 201)


async def inspect(engine: Engine, _: Request, names: dict[str, str]) -> Response:
    return json_response(engine.networks.inspect(names["name"]))


async def remove(engine: Engine, _: Request, names: dict[str, str]) -> Response:
    network = engine.networks.find(names["name"])
    expect.check(network.id, network.generation)
    await asyncio.to_thread(engine.networks.remove, network.id)
    engine.changes.bump()
    return Response(204)


async def connect(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    body = await json_body(request)
    await engine.containers.connect(
        engine.containers.get(text(body, "Container")), names["name"], mapping(body, "EndpointConfig")
    )
    return Response(200)


async def disconnect(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    body = await json_body(request)
    await engine.containers.disconnect(engine.containers.get(text(body, "Container")), names["name"])
    return Response(200)


ROUTES: list[Route] = [
    ("GET", "/networks", list_all),
    ("POST", "/networks/create", create),
    ("GET", "/networks/{name*}", inspect),
    ("POST", "/networks/{name*}/connect", connect),
    ("POST", "/networks/{name*}/disconnect", disconnect),
    ("DELETE", "/networks/{name*}", remove),
]
