"""The resolver that containers find at 127.0.0.11, on the daemon's loop.

In: two sockets of each container, bound in its namespace and held by its monitor, too.  Out: replies (lookup.py says which).

Whatever a container does, others are answered: of datagrams some are read at a time, connections are few and short of time, questions that wait for
the host's name servers are counted (CVE-2024-8418, CVE-2026-35406 were a resolver that one client could hold). A question leaves from the host's
namespace, from a port of its own and with an id of its own, so that a loopback resolver of the host can be asked and nobody can guess the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
import socket
import struct
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from gitopsd.engine.networks import lookup, resolv
from gitopsd.engine.networks.lookup import Forward
from gitopsd.engine.networks.names import Names

_AT_A_TIME = 32
_MAX_FORWARDS, _MAX_FORWARDS_EACH = 1024, 128
_MAX_CONNECTIONS_EACH = 16
_IDLE_S, _MESSAGE_S, _CONNECTION_S = 10.0, 5.0, 60.0
_NEXT_SERVER_S, _SERVERS_S = 1.0, 5.0
"""A name server that does not answer is given company after the first, and all are given up after the second; the C library waits five seconds."""
_REREAD_S = 5.0
_MAX_SERVERS = 3
_QUIET_S = 60.0
"""After a fault was logged: a container may bring it about as often as it likes."""
_log = logging.getLogger(__name__)


@dataclass
class _Client:
    container: str
    udp: socket.socket
    tcp: socket.socket
    servers: tuple[str, ...]
    """Its own, instead of the host's."""
    forwards: int = 0
    connections: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])


class Resolver:
    """`names` gives what may be looked up now. All methods belong to the loop."""

    def __init__(self, names: Callable[[], Names], resolv_conf: str = "/etc/resolv.conf", port: int = 53) -> None:
        self._names = names
        self._resolv_conf = resolv_conf
        self._port = port
        self._clients: dict[str, _Client] = {}
        self._forwards = 0
        self._turn = 0
        self._servers: tuple[str, ...] = ()
        self._read_at = float("-inf")
        self._faults, self._quiet_until = 0, float("-inf")

    def serve(self, container: str, udp: socket.socket, tcp: socket.socket, servers: Sequence[str] = ()) -> None:
        """Answer a container from now on, also what has waited in the sockets. Takes them over."""
        self.drop(container)
        client = _Client(container, udp, tcp, tuple(servers))
        self._clients[container] = client
        udp.setblocking(False)
        tcp.setblocking(False)
        tcp.listen(_MAX_CONNECTIONS_EACH)
        loop = asyncio.get_running_loop()
        loop.add_reader(udp, self._on_datagrams, client)
        loop.add_reader(tcp, self._on_connections, client)

    def drop(self, container: str) -> None:
        """Answer no more. What is asked from now on waits for whoever holds the sockets."""
        client = self._clients.pop(container, None)
        if client is None:
            return
        loop = asyncio.get_running_loop()
        for sock in (client.udp, client.tcp):
            loop.remove_reader(sock)
            sock.close()
        for task in client.tasks:
            task.cancel()

    async def close(self) -> None:
        tasks = [task for client in self._clients.values() for task in client.tasks]
        for container in list(self._clients):
            self.drop(container)
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- from containers

    def _on_datagrams(self, client: _Client) -> None:
        for _ in range(_AT_A_TIME):  # then others have their turn
            try:
                query, peer = client.udp.recvfrom(lookup.MAX_QUERY + 1)
            except OSError:
                return
            reply = self._respond(client, query, is_tcp=False)
            if isinstance(reply, Forward):
                self._spawn(client, self._forward_datagram(client, reply, peer))
            elif reply is not None:
                _send(client.udp, reply, peer)

    def _on_connections(self, client: _Client) -> None:
        try:
            connection, _ = client.tcp.accept()
        except OSError:
            return
        if client.connections >= _MAX_CONNECTIONS_EACH:
            connection.close()
            return
        connection.setblocking(False)
        client.connections += 1
        self._spawn(client, self._converse(client, connection))

    async def _converse(self, client: _Client, connection: socket.socket) -> None:
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
            await asyncio.wait_for(self._answer_all(client, reader, writer), _CONNECTION_S)
        except (OSError, EOFError, asyncio.TimeoutError):
            pass  # it is gone, or took too long: nobody is owed anything
        finally:
            client.connections -= 1
            if writer is not None:
                writer.close()
            else:
                connection.close()

    async def _answer_all(self, client: _Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            (length,) = struct.unpack(">H", await asyncio.wait_for(reader.readexactly(2), _IDLE_S))
            if length > lookup.MAX_QUERY:
                return
            query = await asyncio.wait_for(reader.readexactly(length), _MESSAGE_S)
            reply = self._respond(client, query, is_tcp=True)
            if isinstance(reply, Forward):
                reply = await self._forward(client, reply, is_tcp=True)
            if reply is None:
                return
            writer.write(struct.pack(">H", len(reply)) + reply)
            await asyncio.wait_for(writer.drain(), _MESSAGE_S)

    def _respond(self, client: _Client, query: bytes, is_tcp: bool) -> bytes | Forward | None:
        self._turn += 1
        try:
            return lookup.respond(query, self._names(), client.container, self._turn, is_tcp)
        except Exception as error:  # noqa: BLE001  a fault of ours must cost nobody else an answer, and not a line of log for each question
            self._say_fault(error)
            return lookup.fail(query)

    def _say_fault(self, error: BaseException) -> None:
        self._faults += 1
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_S
            _log.error("look-ups failed so far: %d; this one by a fault of ours", self._faults, exc_info=error)

    def _spawn(self, client: _Client, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        client.tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, client))

    def _ended(self, client: _Client, task: asyncio.Task[None]) -> None:
        client.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._say_fault(error)

    # ---- to the host's name servers

    async def _forward_datagram(self, client: _Client, forward: Forward, peer: Any) -> None:
        _send(client.udp, await self._forward(client, forward, is_tcp=False), peer)

    async def _forward(self, client: _Client, forward: Forward, is_tcp: bool) -> bytes:
        """The answer of a name server, as the container's own id wants it; a failure when there are too many questions or no answer."""
        if self._forwards >= _MAX_FORWARDS or client.forwards >= _MAX_FORWARDS_EACH:
            return lookup.fail(forward.query)
        self._forwards += 1
        client.forwards += 1
        try:
            ours = Forward(secrets.token_bytes(2) + forward.query[2:], forward.question)
            servers = client.servers or await self._host_servers()
            reply = await self._ask_in_turn(servers[:_MAX_SERVERS], ours, is_tcp)
            return forward.query[:2] + reply[2:] if reply else lookup.fail(forward.query)
        finally:
            self._forwards -= 1
            client.forwards -= 1

    async def _ask_in_turn(self, servers: Sequence[str], forward: Forward, is_tcp: bool) -> bytes:
        """The first good answer; else one that is none; empty when nobody answers."""
        waiting = list(servers)
        asked: set[asyncio.Task[bytes]] = set()
        failure = b""
        loop = asyncio.get_running_loop()
        end = loop.time() + _SERVERS_S
        try:
            while waiting or asked:
                if waiting:
                    asked.add(asyncio.ensure_future(_ask(waiting.pop(0), self._port, forward, is_tcp)))
                pause_s = end - loop.time()
                done, asked = await asyncio.wait(
                    asked, timeout=min(_NEXT_SERVER_S, pause_s) if waiting else pause_s, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    reply = b"" if task.exception() else task.result()
                    if reply and not lookup.is_failure(reply):
                        return reply
                    failure = reply or failure
                if loop.time() >= end:
                    break
            return failure
        finally:
            for task in asked:
                task.cancel()

    async def _host_servers(self) -> tuple[str, ...]:
        now = asyncio.get_running_loop().time()
        if now - self._read_at > _REREAD_S:
            self._read_at = now
            self._servers = await asyncio.to_thread(_read_servers, self._resolv_conf)
        return self._servers or resolv.read_servers("")


async def _ask(server: str, port: int, forward: Forward, is_tcp: bool) -> bytes:
    """One server's answer. Raises OSError or EOFError when it gives none; what does not belong to the question is not heard."""
    address, _, scope = server.partition("%")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    target: Any = (
        (address, port, 0, socket.if_nametoindex(scope) if scope else 0) if family == socket.AF_INET6 else (address, port)
    )
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, target)
        if not is_tcp:
            await loop.sock_sendall(sock, forward.query)
            while True:
                reply = await loop.sock_recv(sock, 65535)
                if lookup.is_answer(reply, forward):
                    return reply
        await loop.sock_sendall(sock, struct.pack(">H", len(forward.query)) + forward.query)
        (length,) = struct.unpack(">H", await _read_exactly(sock, 2))
        reply = await _read_exactly(sock, length)
        if not lookup.is_answer(reply, forward):
            raise EOFError(f"{server} answered something else")
        return reply


async def _read_exactly(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = await asyncio.get_running_loop().sock_recv(sock, length - len(data))
        if not part:
            raise EOFError("closed")
        data += part
    return data


def _read_servers(path: str) -> tuple[str, ...]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return resolv.read_servers(file.read(65536))
    except OSError:
        return ()


def _send(sock: socket.socket, reply: bytes, peer: Any) -> None:
    with contextlib.suppress(OSError):  # full, or gone: a datagram may be lost
        sock.sendto(reply, peer)
