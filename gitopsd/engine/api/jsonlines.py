"""Answers that grow while work goes on in a thread: one JSON object a line, as pull, push, load and build give them.

What goes wrong before the first object is an answer of its own; later it is the last object of the stream, `errorDetail`, as Docker has it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any, Callable, Optional, Union

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.http.server import Response

_log = logging.getLogger(__name__)

Tell = Callable[[Mapping[str, Any]], None]
_END = object()


async def json_lines(work: Callable[[Tell], object], status: int = 200, gone: Optional[threading.Event] = None) -> Response:
    """Run `work(tell)` in a thread and stream what it tells. ApiError before it has told anything. `gone` is set when nobody listens any more."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Union[dict[str, Any], ApiError, object]] = asyncio.Queue()

    def put(item: object) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, item)

    def run() -> None:
        try:
            work(put)
            put(_END)
        except ApiError as error:
            put(error)
        except Exception as error:  # noqa: BLE001  whoever asked must hear of it
            _log.exception("work of a stream")
            put(ApiError(500, f"{type(error).__name__}: {error}"))

    threading.Thread(target=run, name="stream", daemon=True).start()
    first = await queue.get()
    if isinstance(first, ApiError):
        raise first

    async def body() -> AsyncIterator[bytes]:
        item = first
        try:
            while item is not _END:
                if isinstance(item, ApiError):
                    yield _line({"errorDetail": _detail(item), "error": item.message})
                    return
                yield _line(item)
                item = await queue.get()
        finally:
            if gone is not None:
                gone.set()

    return Response(status, body(), {"Content-Type": "application/json"})


def _detail(error: ApiError) -> dict[str, Any]:
    """`code` is the exit code of a command, where one failed."""
    code: Any = error.fields.get("exit_code")
    return {"message": error.message} if code is None else {"code": code, "message": error.message}


def _line(item: object) -> bytes:
    return json.dumps(item, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\r\n"
