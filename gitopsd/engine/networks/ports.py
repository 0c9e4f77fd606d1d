"""Published ports: what is asked for, which number it gets, and the socket that keeps it.

Rule 1: a port is reserved by a socket that is bound (and for TCP listens) on the host, so that neither another program nor another engine
can have it, and `ss` shows it. The sockets are made here and held by the container's monitor, so a reservation outlives the daemon.
Rule 2: what arrives at such a socket has missed our table, because somebody flushed it. It is dropped, not answered: the client asks again
and finds its way once the table is back, which a refused or a wrongly accepted connection would not.

Reservations are IPv4. `::1` is refused at once, so clients that try it first fall back to 127.0.0.1. docs/decisions/ says how IPv6 will come.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Callable, Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json, objects
from gitopsd.engine.kernel.sockets import drop_everything
from gitopsd.engine.networks.ruleset import ANY, Port

EPHEMERAL_DEFAULT = (32768, 60999)
_BACKLOG = 1
_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


@dataclass(frozen=True)
class PortRequest:
    """A port to publish; `host_port` 0: any that is free."""

    protocol: str
    container_port: int
    host_address: str = ANY
    host_port: int = 0


@dataclass(frozen=True)
class Reservation:
    """A port that is ours from now on, and the socket that makes it so. Whoever gets it closes it."""

    port: Port
    socket: socket.socket


def read_bindings(what: str, bindings: Json) -> tuple[PortRequest, ...]:
    """Docker's `PortBindings`: `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`."""
    found: list[PortRequest] = []
    for name in bindings:
        number, _, protocol = name.partition("/")
        for binding in objects(bindings, name):
            host_port = int(binding.get("HostPort") or 0)
            found.append(
                PortRequest(protocol or "tcp", int(number), _host_address(what, str(binding.get("HostIp") or "")), host_port)
            )
    return tuple(found)


def show(ports: Iterable[Port]) -> dict[str, list[dict[str, str]]]:
    """Ports in the same form, as inspect shows them."""
    shown: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        shown.setdefault(f"{port.container_port}/{port.protocol}", []).append(
            {"HostIp": port.host_address, "HostPort": str(port.host_port)}
        )
    return shown


def read_shown(shown: Json) -> tuple[Port, ...]:
    """What `show` gave."""
    return tuple(
        Port(request.protocol, request.host_address, request.host_port, request.container_port)
        for request in read_bindings("read ports", shown)
    )


def inherit(what: str, old: Sequence[Port], wanted: Sequence[PortRequest]) -> tuple[Port, ...]:
    """The old container's ports, as the new one wants them. ApiError 409 `ports-differ` when it asks for other ones."""
    left = list(old)
    found: list[Port] = []
    for request in wanted:
        fitting = [
            port
            for port in left
            if (port.protocol, port.host_address) == (request.protocol, request.host_address)
            and (port.host_port == request.host_port if request.host_port else port.container_port == request.container_port)
        ]
        if not fitting:
            asked = f"{request.host_port or 'any'}:{request.container_port}/{request.protocol} on {request.host_address}"
            raise ApiError(409, f"{what}: it publishes {asked}, which the old container does not", "ports-differ")
        left.remove(fitting[0])
        found.append(Port(request.protocol, request.host_address, fitting[0].host_port, request.container_port))
    if left:
        raise ApiError(409, f"{what}: it does not publish {left[0]}, which the old container does", "ports-differ")
    return tuple(found)


def reserve(
    what: str, request: PortRequest, ephemeral: tuple[int, int], start: int, holder: Callable[[Port], str]
) -> Reservation:
    """Reserve a port. `start` is where in the range of ephemeral ports to begin; `holder` names the container that has a port, or is empty."""
    if request.host_port:
        port = Port(request.protocol, request.host_address, request.host_port, request.container_port)
        try:
            return Reservation(port, _bound(port))
        except OSError as error:
            raise _refusal(what, port, error, holder(port)) from error
    first, last = ephemeral
    for step in range(last - first + 1):
        number = first + (start + step) % (last - first + 1)
        port = Port(request.protocol, request.host_address, number, request.container_port)
        if holder(port):
            continue
        try:
            return Reservation(port, _bound(port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise _refusal(what, port, error, "") from error
    raise ApiError(500, f"{what}: no {request.protocol} port from {first} to {last} is free on {request.host_address}")


def ephemeral_range() -> tuple[int, int]:
    """The host's range of ephemeral ports, Docker's too."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            first, last = map(int, file.read().split())
        return first, last
    except (OSError, ValueError):
        return EPHEMERAL_DEFAULT


def _host_address(what: str, text: str) -> str:
    if not text:
        return ANY
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        raise ApiError(400, f"{what}: host address {text!r} is not an IP address") from None
    if address.version == 6:
        raise ApiError(501, f"{what}: publishing on the IPv6 address {text} is not there yet in this engine", "not-there-yet")
    return str(address)


def _bound(port: Port) -> socket.socket:
    is_tcp = port.protocol == "tcp"
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM)
    try:
        drop_everything(sock)
        if is_tcp:
            # connections of an earlier owner that still linger do not count; with UDP this would let others share the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((port.host_address, port.host_port))
        if is_tcp:
            sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _refusal(what: str, port: Port, error: OSError, container: str) -> ApiError:
    if error.errno == errno.EADDRINUSE:
        by = f"container {container}" if container else _program_at(port) or "another program"
        return ApiError(409, f"{what}: {port} is taken by {by}")
    if error.errno == errno.EADDRNOTAVAIL:
        return ApiError(400, f"{what}: {port.host_address} is not an address of this host")
    return ApiError(500, f"{what}: {port} cannot be reserved: {os.strerror(error.errno or 0)}")


def _program_at(port: Port) -> str:
    """The program that has a port, by its socket in /proc; empty when it cannot be told."""
    inodes = set(_sockets_at(port))
    if not inodes:
        return ""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") in wanted:
                    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                        return f"{file.read().strip()} (process {pid})"
        except OSError:
            continue  # it has ended, or is not ours to look at
    return ""


def _sockets_at(port: Port) -> Iterable[str]:
    for family in ("", "6"):
        try:
            with open(f"/proc/net/{port.protocol}{family}", encoding="ascii") as file:
                lines = file.readlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            address, _, number = fields[1].partition(":")
            if int(number, 16) != port.host_port or (port.protocol == "tcp" and fields[3] != _LISTEN):
                continue
            if port.host_address == ANY or int(address, 16) == 0 or _address_of(address) in (None, port.host_address):
                yield fields[9]


def _address_of(text: str) -> Optional[str]:
    """An IPv4 address as /proc/net writes it, in the host's byte order; None for IPv6."""
    return socket.inet_ntoa(int(text, 16).to_bytes(4, sys.byteorder)) if len(text) == 8 else None
