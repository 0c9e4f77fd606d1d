"""Containers and networks: who belongs where, with which addresses, names and published ports.

What the record asks for becomes endpoints at a start (`allocate`, `attach`, `publish`) and goes at the end (`release`).
Networks itself is synchronous, so
each step runs in a thread; names are answered on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Callable, Optional, TypeVar

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json, mapping, texts
from gitopsd.engine.daemon.container import Container
from gitopsd.engine.daemon.monitorlink import MonitorLink
from gitopsd.engine.networks import ports, resolv
from gitopsd.engine.networks.dns import Resolver
from gitopsd.engine.networks.endpoint import Attachment, Endpoint
from gitopsd.engine.networks.network import Network
from gitopsd.engine.networks.networks import Moved, Networks, Running
from gitopsd.engine.networks.ports import PortRequest, Reservation
from gitopsd.engine.runtime import messages

_log = logging.getLogger(__name__)

_Thing = TypeVar("_Thing")
_SOCKETS = ("route", "netfilter", "dns-udp", "dns-tcp")


class Connections:
    """`find(id)` gives a container, None when there is none."""

    def __init__(self, networks: Networks, resolver: Resolver, find: Callable[[str], Optional[Container]]) -> None:
        self.networks = networks
        self._resolver = resolver
        self._find = find
        self._reserved: dict[str, list[Reservation]] = {}
        self._adopted: list[tuple[Container, dict[str, socket.socket]]] = []

    def plan(self, host: Json, endpoints: dict[str, Json]) -> dict[str, Json]:
        """The `networks` of a record: name to its id, aliases and address asked for; the first one is NetworkMode's. ApiError 400."""
        planned: dict[str, Json] = {}
        for name in [host["NetworkMode"], *endpoints]:
            network = self._find_asked(name)
            if network.name in planned:
                continue
            given: Json = {}
            for key, endpoint in endpoints.items():
                if self._find_asked(key).id == network.id:
                    given = endpoint
            aliases = texts(given, "Aliases")
            if aliases and network.is_predefined:
                raise ApiError(
                    400, f"network-scoped alias is supported only for containers in user defined networks, not in {network.name}"
                )
            planned[network.name] = {"network": network.id, "aliases": aliases, "ipam": mapping(given, "IPAMConfig")}
        if len(planned) > 1 and {"host", "none"} & set(planned):
            raise ApiError(400, f"create container: network {host['NetworkMode']} cannot be joined together with others")
        return planned

    def _find_asked(self, name: str) -> Network:
        try:
            return self.networks.find(_real_name(name))
        except ApiError as error:  # 404 would be the image's: the docker CLI then pulls it
            raise ApiError(400, f"create container: {error.message}", "no-such-network") from None

    def waits(self, container: Container) -> bool:
        """Whether it leaves ports and names to another: to the running one that it is to replace, or that has taken its place."""
        replaced = self._find(container.record["replaces"] or "")
        successor = self._find(container.record.get("replaced_by") or "")
        if replaced is not None and replaced.is_running:
            return True
        return successor is not None and successor.is_running and successor.record["replaces"] != container.id

    # a container's run

    async def allocate(self, container: Container) -> None:
        """Choose addresses, reserve ports. ApiError, with nothing taken."""
        await asyncio.to_thread(self._allocate, container, self.waits(container))

    def _allocate(self, container: Container, waits: bool) -> None:
        self._show(container, self.networks.allocate(container.id, container.name, attachments(container), not waits))
        if waits:
            return
        reserved = self.networks.reserve(container.id, port_requests(container))
        self._reserved[container.id] = reserved
        container.ports = ports.show(reservation.port for reservation in reserved)

    def _show(self, container: Container, endpoints: tuple[Endpoint, ...]) -> None:
        names = {asked["network"]: name for name, asked in container.record["networks"].items()}
        container.endpoints = {
            names.get(endpoint.network, endpoint.network): {"network": endpoint.network, "id": endpoint.id, "address": endpoint.address,
                                      "prefix": endpoint.prefix, "gateway": endpoint.gateway, "mac": endpoint.mac}
            for endpoint in endpoints
        }  # fmt: skip

    def write_etc(self, container: Container, folder: str) -> dict[str, str]:
        """Write hosts, hostname and resolv.conf below the container's folder; name to path. For the host's network: the host's own."""
        host, hostname = container.host_config, container.config["Hostname"]
        if host["NetworkMode"] == "host":
            return {name: f"/etc/{name}" for name in ("hosts", "hostname", "resolv.conf") if os.path.exists(f"/etc/{name}")}
        lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
        lines += [
            f"{_address(container, address)}\t{name}"
            for name, _, address in (entry.partition(":") for entry in host["ExtraHosts"])
        ]
        lines += [f"{endpoint['address']}\t{hostname}" for endpoint in container.endpoints.values()]
        texts_of = {"hosts": "\n".join(lines) + "\n", "hostname": f"{hostname}\n", "resolv.conf": self._resolv_conf(container)}
        written: dict[str, str] = {}
        for name, text in texts_of.items():
            written[name] = os.path.join(folder, "etc", name)
            with open(written[name], "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(written[name], 0o644)
        os.chmod(os.path.join(folder, "etc"), 0o711)  # noqa: S103  its files are bound into the container
        return written

    def _resolv_conf(self, container: Container) -> str:
        if not container.endpoints:
            return ""
        with contextlib.suppress(OSError), open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            return resolv.render(file.read(), container.host_config["DnsSearch"], container.host_config["DnsOptions"])
        return resolv.render("", container.host_config["DnsSearch"], container.host_config["DnsOptions"])

    async def attach(self, container: Container, sockets: dict[str, int]) -> None:
        """Give a prepared container its interfaces, before its program runs; its sockets are taken over."""
        if not sockets:
            return
        opened = {name: socket.socket(fileno=descriptor) for name, descriptor in sockets.items()}
        try:
            await asyncio.to_thread(self.networks.attach, container.id, opened)
        except BaseException:
            for sock in opened.values():
                sock.close()
            raise
        self._resolver.serve(container.id, opened["dns-udp"], opened["dns-tcp"], container.host_config["Dns"])
        reserved = self._reserved.pop(container.id, [])
        try:
            await _take(container, [(reservation.port.reservation, reservation.socket.fileno()) for reservation in reserved])
        finally:
            for reservation in reserved:
                reservation.socket.close()

    async def publish(self, container: Container) -> None:
        """Lead the published ports to it, from now on."""
        if container.ports:
            container.ports = ports.show(
                await asyncio.to_thread(self.networks.publish, container.id, ports.read_shown(container.ports))
            )

    async def release(self, container: Container) -> None:
        """Take it out of everything; safe when it has nothing."""
        for reservation in self._reserved.pop(container.id, []):
            reservation.socket.close()
        self._resolver.drop(container.id)
        await asyncio.to_thread(self.networks.release, container.id)

    # a daemon that starts

    async def adopt(self, container: Container) -> None:
        """Take the sockets of a container that runs; `start` then makes the networks know it."""
        if container.monitor is None or container.host_config["NetworkMode"] == "host":
            return
        _, descriptors = await container.monitor.ask_for("give-sockets", names=list(_SOCKETS))
        sockets = {name: socket.socket(fileno=descriptor) for name, descriptor in zip(_SOCKETS, descriptors)}
        self._adopted.append((container, sockets))

    async def start(self) -> None:
        """Make the kernel what it should be, with all that was adopted, and answer look-ups."""
        running = [
            Running(container.id, container.name, tuple(attachments(container)), sockets, ports.read_shown(container.ports),
                    not self.waits(container))
            for container, sockets in self._adopted
        ]  # fmt: skip
        await asyncio.to_thread(self.networks.start, running)
        for container, sockets in self._adopted:
            self._resolver.serve(container.id, sockets["dns-udp"], sockets["dns-tcp"], texts(container.host_config, "Dns"))
            try:
                await asyncio.to_thread(self._agree, container)
            except ApiError as error:
                _log.error("container %s: %s", container.name, error.message)
        self._adopted.clear()

    def _agree(self, container: Container) -> None:
        """Finish a connect or disconnect that was broken off: the record says where it belongs."""
        wanted = {self.networks.find(found.network).id: found for found in attachments(container)}
        there = {endpoint.network for endpoint in self.networks.endpoints(container.id)}
        for network in there - set(wanted):
            self.networks.disconnect(container.id, network)
        for network in set(wanted) - there:
            if self.networks.find(network).is_bridge:
                self.networks.connect(container.id, wanted[network])
        self._show(container, self.networks.endpoints(container.id))

    # changes while it runs

    def renamed(self, container: Container) -> None:
        self.networks.rename(container.id, container.name)

    async def connect(self, container: Container, name: str, asked: Json) -> None:
        await asyncio.to_thread(self.networks.connect, container.id, attachment(name, asked))
        self._show(container, self.networks.endpoints(container.id))

    async def disconnect(self, container: Container, network: str) -> None:
        await asyncio.to_thread(self.networks.disconnect, container.id, network)
        self._show(container, self.networks.endpoints(container.id))

    async def move(self, old: Container, new: Container, old_name: str, new_name: str) -> Moved:
        """Ports and names from one to the other (docs/engine-api.md). Reservations first, so that a port is held at every moment."""
        names = [name for name in await _held(old) if name.startswith("port/")]
        try:
            for few in _few(names):
                if old.monitor is not None:
                    _, descriptors = await old.monitor.ask_for("give-sockets", names=few)
                    try:
                        await _take(new, list(zip(few, descriptors)))
                    finally:
                        messages.close_all(descriptors)
            moved = await asyncio.to_thread(self.networks.transition, old.id, new.id, port_requests(new), old_name, new_name)
        except BaseException:
            if names and new.monitor is not None:
                with contextlib.suppress(Exception):
                    await new.monitor.ask("drop-sockets", names=names)
            raise
        new.ports = {**old.ports, **new.ports}
        return moved

    async def drop_reservations(self, container: Container) -> None:
        """Another monitor holds them now."""
        names = [name for name in await _held(container) if name.startswith("port/")]
        if names and container.monitor is not None:
            await container.monitor.ask("drop-sockets", names=names)


def _address(container: Container, asked: str) -> str:
    """An address of ExtraHosts; `host-gateway` is where the container reaches its host.  [pure]"""
    if asked != "host-gateway":
        return asked
    for endpoint in container.endpoints.values():
        if endpoint["gateway"]:
            return endpoint["gateway"]
    raise ApiError(400, f"start container {container.name}: host-gateway: it has no network with a gateway")


def _few(things: list[_Thing]) -> Iterator[list[_Thing]]:
    """As many at a time as a packet has room for descriptors."""
    for start in range(0, len(things), messages.DESCRIPTORS):
        yield things[start : start + messages.DESCRIPTORS]


async def _take(container: Container, sockets: list[tuple[str, int]]) -> None:
    """Have the container's monitor hold these."""
    for few in _few(sockets):
        if container.monitor is not None:
            await container.monitor.ask("take-sockets", [descriptor for _, descriptor in few], names=[name for name, _ in few])


async def _held(container: Container) -> list[str]:
    if container.monitor is None:
        return []
    return texts(await hello(container.monitor), "sockets")


async def hello(monitor: MonitorLink) -> Json:
    return await monitor.ask("hello")


def _real_name(mode: str) -> str:
    """The network that a NetworkMode means: `default` is Docker's word for `bridge`.  [pure]"""
    return "bridge" if mode == "default" else mode


def attachments(container: Container) -> list[Attachment]:
    """Where the record says that a container belongs, the first one first.  [pure]"""
    return [attachment(name, asked) for name, asked in container.record["networks"].items()]


def attachment(name: str, asked: Json) -> Attachment:
    """What a record asks of one network.  [pure]"""
    return Attachment(asked["network"] or name, tuple(asked["aliases"]), asked["ipam"].get("IPv4Address", ""))


def port_requests(container: Container) -> tuple[PortRequest, ...]:
    """The ports that a container publishes.  [pure]"""
    bindings: Json = dict(container.host_config["PortBindings"])
    if container.host_config["PublishAllPorts"]:
        exposed = [port for port in container.config["ExposedPorts"] if not port.endswith("/sctp")]
        bindings = {**{port: [{}] for port in exposed}, **bindings}
    if container.host_config["NetworkMode"] in ("host", "none"):
        return ()
    return ports.read_bindings(f"start container {container.name}", bindings)
