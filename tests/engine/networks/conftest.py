"""Namespaces to test networks in: a host, containers on it, and what lies outside.

`host` puts the test itself into a fresh network namespace, so nothing of the machine is seen or touched. A `Container` is a
process in a namespace of its own that opened the four sockets and handed them over, as a container's first process does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gitopsd.engine.kernel import process
from gitopsd.engine.kernel.netlink import links
from gitopsd.engine.kernel.netlink.connection import NETFILTER, ROUTE, Netlink
from gitopsd.engine.networks.endpoint import Attachment, Endpoint
from gitopsd.engine.networks.networks import Networks, Running
from gitopsd.engine.networks.ports import PortRequest
from gitopsd.engine.networks.ruleset import Port

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
        self._servers: list[Server] = []

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

    def serve(self, port: int, name: str, protocol: str = "tcp", address: str = "0.0.0.0") -> None:
        """Answer whoever comes with `name` and the address that was seen, until the test is over."""
        sock = self.listen(port, address) if protocol == "tcp" else self.datagrams(port, address)
        self._servers.append(Server(sock, name))

    def ask(self, address: str, port: int, protocol: str = "tcp", timeout_s: float = 1.0, source: str = "") -> str:
        """What is answered there: `<name> <address seen>`, or `refused`, `silent`, `unreachable`."""
        return self.run(lambda: ask(address, port, protocol, timeout_s, source))

    def close(self) -> None:
        for server in self._servers:
            server.close()
        os.close(self.descriptor)


class Server:
    """Answers on a socket, in a thread of its own."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._sock, self._name = sock, name
        sock.settimeout(None)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                if self._sock.type == socket.SOCK_DGRAM:
                    _, peer = self._sock.recvfrom(2048)
                    if peer is None:  # the socket was shut down
                        return
                    self._sock.sendto(f"{self._name} {peer[0]}".encode(), peer)
                else:
                    connection, peer = self._sock.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.sendall(f"{self._name} {peer[0]}".encode())

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        assert not self._thread.is_alive()
        self._sock.close()


class Container(Namespace):
    def __init__(self) -> None:
        here, there = socket.socketpair()
        self.id = secrets.token_hex(32)
        self._is_ended = False
        self.name = ""
        self.attachments: tuple[Attachment, ...] = ()
        self.endpoints: tuple[Endpoint, ...] = ()
        self.ports: tuple[Port, ...] = ()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FIRST_PROCESS, str(there.fileno())], pass_fds=[there.fileno()], cwd=_root()
        )
        there.close()
        here.settimeout(10)
        _, descriptors, _, _ = socket.recv_fds(here, 16, 4)
        self._channel = here
        self.route, self.netfilter, self.dns_udp, self.dns_tcp = (socket.socket(fileno=found) for found in descriptors)
        super().__init__(os.open(f"/proc/{self._process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    def sockets(self) -> dict[str, socket.socket]:
        """As a monitor gives them: copies, and it keeps its own."""
        return {"route": self.route.dup(), "netfilter": self.netfilter.dup(), "dns-udp": self.dns_udp, "dns-tcp": self.dns_tcp}

    @property
    def address(self) -> str:
        return self.endpoints[0].address

    def end(self) -> None:
        """The container's process ends, and with it the namespace, once nobody holds it."""
        self._channel.close()
        self._process.wait()
        for sock in (self.route, self.netfilter, self.dns_udp, self.dns_tcp):
            sock.close()
        if not self._is_ended:
            self._is_ended = True
            self.close()


class Host:
    """The host that the test runs on, and what it can have."""

    def __init__(self) -> None:
        self.instance = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(5))
        self.route = Netlink.open(ROUTE)
        self.netfilter = Netlink.open(NETFILTER)
        self.route.ask(links.set_up("lo"))
        # a new namespace has the settings of the machine's
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
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


class Engine:
    """The network side of a daemon, with containers to start on it."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.networks = Networks(host.instance, str(folder), now=lambda: "2026-01-01T00:00:00Z")
        self.networks.start()
        self._reservations: list[socket.socket] = []

    def run(
        self,
        name: str,
        *attachments: Attachment | str,
        ports: Sequence[PortRequest] = (),
        is_serving: bool = True,
        serve: int = 0,
    ) -> Container:
        """Start a container; with `serve` it answers there, by TCP and UDP, with its name."""
        container = self.host.container()
        container.name = name
        container.attachments = tuple(item if isinstance(item, Attachment) else Attachment(item) for item in attachments)
        container.endpoints = self.networks.allocate(container.id, name, container.attachments, is_serving)
        self.networks.attach(container.id, container.sockets())
        reserved = self.networks.reserve(container.id, ports)
        self._reservations += [reservation.socket for reservation in reserved]
        container.ports = tuple(reservation.port for reservation in reserved)
        self.networks.publish(container.id, container.ports)
        if serve:
            container.serve(serve, name)
            container.serve(serve, name, "udp")
        return container

    def restart(self, *running: Container, **changed: Any) -> None:
        """The daemon dies, and another starts."""
        self.networks.close()
        self.networks = Networks(self.host.instance, str(self.folder), now=lambda: "2026-01-01T00:00:00Z")
        self.networks.start([Running(c.id, c.name, c.attachments, c.sockets(), c.ports, **changed) for c in running])

    def settle(self) -> None:
        """Wait for the work that nobody waits for."""
        self.networks._later.submit(int).result()

    def close(self) -> None:
        for sock in self._reservations:
            sock.close()
        self.networks.close()


@pytest.fixture
def engine(host: Host, tmp_path: Path) -> Iterator[Engine]:
    made = Engine(host, tmp_path / "networks")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def ask_host() -> Callable[..., str]:
    """`Namespace.ask`, from the host."""
    return ask


@pytest.fixture
def run_command() -> Callable[..., str]:
    return command


@pytest.fixture
def namespace(host: Host) -> Iterator[Namespace]:
    made = Namespace.fresh()
    yield made
    made.close()


def ask(address: str, port: int, protocol: str = "tcp", timeout_s: float = 1.0, source: str = "") -> str:
    """`Namespace.ask`, from where the caller is."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(timeout_s)
        try:
            if source:
                sock.bind((source, 0))
            sock.connect((address, port))
            if protocol == "udp":
                sock.send(b"?")
            return sock.recv(200).decode()
        except ConnectionRefusedError:
            return "refused"
        except socket.timeout:  # noqa: UP041  in Python 3.9 it is no TimeoutError
            return "silent"
        except OSError as error:
            return "unreachable" if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH) else str(error)


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
