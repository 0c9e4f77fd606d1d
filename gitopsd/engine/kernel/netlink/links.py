"""Interfaces: bridges and veth pairs.  [pure]

In: names and numbers.  Out: requests for a ROUTE socket, and `Link` values from its replies.
linux/if_link.h has the attributes, Documentation/netlink/specs/rt-link.yaml their meaning.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gitopsd.engine.kernel.netlink import attributes, messages
from gitopsd.engine.kernel.netlink.attributes import Tree, native, text, u32
from gitopsd.engine.kernel.netlink.messages import Message, Request

NEWLINK, DELLINK, GETLINK = 16, 17, 18
GROUP = 1  # RTNLGRP_LINK
UP, RUNNING = 0x1, 0x40
LOOPBACK = 0x8

_IFINFO = struct.Struct("=BxHiII")
_ADDRESS, _NAME, _MTU, _MASTER, _INFO = 1, 3, 4, 10, 18
_OPERATIONAL, _ALIAS, _AF_SPEC, _NETNS_FD = 16, 20, 26, 28
_WORKS = (0, 6)  # IF_OPER_UNKNOWN, as a loopback has it, and IF_OPER_UP
_INFO_KIND, _INFO_DATA, _SLAVE_KIND, _SLAVE_DATA = 1, 2, 4, 5
_PEER = 1  # VETH_INFO_PEER
_FORWARD_DELAY, _STP = 1, 5  # IFLA_BR_*
_HAIRPIN = 4  # IFLA_BRPORT_MODE
_INET6, _ADDRESS_MODE, _MODE_NONE = 10, 8, b"\1"  # no link-local address: networks are IPv4 only


@dataclass(frozen=True)
class Link:
    """An interface as the kernel tells of it. `kind` is `bridge`, `veth` …, empty for what has no driver of that sort."""

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    master: int
    alias: str
    is_up: bool
    is_loopback: bool
    is_working: bool
    """Up, and the other end too; only then does a port of a bridge pass frames on."""


def create_bridge(name: str, mac: str, mtu: int) -> Request:
    """A bridge that is down, will forward at once, and keeps its address whatever joins it."""
    data: Tree = ((_FORWARD_DELAY, u32(0)), (_STP, u32(0)))
    tree: Tree = (
        (_NAME, text(name)),
        (_ADDRESS, _mac(mac)),
        (_MTU, u32(mtu)),
        (_INFO, ((_INFO_KIND, text("bridge")), (_INFO_DATA, data))),
    )
    return _change(NEWLINK, messages.CREATE | messages.EXCL, tree, f"create bridge {name}")


def create_veth(name: str, master: int, peer: str, peer_mac: str, peer_netns: int, mtu: int) -> Request:
    """A pair: `name` here, on the bridge `master`; `peer` in the namespace of the descriptor. Both are down."""
    inside: Tree = (
        (_NAME, text(peer)),
        (_ADDRESS, _mac(peer_mac)),
        (_MTU, u32(mtu)),
        (_NETNS_FD, u32(peer_netns)),
    )
    other = _IFINFO.pack(0, 0, 0, 0, 0) + attributes.encode(inside)
    data = attributes.encode(((_PEER, other),))
    tree: Tree = (
        (_NAME, text(name)),
        (_MTU, u32(mtu)),
        (_MASTER, u32(master)),
        (_INFO, ((_INFO_KIND, text("veth")), (_INFO_DATA, data))),
    )
    return _change(NEWLINK, messages.CREATE | messages.EXCL, tree, f"create veth {name} with {peer}")


def describe_port(name: str, alias: str) -> Request:
    """Let a port of a bridge send frames back where they came from, and write down whose it is."""
    tree: Tree = (
        (_NAME, text(name)),
        (_ALIAS, alias.encode()),
        (_INFO, ((_SLAVE_KIND, text("bridge")), (_SLAVE_DATA, ((_HAIRPIN, b"\1"),)))),
    )
    return _change(NEWLINK, 0, tree, f"describe port {name}")


def set_up(name: str) -> Request:
    return _change(NEWLINK, 0, ((_NAME, text(name)),), f"bring {name} up", flags=UP)


def without_ipv6(name: str) -> Request:
    """Give an interface no IPv6 address of its own when it comes up; it must be down."""
    tree: Tree = ((_NAME, text(name)), (_AF_SPEC, ((_INET6, ((_ADDRESS_MODE, _MODE_NONE),)),)))
    return _change(NEWLINK, 0, tree, f"keep IPv6 off {name}")


def set_master(name: str, master: int) -> Request:
    return _change(NEWLINK, 0, ((_NAME, text(name)), (_MASTER, u32(master))), f"put {name} on its bridge")


def delete(name: str) -> Request:
    return _change(DELLINK, 0, ((_NAME, text(name)),), f"delete interface {name}")


def get(name: str) -> Request:
    return Request(GETLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0) + attributes.encode(((_NAME, text(name)),)), f"read interface {name}")


def get_by_index(index: int) -> Request:
    return Request(GETLINK, 0, _IFINFO.pack(0, 0, index, 0, 0), f"read interface {index}")


def list_all() -> Request:
    return Request(GETLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0), "list interfaces")


def read(message: Message) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(message.body)
    found = attributes.parse(message.body[_IFINFO.size :])
    info = attributes.parse(found.get(_INFO, b""))
    return Link(
        index=index,
        name=attributes.read_text(found.get(_NAME, b"")),
        kind=attributes.read_text(info.get(_INFO_KIND, b"")),
        mac=":".join(f"{byte:02x}" for byte in found.get(_ADDRESS, b"")),
        mtu=native(found.get(_MTU, b"")),
        master=native(found.get(_MASTER, b"")),
        alias=attributes.read_text(found.get(_ALIAS, b"")),
        is_up=bool(flags & UP),
        is_loopback=bool(flags & LOOPBACK),
        is_working=native(found.get(_OPERATIONAL, b"\0")) in _WORKS,
    )


def went_down(message: Message) -> bool:
    """Whether an event says that somebody took an interface down, or off its bridge; not that one was made, which starts so."""
    _, _, _, flags, changed = _IFINFO.unpack_from(message.body)
    if changed == 0xFFFFFFFF:
        return False
    return bool(changed & UP and not flags & UP) or (
        bool(flags & UP) and read(message).kind == "veth" and not read(message).master
    )


def _change(kind: int, how: int, tree: Tree, what: str, flags: int = 0) -> Request:
    return Request(kind, how, _IFINFO.pack(0, 0, 0, flags, flags) + attributes.encode(tree), what)


def _mac(value: str) -> bytes:
    return bytes.fromhex(value.replace(":", ""))
