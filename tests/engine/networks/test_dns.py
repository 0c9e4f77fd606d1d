"""The resolver, asked by real clients inside containers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gitopsd.engine  # noqa: F401  puts the vendored packages on the path
from gitopsd.engine.networks.dns import Resolver
from gitopsd.engine.networks.endpoint import Attachment
from gitopsd.engine.networks.resolv import render

import dnslib  # isort: skip

pytestmark = pytest.mark.host


class NameServer:
    """A name server on the host: knows example.com, is deaf to silent.example, and cuts big.example over UDP."""

    def __init__(self, address: str, answer: str = "192.0.2.80", stranger: bytes = b"") -> None:
        """`stranger` is sent before each answer, as somebody might who guesses."""
        self._stranger = stranger
        self.asked: list[tuple[str, str]] = []
        self._answer = answer
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((address, 53))
        self._tcp = socket.create_server((address, 53))
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def _reply(self, data: bytes, protocol: str) -> bytes | None:
        query = dnslib.DNSRecord.parse(data)
        name = str(query.q.qname).rstrip(".")
        self.asked.append((name, protocol))
        reply = query.reply()
        if name == "silent.example":
            return None
        if name == "failing.example":
            reply.header.rcode = 2
        elif name == "big.example" and protocol == "udp":
            reply.header.tc = 1
        elif query.q.qtype == dnslib.QTYPE.A:
            reply.add_answer(dnslib.RR(query.q.qname, rdata=dnslib.A(self._answer), ttl=60))
        return bytes(reply.pack())

    def _serve_udp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = self._udp.recvfrom(4096)
                if not data:
                    return
                if self._stranger:
                    self._udp.sendto(self._stranger, peer)
                reply = self._reply(data, "udp")
                if reply:
                    self._udp.sendto(reply, peer)

    def _serve_tcp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._tcp.accept()
                with connection:
                    data = connection.recv(4096)
                    reply = self._reply(data[2:], "tcp")
                    if reply:
                        connection.sendall(struct.pack(">H", len(reply)) + reply)

    def close(self) -> None:
        for sock in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._udp.close()
        self._tcp.close()


@pytest.fixture
def name_server(host: Any) -> Iterator[NameServer]:
    """On the loopback, where systemd-resolved has it."""
    made = NameServer("127.0.0.53", stranger=dnslib.DNSRecord.question("example.com").reply().pack())
    yield made
    made.close()


@pytest.fixture
def resolv_conf(tmp_path: Path) -> Path:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.53\nsearch example.com\n")
    return path


@pytest.fixture
def with_resolver(engine: Any, resolv_conf: Path) -> Callable[..., Any]:
    """Runs a test's coroutine beside a resolver that serves these containers."""

    def run(work: Callable[[Resolver], Awaitable[None]], *containers: Any) -> None:
        async def main() -> None:
            async with serving(engine, resolv_conf, *containers) as resolver:
                await work(resolver)

        asyncio.run(main())

    return run


@contextlib.asynccontextmanager
async def serving(engine: Any, resolv_conf: Path, *containers: Any) -> AsyncIterator[Resolver]:
    resolver = Resolver(lambda: engine.networks.names, str(resolv_conf))
    for container in containers:
        resolver.serve(container.id, container.dns_udp.dup(), container.dns_tcp.dup())
    try:
        yield resolver
    finally:
        await resolver.close()


async def dig(container: Any, *words: str) -> str:
    """`dig +short`, or the comment that it gives instead of an answer."""
    return (await asyncio.to_thread(container.command, "dig", "+short", "+timeout=3", "+tries=1", "@127.0.0.11", *words)).strip()


async def status(container: Any, *words: str) -> str:
    text = await asyncio.to_thread(container.command, "dig", "+timeout=3", "+tries=1", "@127.0.0.11", *words)
    return text.split("status: ")[1].split(",")[0]


def test_containers_find_each_other_by_name_and_the_world_by_the_hosts_name_server(
    engine: Any, name_server: NameServer, with_resolver: Any
) -> None:
    engine.networks.create({"Name": "front"})
    web = engine.run("web", Attachment("front", ("www",)))
    other = engine.run("other", Attachment("front", ("www",)))

    async def work(resolver: Resolver) -> None:
        for protocol in ("+notcp", "+tcp"):
            assert await dig(web, protocol, "other") == other.address
            assert await dig(web, protocol, "other.front") == other.address
            assert sorted((await dig(web, protocol, "www")).split()) == [web.address, other.address]
            assert await dig(web, protocol, "-x", other.address) == "other.front."
            assert await dig(web, protocol, "example.com") == "192.0.2.80"
            assert await status(web, protocol, "other", "AAAA") == "NOERROR"
        assert await dig(web, "big.example") == "192.0.2.80"
        assert name_server.asked[-2:] == [("big.example", "udp"), ("big.example", "tcp")]
        assert {name for name, _ in name_server.asked} == {"example.com", "big.example"}

    with_resolver(work, web, other)


def test_the_c_library_and_a_server_of_the_containers_own_work_beside_it(
    engine: Any, host: Any, with_resolver: Any, tmp_path: Path
) -> None:
    engine.networks.create({"Name": "front"})
    web, other = engine.run("web", "front"), engine.run("other", "front")
    (tmp_path / "container.conf").write_text(render("search example.com\n"))
    own = NameServerIn(web)

    def look_up() -> str:
        script = f"import socket; print(socket.gethostbyname('other'), socket.gethostbyaddr('{other.address}')[0])"
        steps = f'mount --bind {tmp_path}/container.conf /etc/resolv.conf && {sys.executable} -c "{script}"'
        return web.command("unshare", "-m", "sh", "-c", steps)

    async def work(resolver: Resolver) -> None:
        assert await asyncio.to_thread(look_up) == f"{other.address} other.front\n"
        assert await asyncio.to_thread(web.command, "dig", "+short", "@127.0.0.1", "anything") == "192.0.2.99\n"
        assert await asyncio.to_thread(other.command, "dig", "+short", f"@{web.address}", "anything") == "192.0.2.99\n"

    with_resolver(work, web, other)
    own.close()


def NameServerIn(container: Any) -> NameServer:  # noqa: N802
    return container.run(lambda: NameServer("0.0.0.0", "192.0.2.99"))


def test_cve_2024_29018_nothing_that_an_internal_container_asks_leaves_the_host(
    engine: Any, name_server: NameServer, with_resolver: Any
) -> None:
    engine.networks.create({"Name": "back", "Internal": True})
    engine.networks.create({"Name": "front"})
    inner, both = engine.run("inner", "back"), engine.run("both", "back", "front")

    async def work(resolver: Resolver) -> None:
        for protocol in ("+notcp", "+tcp"):
            assert await status(inner, protocol, "secret.attacker.example") == "NXDOMAIN"
            assert await dig(inner, protocol, "both") == both.endpoints[0].address
        assert name_server.asked == []
        assert await dig(both, "example.com") == "192.0.2.80"
        await asyncio.to_thread(engine.networks.disconnect, both.id, "front")
        assert await status(both, "example.com") == "NXDOMAIN"

    with_resolver(work, inner, both)
    assert [name for name, _ in name_server.asked] == ["example.com"]


def test_cve_2024_8418_and_2026_35406_connections_that_say_nothing_hold_up_nobody(
    engine: Any, with_resolver: Any, monkeypatch: Any
) -> None:
    from gitopsd.engine.networks import dns

    monkeypatch.setattr(dns, "_IDLE_S", 0.4)
    engine.networks.create({"Name": "front"})
    web, other = engine.run("web", "front"), engine.run("other", "front")

    async def work(resolver: Resolver) -> None:
        port = web.dns_tcp.getsockname()[1]
        silent = [await asyncio.to_thread(web.connect, "127.0.0.11", port) for _ in range(15)]
        half = await asyncio.to_thread(web.connect, "127.0.0.11", port)
        half.sendall(b"\0")
        more = [await asyncio.to_thread(web.connect, "127.0.0.11", port) for _ in range(40)]
        await asyncio.sleep(0.1)
        assert [sock.recv(1) for sock in more] == [b""] * 40  # a container has sixteen at a time
        for sock in more:
            sock.close()
        assert await dig(other, "+tcp", "web") == web.address
        assert await dig(web, "+notcp", "other") == other.address
        start = time.process_time()
        await asyncio.sleep(1)
        assert time.process_time() - start < 0.3  # it waits, and does not spin
        assert await dig(web, "+tcp", "other") == other.address
        for sock in (*silent, half):
            sock.close()

    with_resolver(work, web, other)


def test_garbage_is_dropped_and_the_next_question_is_answered(engine: Any, with_resolver: Any) -> None:
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front")

    async def work(resolver: Resolver) -> None:
        with web.datagrams() as sock:
            for garbage in (b"", b"\0", b"x" * 5000, b"\1\2\x81\0" + b"\0" * 200):
                sock.sendto(garbage, ("127.0.0.11", 53))
        for garbage in (b"", b"\0\0", b"\xff\xff" + b"x" * 100, b"\0\5hello"):
            with web.connect("127.0.0.11", 53) as sock:
                sock.sendall(garbage)
        assert await dig(web, "web") == web.address
        assert await dig(web, "+tcp", "web") == web.address

    with_resolver(work, web)


def test_two_questions_come_by_one_connection(engine: Any, with_resolver: Any) -> None:
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front")

    def ask_twice() -> int:
        with web.connect("127.0.0.11", 53) as sock:
            query = dnslib.DNSRecord.question("web").pack()
            sock.sendall((struct.pack(">H", len(query)) + query) * 2)
            size = 2 * (2 + len(query) + 16)
            data = b""
            while len(data) < size:
                data += sock.recv(4096)
            return data.count(socket.inet_aton(web.address))

    async def work(resolver: Resolver) -> None:
        assert await asyncio.to_thread(ask_twice) == 2

    with_resolver(work, web)


def test_a_name_server_that_fails_or_is_silent_is_replaced_by_the_next(
    engine: Any, host: Any, name_server: NameServer, with_resolver: Any, resolv_conf: Path
) -> None:
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front")
    second = NameServer("127.0.0.54", "192.0.2.81")
    resolv_conf.write_text("nameserver 127.0.0.99\nnameserver 127.0.0.53\nnameserver 127.0.0.54\n")
    original = name_server._reply

    def only_fails(data: bytes, protocol: str) -> bytes | None:
        reply = dnslib.DNSRecord.parse(data).reply()
        reply.header.rcode = 2
        return None if "silent" in str(reply.q.qname) else bytes(reply.pack())

    async def work(resolver: Resolver) -> None:
        assert await dig(web, "example.com") == "192.0.2.80"  # the first refuses by ICMP
        name_server._reply = only_fails
        assert await dig(web, "www.example.com") == "192.0.2.81"
        start = time.monotonic()
        assert await dig(web, "silent.example.com") == "192.0.2.81"
        assert 0.9 < time.monotonic() - start < 2
        assert await status(web, "failing.example") == "SERVFAIL"

    with_resolver(work, web)
    name_server._reply = original
    second.close()


def test_too_many_questions_for_others_leave_room_for_our_own(engine: Any, name_server: NameServer, with_resolver: Any) -> None:
    engine.networks.create({"Name": "front"})
    web, other = engine.run("web", "front"), engine.run("other", "front")

    async def work(resolver: Resolver) -> None:
        with web.datagrams() as sock:
            query = dnslib.DNSRecord.question("silent.example").pack()
            for _ in range(300):
                sock.sendto(query, ("127.0.0.11", 53))
                await asyncio.sleep(0)
            await asyncio.sleep(0.2)
            assert await dig(web, "other") == other.address
            assert await dig(other, "example.com") == "192.0.2.80"
            assert await status(web, "example.com") == "SERVFAIL"
        assert len([name for name, _ in name_server.asked if name == "silent.example"]) == 128

    with_resolver(work, web, other)


def test_a_look_up_that_comes_while_no_daemon_runs_is_answered_by_the_next(engine: Any, resolv_conf: Path) -> None:
    engine.networks.create({"Name": "front"})
    web, other = engine.run("web", "front"), engine.run("other", "front")

    async def main() -> None:
        async with serving(engine, resolv_conf, web, other):
            assert await dig(web, "other") == other.address
        waiting = [asyncio.ensure_future(dig(web, protocol, "other")) for protocol in ("+notcp", "+tcp")]
        await asyncio.sleep(0.5)
        await asyncio.to_thread(engine.restart, web, other)
        async with serving(engine, resolv_conf, web, other):
            assert await asyncio.gather(*waiting) == [other.address] * 2

    asyncio.run(main())


def test_a_resolver_lets_go_of_everything(engine: Any, resolv_conf: Path) -> None:
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front")

    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        async with serving(engine, resolv_conf, web) as resolver:
            connection = web.connect("127.0.0.11", 53)
            await asyncio.sleep(0.05)
            resolver.drop(web.id)
            resolver.drop(web.id)
            await asyncio.sleep(0.05)
            assert connection.recv(1) == b""
            connection.close()
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(main())
