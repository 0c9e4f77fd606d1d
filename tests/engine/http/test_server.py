"""What a client may do to the server while it is answered."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gitopsd.engine.http.server import Request, Response, Stream, serve_connection

ASK = b"GET /logs HTTP/1.1\r\nHost: x\r\n\r\n"


class Following:
    """An answer that goes on for as long as the client is there."""

    def __init__(self) -> None:
        self.told, self.closed = asyncio.Event(), asyncio.Event()

    async def handle(self, request: Request) -> Response:
        return Response(200, self._lines() if request.path == "/logs" else b"later")

    async def _lines(self) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await self.told.wait()
        finally:
            self.closed.set()


def with_client(kind: str, folder: Path, work: Callable[[Following, socket.socket], Awaitable[None]]) -> None:
    async def run() -> None:
        following = Following()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await serve_connection(following.handle, reader, writer)

        family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
        with socket.socket(family) as listener, socket.socket(family) as client:
            listener.bind(str(folder / "s") if kind == "unix" else ("127.0.0.1", 0))
            start = asyncio.start_unix_server if kind == "unix" else asyncio.start_server
            server = await start(connected, sock=listener)
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, listener.getsockname())
            await work(following, client)
            server.close()

    asyncio.run(asyncio.wait_for(run(), 20))


async def pour(client: socket.socket, most: int) -> int:
    """How many bytes the client could send until nobody took any more."""
    sent = 0
    piece = b"x" * 65536
    while sent < most:
        try:
            sent += client.send(piece)
        except BlockingIOError:
            before = sent
            for _ in range(20):
                await asyncio.sleep(0.01)
                try:
                    sent += client.send(piece)
                    break
                except BlockingIOError:
                    pass
            if sent == before:
                break
        await asyncio.sleep(0)
    return sent


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_client_that_sends_while_it_is_answered_takes_no_memory(kind: str, tmp_path: Path) -> None:
    async def work(following: Following, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, ASK)
        assert b"first" in await loop.sock_recv(client, 65536) + await loop.sock_recv(client, 65536)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sent = await pour(client, 300 << 20)
        assert sent < 16 << 20, "the rest waits on the client's side"
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10
        assert not following.closed.is_set()

    with_client(kind, tmp_path, work)


@pytest.mark.parametrize("sends", [0, 1 << 20])
def test_a_client_that_leaves_ends_its_answer_whatever_it_has_sent(sends: int, tmp_path: Path) -> None:
    async def work(following: Following, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, ASK)
        await loop.sock_recv(client, 65536)
        await pour(client, sends)
        client.close()
        await following.closed.wait()

    with_client("unix", tmp_path, work)


def test_a_request_that_was_sent_meanwhile_is_answered_afterwards(tmp_path: Path) -> None:
    async def work(following: Following, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, ASK + b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await asyncio.sleep(0.05)
        following.told.set()
        answer = b""
        while data := await loop.sock_recv(client, 65536):
            answer += data
        assert answer.endswith(b"later")

    with_client("unix", tmp_path, work)


def test_a_stream_whose_peer_has_gone_before_it_is_asked_waits_for_nothing() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        stream = Stream(reader, writer, b"")
        theirs.close()
        writer.close()
        await writer.wait_closed()
        await asyncio.wait_for(stream.taken(), 5)
        await asyncio.wait_for(stream.closed(), 5)
        with pytest.raises(ConnectionError):
            await stream.write(b"x")

    asyncio.run(main())
