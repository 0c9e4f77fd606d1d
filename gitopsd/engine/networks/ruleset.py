"""Our nftables tables: what they say, for a host and inside a container.  [pure]

In: the networks there are, the ports that are published.  Out: a `Table` (kernel/netlink/nftables.py).

The rules never change: networks and ports are elements of sets and maps, so publishing, moving and withdrawing a port is one element
in one transaction, and a daemon that starts finds nothing to do. Of every packet these hold:

Rule 1: 127/8 stays on the loopback (CVE-2020-8558, CVE-2025-54410): dropped before anything else looks at it, both ways.
Rule 2: a port is published on this host's own addresses only; a packet that passes through is somebody else's (CVE-2025-67499).
Rule 3: into a network come answers, and connections to published ports. Its containers' own addresses cannot be reached from
outside, nor from another network, by whatever route (CVE-2025-54388).
Rule 4: an internal network has no outside at all.
Rule 5: addresses are rewritten on the way out, and where a container or the host reaches itself by a published port; nowhere else.
So a container sees the true address of who connects.
Rule 6: when we made a host forward that did not, it still does not forward between the interfaces it had (`guarded`).

Chain `user` is the user's: it is called first, with every packet that enters or leaves a network of ours, and we never touch what is in it.
`nft add rule ip gitopsd-<instance> user ip saddr 203.0.113.9 drop` keeps somebody out; `meta l4proto tcp ct original proto-dst 8080`
is a published port.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from gitopsd.engine.kernel.netlink import expressions as e
from gitopsd.engine.kernel.netlink import nftables as nft
from gitopsd.engine.kernel.netlink.expressions import Expression
from gitopsd.engine.kernel.netlink.nftables import (
    INET_PROTOCOL,
    INET_SERVICE,
    INTERFACE,
    IPV4_ADDRESS,
    Chain,
    Hook,
    Key,
    Rule,
    Set,
    Table,
)
from gitopsd.engine.networks.allocate import bridge_name, bridge_prefix, table_name
from gitopsd.engine.networks.network import Network

RESOLVER = "127.0.0.11"
ANY = "0.0.0.0"  # noqa: S104  the address that stands for all of the host's
PROTOCOLS = {"tcp": e.TCP, "udp": e.UDP}
_RAW, _DNAT, _FILTER, _SNAT = -300, -100, 0, 100
_LOCAL = e.native32(2)  # RTN_LOCAL


@dataclass(frozen=True)
class Port:
    """A published port: who connects to `host_address` (0.0.0.0: any of the host's) is led to a container's `container_port`."""

    protocol: str
    host_address: str
    host_port: int
    container_port: int

    @property
    def reservation(self) -> str:
        """The name of the socket that reserves it, in docs/monitor-protocol.md."""
        return f"port/{self.protocol}/{self.host_address}/{self.host_port}"

    def __str__(self) -> str:
        return f"port {self.host_port}/{self.protocol} on {self.host_address}"


@dataclass(frozen=True)
class Published:
    """A port and the container's address that it leads to."""

    port: Port
    address: str


PORTS_AT = Set("ports_at", (INET_PROTOCOL, IPV4_ADDRESS, INET_SERVICE), (IPV4_ADDRESS, INET_SERVICE))
"""Ports on one address of the host."""
PORTS_ANY = Set("ports_any", (INET_PROTOCOL, INET_SERVICE), (IPV4_ADDRESS, INET_SERVICE))
"""Ports on all addresses of the host."""


def host_table(instance: str, networks: Iterable[Network], published: Iterable[Published], guarded: Iterable[str] = ()) -> Table:
    """The table for these networks (with bridges), ports, and interfaces that must not forward to each other."""
    bridges = [(bridge_name(instance, network.id), network) for network in networks]
    same = {(e.interface(name) * 2, b""): b"" for name, _ in bridges}
    internal = {(e.interface(name), b""): b"" for name, network in bridges if network.is_internal}
    inside = {_inside(name, network.subnet): b"" for name, network in bridges}
    at: dict[Key, bytes] = {}
    everywhere: dict[Key, bytes] = {}
    for item in published:
        (everywhere if item.port.host_address == ANY else at)[port_key(item.port)] = port_data(item)
    return Table(
        nft.IP,
        table_name(instance),
        sets=(
            _with(PORTS_AT, at),
            _with(PORTS_ANY, everywhere),
            Set("same", (INTERFACE, INTERFACE), elements=same),
            Set("internal", (INTERFACE,), elements=internal),
            Set("inside", (INTERFACE, IPV4_ADDRESS), is_interval=True, elements=inside),
            Set("guarded", (INTERFACE,), elements={(e.interface(name), b""): b"" for name in guarded}),
        ),
        chains=_host_chains(bridge_prefix(instance).encode()),
    )


def set_of(port: Port) -> Set:
    return PORTS_ANY if port.host_address == ANY else PORTS_AT


def port_key(port: Port) -> Key:
    address = b"" if port.host_address == ANY else socket.inet_aton(port.host_address)
    return (e.field(bytes((PROTOCOLS[port.protocol],))) + address + e.field(e.port(port.host_port)), b"")


def port_data(item: Published) -> bytes:
    return socket.inet_aton(item.address) + e.field(e.port(item.port.container_port))


def read_port(key: Key, data: bytes) -> Published:
    """The published port that an element of `ports_at` or `ports_any` stands for."""
    protocol = next(name for name, number in PROTOCOLS.items() if number == key[0][0])
    address = socket.inet_ntoa(key[0][4:8]) if len(key[0]) == 12 else ANY
    host_port = int.from_bytes(key[0][-4:-2], "big")
    return Published(Port(protocol, address, host_port, int.from_bytes(data[4:6], "big")), socket.inet_ntoa(data[:4]))


def resolver_table(instance: str, udp_port: int, tcp_port: int) -> Table:
    """Inside a container: its look-ups at 127.0.0.11 reach our sockets, and its own port 53 stays free."""
    rules = tuple(
        Rule(
            (
                e.destination_address(),
                e.compare(socket.inet_aton(RESOLVER)),
                e.protocol(),
                e.compare(bytes((protocol,))),
                e.destination_port(),
                e.compare(e.port(53)),
                e.load(socket.inet_aton(RESOLVER)),
                e.load(e.port(to), 2),
                e.destination_nat(),
            )
        )
        for protocol, to in ((e.UDP, udp_port), (e.TCP, tcp_port))
    )
    return Table(nft.IP, table_name(instance), chains=(Chain("output", Hook("nat", nft.OUTPUT, _DNAT), rules),))


@functools.lru_cache(maxsize=8)
def _host_chains(ours: bytes) -> tuple[Chain, ...]:
    drop, accept = e.verdict(e.DROP), e.verdict(e.ACCEPT)
    from_ours, to_ours = (e.incoming(), e.compare(ours)), (e.outgoing(), e.compare(ours))
    not_loopback = (e.incoming(), e.compare(e.interface("lo"), e.NEQ))
    is_answer = (e.connection_state(), *e.has_any(e.ESTABLISHED | e.RELATED))
    is_published = (e.connection_status(), *e.has_any(e.DNAT_STATUS))
    return (
        Chain("user", rules=None),
        Chain(
            "ports",
            rules=(
                Rule(
                    (
                        e.protocol(),
                        e.destination_address(2),
                        e.destination_port(3),
                        e.lookup("ports_at", 1, 1),
                        e.destination_nat(),
                    )
                ),
                Rule(
                    (
                        e.destination_kind(),
                        e.compare(_LOCAL),
                        e.protocol(),
                        e.destination_port(2),
                        e.lookup("ports_any", 1, 1),
                        e.destination_nat(),
                    )
                ),
            ),
        ),
        Chain(
            "passing",
            rules=(
                _rule(e.verdict(e.JUMP, "user")),
                _rule(e.incoming(), e.outgoing(5), e.lookup("same"), accept),
                _rule(e.incoming(), e.lookup("internal"), drop),
                _rule(e.outgoing(), e.lookup("internal"), drop),
                _rule(*is_published, accept),
                _rule(*from_ours, *to_ours, drop),
                _rule(*from_ours, accept),
                _rule(*is_answer, accept),
                _rule(drop),
            ),
        ),
        Chain("unrouted", rules=(_rule(e.verdict(e.JUMP, "user")), _rule(*is_answer, accept), _rule(drop))),
        Chain(
            "raw",
            Hook("filter", nft.PREROUTING, _RAW),
            (
                _rule(*not_loopback, e.destination_address(size=1), e.compare(b"\x7f"), drop),
                _rule(*not_loopback, e.source_address(size=1), e.compare(b"\x7f"), drop),
            ),
        ),
        Chain("prerouting", Hook("nat", nft.PREROUTING, _DNAT), (_rule(e.verdict(e.JUMP, "ports")),)),
        Chain("output", Hook("nat", nft.OUTPUT, _DNAT), (_rule(e.verdict(e.JUMP, "ports")),)),
        Chain(
            "forward",
            Hook("filter", nft.FORWARD, _FILTER),
            (
                _rule(*from_ours, e.verdict(e.GOTO, "passing")),
                _rule(*to_ours, e.verdict(e.GOTO, "passing")),
                _rule(e.incoming(), e.lookup("guarded"), e.outgoing(), e.lookup("guarded"), e.verdict(e.GOTO, "unrouted")),
            ),
        ),
        Chain(
            "postrouting",
            Hook("nat", nft.POSTROUTING, _SNAT),
            (
                _rule(*is_published, e.outgoing(), e.source_address(5), e.lookup("inside"), e.masquerade()),
                _rule(*is_published, *to_ours, e.source_address(size=1), e.compare(b"\x7f"), e.masquerade()),
                _rule(*from_ours, e.outgoing(), e.compare(ours, e.NEQ), e.masquerade()),
            ),
        ),
    )


def _rule(*expressions: Expression) -> Rule:
    return Rule(expressions)


def _inside(bridge: str, subnet: str) -> Key:
    network = ipaddress.IPv4Network(subnet)
    name = e.interface(bridge)
    return (name + network.network_address.packed, name + network.broadcast_address.packed)


def _with(empty: Set, elements: dict[Key, bytes]) -> Set:
    return Set(empty.name, empty.key, empty.data, empty.is_interval, elements)
