"""/gitopsd/v1/: what Docker's API cannot say (docs/engine-api.md)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json, mapping, number, texts
from gitopsd.engine.api.engine import Engine
from gitopsd.engine.api.router import API_VERSION, Route, json_body, json_response
from gitopsd.engine.api.system import operating_system
from gitopsd.engine.daemon import expect, views
from gitopsd.engine.daemon.lifecycle import boot_id
from gitopsd.engine.daemon.transition import transition
from gitopsd.engine.http.server import Request, Response


async def state(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    etag = engine.changes.etag
    if request.headers.get("if-none-match") == etag:
        return Response(304, b"", {"ETag": etag})
    return json_response(await asyncio.to_thread(_state, engine), 200, {"ETag": etag})


def _state(engine: Engine) -> Json:
    return {
        "version": 1,
        "engine": {"version": engine.version, "api": API_VERSION, "instance": engine.instance},
        "host": _host(engine),
        "containers": [
            {
                "generation": container.generation,
                "create": container.record["create"],
                "inspect": _steady(views.inspect(container, engine.store.path(container.id))),
                "replaces": container.record["replaces"] if engine.connections.waits(container) else None,
            }
            for container in engine.containers.all()
        ],
        "networks": engine.networks.summaries(),
        "volumes": engine.volumes.summaries(),
        "images": engine.images.summaries(),
        "leases": engine.leases.all(),
        "intent": {"etag": engine.identity.intent_etag, "value": engine.identity.intent},
    }


def _steady(shown: Json) -> Json:
    """Without what comes and goes though nothing changes: execs, and results of checks. Of health, the status and the streak matter."""
    health = mapping(shown["State"], "Health")
    if health:
        shown["State"]["Health"] = {key: value for key, value in health.items() if key != "Log"}
    return {**shown, "ExecIDs": None}


def _host(engine: Engine) -> Json:
    free = os.statvfs(engine.data_root)
    return {
        **engine.identity.shown(),
        "block": engine.networks.block,
        "kernel": os.uname().release,
        "architecture": os.uname().machine,
        "os": operating_system(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "free_bytes": free.f_bavail * free.f_frsize,
        "boot": boot_id(),
    }


async def put_host(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    networks = [f"network {network.name}" for network in engine.networks.list() if not network.is_predefined]
    running = [
        f"container {container.name}" for container in engine.containers.all() if container.state in ("running", "restarting")
    ]
    record = engine.identity.check(await json_body(request), next(iter(networks + running), ""))
    await asyncio.to_thread(engine.networks.set_block, record["block"])
    await asyncio.to_thread(engine.identity.set, record)
    engine.changes.bump()
    return json_response(engine.identity.shown())


async def lease(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    body = await json_body(request)
    stack, holder = body.get("stack"), body.get("holder")
    if not isinstance(stack, str) or not stack or not isinstance(holder, str) or not holder:
        raise ApiError(400, "lease: stack and holder are needed, both strings")
    token = await asyncio.to_thread(engine.leases.take, stack, holder)

    async def held() -> AsyncIterator[bytes]:
        try:
            yield json.dumps({"token": token}).encode() + b"\n"
            await asyncio.Event().wait()  # until the connection closes
        finally:
            engine.leases.release(stack, token)

    return Response(200, held(), {"Content-Type": "application/json"})


async def move(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    body = await json_body(request)
    old, new = (engine.containers.get(str(body.get(key) or "")) for key in ("old", "new"))
    generations = mapping(body, "generations")
    expect.expect({engine.containers.get(name).id: number(generations, name) for name in generations})
    return json_response(await transition(engine.containers, engine.lifecycle, engine.connections, old, new))


async def blobs_missing(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    return json_response(await asyncio.to_thread(engine.images.missing, texts(await json_body(request), "digests")))


async def put_image(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    body = await json_body(request)
    made = await asyncio.to_thread(engine.images.register, str(body.get("manifest") or ""), texts(body, "references"))
    engine.changes.bump()
    return json_response({"id": made.id}, 201)


async def get_intent(engine: Engine, _: Request, __: dict[str, str]) -> Response:
    return json_response(engine.identity.intent, 200, {"ETag": engine.identity.intent_etag})


async def put_intent(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    body = await json_body(request)
    await asyncio.to_thread(engine.identity.set_intent, body, request.headers.get("if-match"))
    engine.changes.bump()
    return json_response({}, 200, {"ETag": engine.identity.intent_etag})


async def not_yet(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    raise ApiError(501, f"{request.method} {request.path} is not there yet in this engine", "not-there-yet")


def _blob_range(request: Request) -> tuple[int, int]:
    """Offset and whole size that Content-Range says; (0, -1) without one."""
    text = request.headers.get("content-range", "")
    if not text:
        return 0, -1
    with contextlib.suppress(ValueError):
        kind, _, rest = text.partition(" ")
        span, _, size = rest.partition("/")
        first, _, _last = span.partition("-")
        if kind == "bytes":
            return int(first), int(size)
    raise ApiError(400, f"Content-Range: {text!r}, expected bytes <from>-<to>/<size>")


async def put_blob(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    offset, size = _blob_range(request)
    writer: Any = await asyncio.to_thread(engine.images.begin_blob, names["digest"], offset, size)
    try:
        async for chunk in request.chunks():
            await asyncio.to_thread(writer.write, chunk)
        await asyncio.to_thread(writer.commit)
    finally:
        await asyncio.to_thread(writer.close)
    return Response(201)


ROUTES: list[Route] = [
    ("GET", "/gitopsd/v1/state", state),
    ("PUT", "/gitopsd/v1/host", put_host),
    ("POST", "/gitopsd/v1/lease", lease),
    ("POST", "/gitopsd/v1/transition", move),
    ("POST", "/gitopsd/v1/blobs/missing", blobs_missing),
    ("PUT", "/gitopsd/v1/blobs/{digest}", put_blob),
    ("PUT", "/gitopsd/v1/images", put_image),
    ("GET", "/gitopsd/v1/intent", get_intent),
    ("PUT", "/gitopsd/v1/intent", put_intent),
    ("PUT", "/gitopsd/v1/secrets/{stack}", not_yet),
    ("GET", "/gitopsd/v1/secrets/{stack}", not_yet),
    ("PUT", "/gitopsd/v1/peers", not_yet),
]
