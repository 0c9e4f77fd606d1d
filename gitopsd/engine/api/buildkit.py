"""POST /grpc and /session: how clients reach BuildKit. It is not there yet, and that is said so that their users see it.

Such a client shows nothing of a plain answer but its status. So what it asks for begins: of /grpc (docker buildx) each call gets a gRPC
error (HTTP/2, RFC 9113; gRPC over HTTP/2, "Trailers-Only"); /session (the docker CLI before 23) waits for calls that never come, while
`POST /build` says the same, and ends, since the client does not end before it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from typing import Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.api.engine import Engine
from gitopsd.engine.api.router import Route
from gitopsd.engine.http.server import Request, Response, Stream

MESSAGE = "BuildKit is not there yet in this engine: with DOCKER_BUILDKIT=0 the client builds the classic way"
_SESSION_S = 2
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _SETTINGS, _PING, _CONTINUATION = 1, 4, 6, 9
_ACK = _END_STREAM = 0x1
_END_HEADERS = 0x4
_MOST = 1 << 14
"""Bytes of a frame: what we announce, by saying nothing."""


async def grpc(_: Engine, request: Request, __: dict[str, str]) -> Optional[Response]:
    stream = await _taken_over(request)
    with contextlib.suppress(ConnectionError):
        await _refuse_calls(stream)
    stream.end()
    return None


async def session(_: Engine, request: Request, __: dict[str, str]) -> Optional[Response]:
    stream = await _taken_over(request)
    with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
        ending = asyncio.get_running_loop().time() + _SESSION_S
        while (left_s := ending - asyncio.get_running_loop().time()) > 0 and await asyncio.wait_for(stream.read(), left_s):
            pass
    return None


async def _taken_over(request: Request) -> Stream:
    if "h2c" not in request.headers.get("upgrade", ""):
        raise ApiError(501, f"{request.method} {request.path}: {MESSAGE}", "not-there-yet")
    return await request.hijack(101, {"Connection": "Upgrade", "Upgrade": "h2c"})


async def _refuse_calls(stream: Stream) -> None:
    await stream.write(_frame(_SETTINGS, 0, 0))
    async for kind, flags, number, payload in _frames(stream):
        if kind == _SETTINGS and not flags & _ACK:
            await stream.write(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            await stream.write(_frame(_PING, _ACK, 0, payload))
        elif kind in (_HEADERS, _CONTINUATION) and flags & _END_HEADERS:
            await stream.write(_frame(_HEADERS, _END_HEADERS | _END_STREAM, number, _refusal()))


async def _frames(stream: Stream) -> AsyncIterator[tuple[int, int, int, bytes]]:
    """Type, flags, stream and payload of each frame, until the client closes or sends what is none."""
    data, wanted = b"", len(_PREFACE)
    while True:
        while len(data) < wanted:
            more = await stream.read()
            if not more:
                return
            data += more
        if wanted == len(_PREFACE) and data.startswith(_PREFACE):
            data, wanted = data[wanted:], 9
            continue
        length, kind, flags, number = int.from_bytes(data[:3], "big"), data[3], data[4], int.from_bytes(data[5:9], "big")
        if length > _MOST:
            return
        wanted = 9 + length
        if len(data) >= wanted:
            yield kind, flags, number & 0x7FFFFFFF, data[9:wanted]
            data, wanted = data[wanted:], 9


def _frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, number) + payload


def _refusal() -> bytes:
    """Headers that end a call: UNIMPLEMENTED, with the message. As literals that no table remembers (RFC 7541, 6.2.2)."""
    fields = {"content-type": "application/grpc", "grpc-status": "12", "grpc-message": MESSAGE}
    literals = (bytes([0, len(name)]) + name.encode() + bytes([len(text)]) + text.encode() for name, text in fields.items())
    return b"\x88" + b"".join(literals)  # :status 200


ROUTES: list[Route] = [("POST", "/grpc", grpc), ("POST", "/session", session)]
