"""Tracked connections, listed and deleted by us, and seen by Debian's `conntrack`."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from gitopsd.engine.kernel.netlink import conntrack, nftables, nftables_reading
from gitopsd.engine.kernel.netlink import expressions as e
from gitopsd.engine.kernel.netlink.nftables import Chain, Hook, Rule, Table

pytestmark = pytest.mark.host


def test_connections_are_found_by_who_answers_and_by_port_and_deleted_one_by_one(host: Any, run_command: Any) -> None:
    """A server that answers, one that does not, and a datagram: told apart by protocol and status."""
    outside = host.outside()
    tracking = Chain("c", Hook("filter", nftables.OUTPUT, 0), (Rule((e.connection_state(), *e.has_any(e.NEW), e.counter())),))
    host.netfilter.batch(nftables_reading.build(Table(nftables.IP, "t", chains=(tracking,))))
    outside.command("ip", "address", "add", "192.0.2.9/24", "dev", "eth0")
    outside.command("ip", "route", "add", "blackhole", "192.0.2.1/32")
    listening = outside.listen(80)
    outside.command("ip", "route", "del", "blackhole", "192.0.2.1/32")
    answered = socket.create_connection(("192.0.2.2", 80), 2)
    outside.command("ip", "route", "add", "blackhole", "192.0.2.1/32")
    pending = socket.socket()
    pending.setblocking(False)
    assert pending.connect_ex(("192.0.2.2", 81)) != 0
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagram.sendto(b"?", ("192.0.2.2", 53))
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.sendto(b"?", ("192.0.2.9", 53))

    def found(request: Any) -> list[tuple[int, int, bool]]:
        connections = [conntrack.read(message) for message in host.netfilter.dump(request)]
        return sorted((c.original.protocol, c.original.destination_port, c.is_answered) for c in connections)

    assert found(conntrack.list_answered_by("192.0.2.2")) == [(6, 80, True), (6, 81, False), (17, 53, False)]
    assert found(conntrack.list_to_port(conntrack.UDP, 53)) == [(17, 53, False), (17, 53, False)]
    assert len(found(conntrack.list_all())) == 4
    gone = [
        connection
        for connection in map(conntrack.read, host.netfilter.dump(conntrack.list_answered_by("192.0.2.2")))
        if not connection.is_answered
    ]
    host.netfilter.ask(*map(conntrack.delete, gone))
    left = run_command("conntrack", "-L")
    assert ("dport=80 " in left, "dport=81 " in left) == (True, False), left
    assert [line.split()[0] for line in left.splitlines() if "dst=192.0.2.9 " in line] == ["udp"]
    with pytest.raises(OSError, match="delete connection to 192"):
        host.netfilter.ask(*map(conntrack.delete, gone))
    for sock in (listening, answered, pending, datagram, other):
        sock.close()
