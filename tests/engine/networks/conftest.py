"""Namespaces to test networks in: a host, containers on it, and what lies outside.

`host` puts the test itself into a fresh network namespace, so nothing of the machine is seen or touched. A `Container` is a
process in a namespace of its own that opened the four sockets and handed them over, as a container's first process does.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from gitopsd.engine.kernel import process
from gitopsd.engine.kernel.netlink import links
from gitopsd.engine.kernel.netlink.connection import NETFILTER, ROUTE, Netlink

Result = TypeVar("Result")

_FIRST_PROCESS = """
import os, socket, sys
from gitopsd.engine.kernel import process
from gitopsd.engine.kernel.netlink import links
from gitopsd.engine.kernel.netlink.connection import NETFILTER, ROUTE, Netlink, open_socket
channel = socket.socket(fileno=int(sys.argv[1]))
process.unshare(process.CLONE_NEWNET)
Netlink(open_socket(ROUTE)).ask(links.set_up("lo"))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.11", 0))
tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
tcp.bind(("127.0.0.11", 0))
tcp.listen(64)
held = [open_socket(ROUTE), open_socket(NETFILTER), udp, tcp]
socket.send_fds(channel, [b"here"], [sock.fileno() for sock in held])
channel.recv(1)
"""


class Namespace:
    """A network namespace, and code run in it, in a thread that has joined it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def fresh(cls) -> Namespace:
        def make() -> int:
            process.unshare(process.CLONE_NEWNET)
            with contextlib.closing(Netlink.open(ROUTE)) as route:
                route.ask(links.set_up("lo"))
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        return cls(_in_thread(make))

    def run(self, work: Callable[[], Result]) -> Result:
        def joined() -> Result:
            process.setns(self.descriptor, process.CLONE_NEWNET)
            return work()

        return _in_thread(joined)

    def command(self, *words: str) -> str:
        return self.run(lambda: command(*words))

    def listen(self, port: int, address: str = "0.0.0.0") -> socket.socket:
        def make() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            sock.listen(512)
            return sock

        return self.run(make)

    def datagrams(self, port: int = 0, address: str = "0.0.0.0") -> socket.socket:
        def make() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((address, port))
            sock.settimeout(2)
            return sock

        return self.run(make)

    def connect(self, address: str, port: int, timeout_s: float = 2.0, source: str = "") -> socket.socket:
        return self.run(lambda: socket.create_connection((address, port), timeout_s, (source, 0) if source else None))

    def close(self) -> None:
        os.close(self.descriptor)


class Container(Namespace):
    def __init__(self) -> None:
        here, there = socket.socketpair()
        self.id = secrets.token_hex(32)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FIRST_PROCESS, str(there.fileno())], pass_fds=[there.fileno()], cwd=_root()
        )
        there.close()
        here.settimeout(10)
        _, descriptors, _, _ = socket.recv_fds(here, 16, 4)
        self._channel = here
        self.route, self.netfilter, self.dns_udp, self.dns_tcp = (socket.socket(fileno=found) for found in descriptors)
        super().__init__(os.open(f"/proc/{self._process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    def end(self) -> None:
        """The container's process ends, and with it the namespace, once nobody holds it."""
        self._channel.close()
        self._process.wait()
        for sock in (self.route, self.netfilter, self.dns_udp, self.dns_tcp):
            sock.close()
        with contextlib.suppress(OSError):
            self.close()


class Host:
    """The host that the test runs on, and what it can have."""

    def __init__(self) -> None:
        self.instance = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(5))
        self.route = Netlink.open(ROUTE)
        self.netfilter = Netlink.open(NETFILTER)
        self.route.ask(links.set_up("lo"))
        self._made: list[Namespace] = []

    def container(self) -> Container:
        made = Container()
        self._made.append(made)
        return made

    def outside(self, network: str = "192.0.2.0/24", interface: str = "lan0") -> Namespace:
        """A machine on a network of the host: the host is .1 there, the machine .2 and its default route leads to the host."""
        base = network.rsplit(".", 1)[0]
        made = Namespace.fresh()
        self._made.append(made)
        self.route.ask(links.create_veth(interface, 0, "eth0", "02:00:00:00:00:02", made.descriptor, 1500))
        command("ip", "link", "set", interface, "up")
        command("ip", "address", "add", f"{base}.1/24", "dev", interface)
        made.command("ip", "address", "add", f"{base}.2/24", "dev", "eth0")
        made.command("ip", "link", "set", "eth0", "up")
        made.command("ip", "route", "add", "default", "via", f"{base}.1")
        return made

    def close(self) -> None:
        for made in self._made:
            made.end() if isinstance(made, Container) else made.close()
        self.route.close()
        self.netfilter.close()


@pytest.fixture
def host() -> Iterator[Host]:
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    process.unshare(process.CLONE_NEWNET)
    made = Host()
    try:
        yield made
    finally:
        made.close()
        process.setns(before, process.CLONE_NEWNET)
        os.close(before)


@pytest.fixture
def run_command() -> Callable[..., str]:
    return command


@pytest.fixture
def namespace(host: Host) -> Iterator[Namespace]:
    made = Namespace.fresh()
    yield made
    made.close()


def command(*words: str) -> str:
    """Run a program of the machine, as an oracle; its output."""
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def _root() -> Path:
    return Path(__file__).resolve().parents[3]


def _in_thread(work: Callable[[], Result]) -> Result:
    """A thread of its own, which takes the namespace it joined with it when it ends."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()
