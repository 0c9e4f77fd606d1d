"""/images."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
from collections.abc import AsyncIterator
from typing import Any, Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.api.engine import Engine
from gitopsd.engine.api.jsonlines import Tell, json_lines
from gitopsd.engine.api.router import Route, json_response
from gitopsd.engine.daemon.filters import read_filters
from gitopsd.engine.http.server import Request, Response
from gitopsd.engine.registry.client import Credentials


def credentials_of(request: Request) -> Optional[Credentials]:
    """What X-Registry-Auth says; ApiError 400 for a header that cannot be read."""
    text = request.headers.get("x-registry-auth", "")
    if not text:
        return None
    try:
        credentials = credentials_from(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) or b"{}"))
    except (ValueError, binascii.Error, AttributeError):
        raise ApiError(400, "X-Registry-Auth: expected base64url of a JSON object") from None
    return credentials if credentials != Credentials() else None


def credentials_from(given: dict[str, Any]) -> Credentials:
    """Docker's AuthConfig."""
    return Credentials(*(str(given.get(key) or "") for key in ("username", "password", "identitytoken", "registrytoken")))


async def list_all(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    return json_response(await asyncio.to_thread(engine.images.list, read_filters(request.argument("filters"))))


async def inspect(engine: Engine, _: Request, names: dict[str, str]) -> Response:
    return json_response(await asyncio.to_thread(engine.images.inspect, names["name"]))


async def history(engine: Engine, _: Request, names: dict[str, str]) -> Response:
    return json_response(await asyncio.to_thread(engine.images.history, names["name"]))


async def pull(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    name, tag, platform = (request.argument(key) for key in ("fromImage", "tag", "platform"))
    if request.argument("fromSrc"):
        raise ApiError(501, "import image: fromSrc is not there yet in this engine", "not-there-yet")
    if not name:
        raise ApiError(400, "pull: fromImage is missing")
    if not tag and ":" not in name.rpartition("/")[2]:
        raise ApiError(501, f"pull {name}: all tags of a name are not there yet in this engine, name one", "not-there-yet")
    credentials = credentials_of(request)
    return await json_lines(lambda tell: engine.images.pull(name, tell, tag, platform, credentials))


async def push(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    credentials, tag = credentials_of(request), request.argument("tag")
    return await json_lines(lambda tell: engine.images.push(names["name"], tell, tag, credentials))


async def load(engine: Engine, request: Request, _: dict[str, str]) -> Response:
    archive = await spooled(request, engine.images.scratch)
    platform = request.argument("platform")

    def work(tell: Tell) -> None:
        try:
            engine.images.load(archive, tell, platform)
        finally:
            os.close(archive)

    return await json_lines(work)


async def spooled(request: Request, scratch: Any) -> int:
    """The body in an unnamed file; the caller closes the descriptor."""
    descriptor: int = await asyncio.to_thread(scratch)
    try:
        async for data in request.chunks():
            await asyncio.to_thread(_write, descriptor, data)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


async def save(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    """The archive is made in an unnamed file first, so that an error is an answer and not half an archive."""
    wanted = [names["name"]] if "name" in names else request.query.get("names", [])
    descriptor = await asyncio.to_thread(engine.images.scratch)
    try:
        await asyncio.to_thread(engine.images.save, wanted, lambda data: _write(descriptor, bytes(data)))
    except BaseException:
        os.close(descriptor)
        raise

    async def body() -> AsyncIterator[bytes]:
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            while data := await asyncio.to_thread(os.read, descriptor, 1 << 20):
                yield data
        finally:
            os.close(descriptor)

    return Response(200, body(), {"Content-Type": "application/x-tar"})


async def tag(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    await asyncio.to_thread(engine.images.tag, names["name"], request.argument("repo"), request.argument("tag"))
    return Response(201)


async def remove(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    return json_response(
        await asyncio.to_thread(engine.images.remove, names["name"], request.flag("force"), not request.flag("noprune"))
    )


ROUTES: list[Route] = [
    ("GET", "/images/json", list_all),
    ("POST", "/images/create", pull),
    ("POST", "/images/load", load),
    ("GET", "/images/get", save),
    ("GET", "/images/{name*}/get", save),
    ("GET", "/images/{name*}/json", inspect),
    ("GET", "/images/{name*}/history", history),
    ("POST", "/images/{name*}/push", push),
    ("POST", "/images/{name*}/tag", tag),
    ("DELETE", "/images/{name*}", remove),
]
