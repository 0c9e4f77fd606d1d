"""Moving published ports from one container to another, and what the kernel remembers of connections to them.

Rule 1: all ports move in one nf_tables transaction; a connection comes to the old container or to the new one, and is refused at no time.
Rule 2: afterwards nothing may hold new traffic at the old address. A datagram flow would stay there for ever, and a client whose first packet met a
dead container would ask it again and again, so entries to the old address that are UDP, or unanswered, are deleted. TCP that was answered stays.
Rule 3: on an error the ports lead where they led before.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Callable

from gitopsd.engine.kernel.netlink import conntrack, nftables
from gitopsd.engine.kernel.netlink.connection import Netlink
from gitopsd.engine.kernel.netlink.conntrack import Connection
from gitopsd.engine.kernel.netlink.messages import NetlinkError, Request
from gitopsd.engine.networks.ruleset import PORTS_ANY, PORTS_AT, PROTOCOLS, Port, Published, port_data, port_key, set_of

_MANY_PORTS = 8
"""For more ports than this one list of all connections is quicker than a list for each."""


def set_ports(table: str, old: Iterable[Published], new: Iterable[Published]) -> list[Request]:
    """Withdraw some ports and publish others, for one transaction. What is in both is left alone."""
    before, after = set(old), set(new)
    requests: list[Request] = []
    for wanted in (PORTS_ANY, PORTS_AT):
        gone = {port_key(item.port): port_data(item) for item in before - after if set_of(item.port) is wanted}
        come = {port_key(item.port): port_data(item) for item in after - before if set_of(item.port) is wanted}
        requests += nftables.delete_elements(nftables.IP, table, wanted, gone)
        requests += nftables.add_elements(nftables.IP, table, wanted, come)
    return requests


def forget_addresses(netfilter: Netlink, addresses: Iterable[str]) -> int:
    """Delete what rule 2 says of these containers' addresses; how many entries that were."""
    deleted = 0
    for address in addresses:
        deleted += _delete(
            netfilter,
            conntrack.list_answered_by(address),
            lambda found, address=address: found.reply.source == address and _is_loose(found),
        )
    return deleted


def forget_ports(netfilter: Netlink, ports: Iterable[Port], led: Iterable[Published]) -> int:
    """Delete unanswered and UDP entries to these ports of the host that do not lead where the ports lead now (`led`)."""
    wanted = {(PROTOCOLS[port.protocol], port.host_port) for port in ports}
    right = {(PROTOCOLS[item.port.protocol], item.port.host_port, item.address, item.port.container_port) for item in led}

    def is_stray(found: Connection) -> bool:
        asked = (found.original.protocol, found.original.destination_port)
        return asked in wanted and _is_loose(found) and (*asked, found.reply.source, found.reply.source_port) not in right

    if len(wanted) > _MANY_PORTS:
        return _delete(netfilter, conntrack.list_all(), is_stray)
    return sum(_delete(netfilter, conntrack.list_to_port(protocol, port), is_stray) for protocol, port in wanted)


def _is_loose(connection: Connection) -> bool:
    return connection.original.protocol == conntrack.UDP or not connection.is_answered


def _delete(netfilter: Netlink, listing: Request, is_wanted: Callable[[Connection], bool]) -> int:
    deleted = 0
    for found in map(conntrack.read, netfilter.dump(listing)):
        if is_wanted(found):
            try:
                netfilter.ask(conntrack.delete(found))
                deleted += 1
            except NetlinkError as error:
                if error.errno != errno.ENOENT:  # it ended by itself
                    raise
    return deleted
