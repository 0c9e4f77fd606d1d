"""POST /build: the context comes in, Docker's build stream goes out. A client that goes away ends its build."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
from collections.abc import Mapping
from typing import Any

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.api.engine import Engine
from gitopsd.engine.api.images import credentials_from
from gitopsd.engine.api.jsonlines import Tell, json_lines
from gitopsd.engine.api.router import Route
from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.options import from_query
from gitopsd.engine.http.server import Request, Response
from gitopsd.engine.registry.client import Credentials


async def build(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    """Build an image from the tar in the body."""
    del names
    try:
        options = from_query(request.query)
    except BuildError as error:
        raise ApiError(error.status, error.message) from None
    credentials = credentials_by_registry(request)
    archive = await asyncio.to_thread(engine.builder.open_spool)
    try:
        async for data in request.chunks():
            await asyncio.to_thread(_write, archive, data)
    except BaseException:
        os.close(archive)
        raise
    gone = threading.Event()

    def work(tell: Tell) -> None:
        quiet = _Quiet(tell)
        try:
            image = engine.builder.build(archive, options, quiet.keep if options.quiet else tell, gone, credentials)
            if options.quiet:
                tell({"stream": f"{image.id}\n"})
        except BuildError as error:
            quiet.tell_all()
            fields: dict[str, Any] = {} if error.code is None else {"exit_code": error.code}
            raise ApiError(error.status, error.message, None, **fields) from None
        finally:
            os.close(archive)

    return await json_lines(work, gone=gone)


class _Quiet:
    """Keeps what a build says, in case that it fails. That it has begun is told at once: the answer begins with it."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._kept: list[Mapping[str, Any]] = []

    def keep(self, event: Mapping[str, Any]) -> None:
        if not self._kept:
            self._tell({"stream": ""})
        self._kept.append(event)

    def tell_all(self) -> None:
        for event in self._kept:
            self._tell(event)


def credentials_by_registry(request: Request) -> dict[str, Credentials]:
    """What X-Registry-Config says: an object of those that X-Registry-Auth has, by the registry's address."""
    text = request.headers.get("x-registry-config", "")
    try:
        given: Any = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) or b"{}")
        return {_registry(str(server)): credentials_from(fields) for server, fields in given.items()}
    except (ValueError, AttributeError):
        raise ApiError(400, "X-Registry-Config: expected base64url of a JSON object of objects") from None


def _registry(server: str) -> str:
    """`https://index.docker.io/v1/` is Docker's key for docker.io; others are a host, with a scheme or without."""
    host = server.partition("://")[2] or server
    host = host.partition("/")[0]
    return "docker.io" if host == "index.docker.io" else host


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


ROUTES: list[Route] = [("POST", "/build", build)]
