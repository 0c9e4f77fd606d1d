"""Connections that the kernel tracks: list those of a container or a port, delete one.  [pure]

In: what to look for.  Out: requests for a NETFILTER socket, and `Connection` values from its replies.

Rule: a filter given to the kernel only spares the copying. A kernel that ignores it answers with more, so whoever lists
checks each connection again. A connection is deleted by its tuple and its id: so never one that took its place.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from gitopsd.engine.kernel.netlink import attributes
from gitopsd.engine.kernel.netlink.attributes import Tree, be32, number
from gitopsd.engine.kernel.netlink.messages import Message, Request

TCP, UDP = 6, 17
SEEN_REPLY, SOURCE_NAT, DESTINATION_NAT = 2, 16, 32
_NEW, _GET, _DELETE = 0x100, 0x101, 0x102
_ORIGINAL, _REPLY, _STATUS, _ID, _FILTER = 1, 2, 3, 12, 25
_IP, _PROTO = 1, 2
_SOURCE, _DESTINATION = 1, 2
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
_BY_SOURCE, _BY_PROTOCOL, _BY_DESTINATION_PORT = 1, 1 << 3, 1 << 5


@dataclass(frozen=True)
class Tuple:
    """One direction of a connection; ports are 0 where the protocol has none."""

    protocol: int
    source: str
    source_port: int
    destination: str
    destination_port: int


@dataclass(frozen=True)
class Connection:
    """`original` is as the first packet came, `reply` as answers come: its source is who really answers."""

    original: Tuple
    reply: Tuple
    status: int
    identifier: int
    tuple_bytes: bytes

    @property
    def is_answered(self) -> bool:
        return bool(self.status & SEEN_REPLY)


def list_answered_by(address: str) -> Request:
    """The connections that this address answers, or should."""
    ip: Tree = ((_SOURCE, socket.inet_aton(address)),)
    tree: Tree = ((_REPLY, ((_IP, ip),)), (_FILTER, ((_FILTER_ORIGINAL, _flags(0)), (_FILTER_REPLY, _flags(_BY_SOURCE)))))
    return _list(tree, f"list connections to {address}")


def list_to_port(protocol: int, port: int) -> Request:
    """The connections that were made to this port, of any address."""
    proto: Tree = ((_NUMBER, bytes((protocol,))), (_DESTINATION_PORT, struct.pack(">H", port)))
    flags = _flags(_BY_PROTOCOL | _BY_DESTINATION_PORT)
    tree: Tree = ((_ORIGINAL, ((_PROTO, proto),)), (_FILTER, ((_FILTER_ORIGINAL, flags), (_FILTER_REPLY, _flags(0)))))
    return _list(tree, f"list connections to port {port}")


def list_all() -> Request:
    return _list((), "list connections")


def read(message: Message) -> Connection:
    found = attributes.parse(message.body[4:])
    return Connection(
        original=_tuple(found[_ORIGINAL]),
        reply=_tuple(found[_REPLY]),
        status=number(found.get(_STATUS, b"")),
        identifier=number(found.get(_ID, b"")),
        tuple_bytes=found[_ORIGINAL],
    )


def delete(connection: Connection) -> Request:
    tree: Tree = ((_ORIGINAL | 0x8000, connection.tuple_bytes), (_ID, be32(connection.identifier)))
    to = f"{connection.original.destination}:{connection.original.destination_port}"
    return Request(_DELETE, 0, _HEAD + attributes.encode(tree), f"delete connection to {to}")


_HEAD = struct.pack(">BBH", socket.AF_INET, 0, 0)


def _list(tree: Tree, what: str) -> Request:
    return Request(_GET, 0, _HEAD + attributes.encode(tree), what)


def _flags(value: int) -> bytes:
    return struct.pack("=I", value)


def _tuple(data: bytes) -> Tuple:
    found = attributes.parse(data)
    ip = attributes.parse(found.get(_IP, b""))
    proto = attributes.parse(found.get(_PROTO, b""))
    return Tuple(
        protocol=number(proto.get(_NUMBER, b"")),
        source=_text(ip.get(_SOURCE, b"")),
        source_port=number(proto.get(_SOURCE_PORT, b"")),
        destination=_text(ip.get(_DESTINATION, b"")),
        destination_port=number(proto.get(_DESTINATION_PORT, b"")),
    )


def _text(value: bytes) -> str:
    return socket.inet_ntoa(value) if len(value) == 4 else ""
