"""An HTTP/1.1 server on asyncio and h11, with what a container engine's API needs beside plain answers.

In: a handler, `async (Request) -> Response | None`.  Out: `serve_connection` for asyncio's start_server and start_unix_server.

- A body is read when the handler asks for it, never before, and no further than a limit that the handler names.
- A streamed answer goes out item by item; if the peer leaves meanwhile, the iterator is closed.
- `Request.hijack` hands the raw connection over (attach, exec, lease): the handler then returns None.

Not here: routes, errors' shapes (engine/api).
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import select
import socket
import struct
import termios
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Callable, Optional, Union
from urllib.parse import parse_qs, unquote

import h11

_CHUNK = 262144
_MAX_HEAD = 65536
_MAX_PENDING = 65536
"""So much of what a peer sends while it is answered is kept; the rest waits in the kernel, and the peer with it."""
_READ_WAIT_S = 1.0
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class BodyTooLarge(Exception):  # noqa: N818
    """The body is larger than the handler allows."""


BadRequest = h11.RemoteProtocolError
"""What the peer sends is not HTTP, or breaks off."""


class PeerGone(Exception):  # noqa: N818
    """The peer closed the connection in the middle of its request."""


@dataclass
class Response:
    """`body`: bytes, or an async iterator whose items are sent as they come; None sends no body."""

    status: int
    body: Union[bytes, AsyncIterator[bytes], None] = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])


class Stream:
    """A raw two-way connection after a hijack."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self._reader, self._writer, self._head = reader, writer, head

    async def read(self, size: int = _CHUNK) -> bytes:
        """The next bytes; empty when the peer has closed its side."""
        if self._head:
            head, self._head = self._head, b""
            return head
        return await self._reader.read(size)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def taken(self) -> None:
        """Return when the peer has read what was written, has gone, or does not read within a second: docker-py loses what comes together
        with the head."""
        sock, left, pause_s = self._writer.get_extra_info("socket"), array.array("i", [0]), 0.0002
        while pause_s < _READ_WAIT_S / 2 and sock.fileno() >= 0:
            fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, left)
            if not left[0]:
                return
            await asyncio.sleep(pause_s)
            pause_s *= 2

    async def closed(self) -> None:
        """Return when the peer has closed both directions, whether or not somebody reads or writes; for ever waiting on TCP, which cannot tell."""
        await _hung_up(self._writer, 0)

    def end(self) -> None:
        """Close our side; the peer may go on sending."""
        if self._writer.can_write_eof():
            self._writer.write_eof()


class Request:
    """One request: `path` is decoded, `query` maps a name to its values, `headers` has lower-case names."""

    def __init__(self, connection: _Connection, event: h11.Request) -> None:
        self.method = event.method.decode("ascii")
        self.target = event.target.decode("ascii", "replace")
        self.raw_path, _, query = self.target.partition("?")
        if "://" in self.raw_path:  # the form for proxies (RFC 9112, 3.2.2)
            self.raw_path = "/" + self.raw_path.partition("://")[2].partition("/")[2]
        self.path = unquote(self.raw_path)
        self.query: dict[str, list[str]] = parse_qs(query, keep_blank_values=True)
        self.headers: dict[str, str] = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
        self.peer = connection.peer
        self._connection = connection

    def argument(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        return self.query.get(name, [default])[-1]

    def flag(self, name: str, default: bool = False) -> bool:
        """A query parameter as Docker reads booleans: unset, empty, `0`, `no`, `false`, `none` are false."""
        if name not in self.query:
            return default
        return self.argument(name).strip().lower() not in ("", "0", "no", "false", "none")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises PeerGone when it breaks off."""
        while True:
            event = await self._connection.next_event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise PeerGone

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge beyond `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        async for part in self.chunks():
            size += len(part)
            if size > limit:
                raise BodyTooLarge
            parts.append(part)
        return b"".join(parts)

    async def hijack(self, status: int, headers: dict[str, str]) -> Stream:
        """Answer with these headers and take the connection over; the handler then returns None."""
        return await self._connection.hijack(status, headers)


Handler = Callable[[Request], Awaitable[Optional[Response]]]


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        self.is_hijacked = False
        self.peer = _peer_of(writer)

    async def next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        while True:
            if self.http.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            event = self.http.next_event()
            if event is not h11.NEED_DATA:
                return event
            data = await self.reader.read(_CHUNK)
            self.http.receive_data(data)

    async def send(self, event: h11.Event) -> None:
        data = self.http.send(event)
        if data:
            self.writer.write(data)
            await self.writer.drain()

    async def hijack(self, status: int, headers: dict[str, str]) -> Stream:
        reason = {101: "UPGRADED", 200: "OK"}.get(status, "")
        head = f"HTTP/1.1 {status} {reason}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.is_hijacked = True
        self.writer.write(head.encode("latin-1") + b"\r\n")
        await self.writer.drain()
        return Stream(self.reader, self.writer, self.http.trailing_data[0])

    async def respond(self, request: Request, response: Response) -> None:
        headers = [(name, value) for name, value in response.headers.items()]
        body = response.body
        has_length = any(name.lower() == "content-length" for name, _ in headers)
        if isinstance(body, bytes) and not has_length and response.status not in (204, 304):
            headers.append(("Content-Length", str(len(body))))
        await self.send(h11.Response(status_code=response.status, headers=headers, reason=_REASONS.get(response.status, "")))
        if body and request.method != "HEAD":
            if isinstance(body, bytes):
                await self.send(h11.Data(data=body))
            else:
                await self._stream(body)
        await self.send(h11.EndOfMessage())

    async def _stream(self, body: AsyncIterator[bytes]) -> None:
        gone = asyncio.ensure_future(self._peer_gone())
        try:
            while True:
                following = asyncio.ensure_future(body.__anext__())
                await asyncio.wait({following, gone}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done() and not following.done():
                    following.cancel()
                    await asyncio.wait({following})
                    raise PeerGone
                try:
                    item = following.result()
                except StopAsyncIteration:
                    return
                await self.send(h11.Data(data=item))
        finally:
            gone.cancel()
            await asyncio.wait({gone})
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()

    async def _peer_gone(self) -> None:
        """Return when the peer has closed. What it sends meanwhile (a pipelined request) is kept for later, up to a limit."""
        while True:
            room = _MAX_PENDING - len(self.http.trailing_data[0])
            if room <= 0:
                await _hung_up(self.writer, select.EPOLLRDHUP)
                return
            data = await self.reader.read(room)
            if not data:
                return
            self.http.receive_data(data)


async def _hung_up(writer: asyncio.StreamWriter, events: int) -> None:
    """Return when the peer has closed both directions, or at `events`, without reading anything."""
    loop, happened, descriptor = asyncio.get_running_loop(), asyncio.Event(), writer.get_extra_info("socket").fileno()
    if descriptor < 0:
        return  # it has been closed here, after the peer had gone
    with select.epoll() as poll:
        poll.register(descriptor, events)
        loop.add_reader(poll.fileno(), happened.set)
        try:
            await happened.wait()
        finally:
            loop.remove_reader(poll.fileno())


def _peer_of(writer: asyncio.StreamWriter) -> tuple[int, int, int]:
    """Process, user and group id of a unix socket's peer; (0, -1, -1) on TCP."""
    sock = writer.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return (0, -1, -1)
    pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return (pid, uid, gid)


async def serve_connection(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection until it closes. Whatever the handler raises ends the connection."""
    connection = _Connection(reader, writer)
    try:
        while True:
            event = await connection.next_event()
            if not isinstance(event, h11.Request):
                return
            request = Request(connection, event)
            response = await handler(request)
            if response is None:
                return
            await connection.respond(request, response)
            if not await _is_reusable(connection):
                return
            connection.http.start_next_cycle()
    except BadRequest as error:
        _refuse(connection, error.error_status_hint, "bad request")
    except BodyTooLarge:
        _refuse(connection, 413, "the body is larger than this call takes")
    except (PeerGone, ConnectionError, asyncio.IncompleteReadError):
        pass
    except asyncio.CancelledError:
        pass  # the loop ends; raised on, 3.11's stream protocol would write a traceback for each open connection
    finally:
        writer.close()


def _refuse(connection: _Connection, status: int, message: str) -> None:
    """A last answer before the connection closes, unless one has begun."""
    if connection.http.our_state is not h11.IDLE and connection.http.our_state is not h11.SEND_RESPONSE:
        return
    body = b'{"message":"%s"}\n' % message.encode()
    connection.writer.write(
        b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
        % (status, _REASONS.get(status, "").encode(), len(body), body)
    )


async def _is_reusable(connection: _Connection) -> bool:
    """Whether another request may follow; a body that nobody read is read to its end if it is short."""
    http = connection.http
    budget = 1 << 20
    while http.our_state is h11.DONE and http.their_state is h11.SEND_BODY and budget > 0:
        event = await connection.next_event()
        if not isinstance(event, h11.Data):
            break
        budget -= len(event.data)
    return http.our_state is h11.DONE and http.their_state is h11.DONE
