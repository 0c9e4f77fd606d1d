"""POST /build: the context comes in, Docker's build stream goes out. A client that goes away ends its build."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.api.engine import Engine
from gitopsd.engine.api.jsonlines import Tell, json_lines
from gitopsd.engine.api.router import Route
from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.options import from_query
from gitopsd.engine.http.server import Request, Response


async def build(engine: Engine, request: Request, names: dict[str, str]) -> Response:
    """Build an image from the tar in the body."""
    del names
    try:
        options = from_query(request.query)
    except BuildError as error:
        raise ApiError(error.status, error.message) from None
    archive = await asyncio.to_thread(engine.builder.open_spool)
    try:
        async for data in request.chunks():
            await asyncio.to_thread(_write, archive, data)
    except BaseException:
        os.close(archive)
        raise
    gone = threading.Event()

    def work(tell: Tell) -> None:
        try:
            engine.builder.build(archive, options, tell, gone)
        except BuildError as error:
            fields: dict[str, Any] = {} if error.code is None else {"exit_code": error.code}
            raise ApiError(error.status, error.message, None, **fields) from None
        finally:
            os.close(archive)

    return await json_lines(work, gone=gone)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


ROUTES: list[Route] = [("POST", "/build", build)]
