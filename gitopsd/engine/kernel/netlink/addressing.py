"""Addresses of interfaces, neighbours and routes, IPv4.  [pure]

In: addresses as text.  Out: requests for a ROUTE socket, and `Address` and `Route` values from its replies.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass

from gitopsd.engine.kernel.netlink import attributes, messages
from gitopsd.engine.kernel.netlink.attributes import Tree, native, u32
from gitopsd.engine.kernel.netlink.messages import Message, Request

NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH = 28
LOCAL_TABLE = 255

_IFADDR = struct.Struct("=BBBBI")
_NDMSG = struct.Struct("=BxHiHBB")
_RTMSG = struct.Struct("=BBBBBBBBI")
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_NEIGHBOUR, _LINK_ADDRESS, _REACHABLE = 1, 2, 0x02
_DST, _OIF, _GATEWAY, _TABLE = 1, 4, 5, 15
_MAIN_TABLE, _BOOT, _UNIVERSE, _LINK_SCOPE, _UNICAST = 254, 3, 0, 253, 1
_ROUTE_KINDS = {1, 2, 6, 7, 8}  # unicast, local, blackhole, unreachable, prohibit: the rest claims no addresses


@dataclass(frozen=True)
class Address:
    index: int
    address: str
    prefix: int


@dataclass(frozen=True)
class Route:
    """`destination` has its prefix length, `0.0.0.0/0` is a default; `is_direct` when no gateway lies between."""

    destination: str
    index: int
    gateway: str
    table: int
    is_direct: bool


def add_address(index: int, address: str, prefix: int) -> Request:
    return _address(NEWADDR, messages.CREATE | messages.REPLACE, index, address, prefix, "add")


def delete_address(index: int, address: str, prefix: int) -> Request:
    return _address(DELADDR, 0, index, address, prefix, "delete")


def list_addresses(index: int = 0) -> Request:
    """All addresses, or those of one interface."""
    return Request(GETADDR, 0, _IFADDR.pack(socket.AF_INET, 0, 0, 0, index), "list addresses")


def read_address(message: Message) -> Address:
    _, prefix, _, _, index = _IFADDR.unpack_from(message.body)
    found = attributes.parse(message.body[_IFADDR.size :])
    return Address(index, socket.inet_ntoa(found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]), prefix)


def set_neighbour(index: int, address: str, mac: str) -> Request:
    """Who has an address, as if it had just answered; packets that wait for the answer go out."""
    tree: Tree = ((_NEIGHBOUR, socket.inet_aton(address)), (_LINK_ADDRESS, bytes.fromhex(mac.replace(":", ""))))
    body = _NDMSG.pack(socket.AF_INET, 0, index, _REACHABLE, 0, 0) + attributes.encode(tree)
    return Request(NEWNEIGH, messages.CREATE | messages.REPLACE, body, f"set neighbour {address}")


def set_default_route(index: int, gateway: str) -> Request:
    """The default route of the main table, instead of any that is there."""
    tree: Tree = ((_GATEWAY, socket.inet_aton(gateway)), (_OIF, u32(index)))
    return _route(NEWROUTE, messages.CREATE | messages.REPLACE, 0, tree, f"set default route by {gateway}")


def delete_default_route() -> Request:
    return _route(DELROUTE, 0, 0, (), "delete default route")


def add_route(destination: str, index: int, gateway: str = "") -> Request:
    network = ipaddress.IPv4Network(destination)
    tree: Tree = ((_DST, network.network_address.packed), (_OIF, u32(index)))
    if gateway:
        tree += ((_GATEWAY, socket.inet_aton(gateway)),)
    scope = _UNIVERSE if gateway else _LINK_SCOPE
    return _route(NEWROUTE, messages.CREATE | messages.EXCL, network.prefixlen, tree, f"add route to {destination}", scope)


def list_routes() -> Request:
    """The routes of all tables."""
    return Request(GETROUTE, 0, _RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0), "list routes")


def read_route(message: Message) -> Route | None:
    """A route that claims addresses; None for broadcast, multicast and the like."""
    family, prefix, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(message.body)
    if family != socket.AF_INET or kind not in _ROUTE_KINDS:
        return None
    found = attributes.parse(message.body[_RTMSG.size :])
    destination = socket.inet_ntoa(found.get(_DST, b"\0\0\0\0"))
    gateway = found.get(_GATEWAY)
    return Route(
        destination=f"{destination}/{prefix}",
        index=native(found.get(_OIF, b"")),
        gateway=socket.inet_ntoa(gateway) if gateway else "",
        table=native(found[_TABLE]) if _TABLE in found else table,
        is_direct=kind == _UNICAST and not gateway,
    )


def _address(kind: int, how: int, index: int, address: str, prefix: int, verb: str) -> Request:
    packed = socket.inet_aton(address)
    broadcast = ipaddress.IPv4Network((address, prefix), strict=False).broadcast_address.packed
    tree: Tree = ((_IFA_LOCAL, packed), (_IFA_ADDRESS, packed), (_IFA_BROADCAST, broadcast))
    body = _IFADDR.pack(socket.AF_INET, prefix, 0, 0, index) + attributes.encode(tree)
    return Request(kind, how, body, f"{verb} address {address}/{prefix}")


def _route(kind: int, how: int, prefix: int, tree: Tree, what: str, scope: int = _UNIVERSE) -> Request:
    body = _RTMSG.pack(socket.AF_INET, prefix, 0, 0, _MAIN_TABLE, _BOOT, scope, _UNICAST, 0) + attributes.encode(tree)
    return Request(kind, how, body, what)
