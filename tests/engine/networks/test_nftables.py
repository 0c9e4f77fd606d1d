"""The kernel's nf_tables, told by us and read by Debian's `nft`."""

from __future__ import annotations

import dataclasses
import json
import socket
from typing import Any

import pytest

from gitopsd.engine.kernel.netlink import expressions as e
from gitopsd.engine.kernel.netlink import nftables, nftables_reading
from gitopsd.engine.kernel.netlink.connection import Netlink
from gitopsd.engine.kernel.netlink.messages import NetlinkError
from gitopsd.engine.kernel.netlink.nftables import (
    INET_PROTOCOL,
    INET_SERVICE,
    INTERFACE,
    IPV4_ADDRESS,
    VERDICT,
    Chain,
    Hook,
    Rule,
    Set,
    Table,
)
from tests.engine.running import until

pytestmark = pytest.mark.host


def an_address(text: str) -> bytes:
    return socket.inet_aton(text)


def listed(command: Any, kind: str) -> list[dict[str, Any]]:
    return [item[kind] for item in json.loads(command("nft", "-j", "list", "ruleset"))["nftables"] if kind in item]


def read(netfilter: Netlink, table: Table) -> nftables_reading.ReadTable:
    found = nftables_reading.read(netfilter.dump, table.family, table.name)
    assert found is not None
    return found


def a_table(**sets: Any) -> Table:
    ports = {(e.field(b"\x06") + e.field(e.port(80)), b""): an_address("10.0.0.2") + e.field(e.port(8080))}
    return Table(
        nftables.IP,
        "shop",
        sets=(
            Set("ports", (INET_PROTOCOL, INET_SERVICE), (IPV4_ADDRESS, INET_SERVICE), elements=ports),
            Set(
                "local",
                (INTERFACE, IPV4_ADDRESS),
                is_interval=True,
                elements={(e.interface("eth9") + an_address("10.0.0.0"), e.interface("eth9") + an_address("10.0.0.63")): b""},
            ),
            Set(
                "ranges",
                (INET_SERVICE,),
                (IPV4_ADDRESS,),
                is_interval=True,
                elements={(e.port(10000), e.port(19999)): an_address("10.0.0.3")},
            ),
            Set("jumps", (INTERFACE,), (VERDICT,), elements={(e.interface("eth8"), b""): e.verdict_data(e.JUMP, "deep")}),
        ),
        chains=(
            Chain("deep", rules=(Rule((e.verdict(e.RETURN),)),)),
            Chain("user", rules=None),
            Chain(
                "prerouting",
                Hook("nat", nftables.PREROUTING, -100),
                (
                    Rule(
                        (
                            e.destination_kind(),
                            e.compare(e.native32(2)),
                            e.protocol(),
                            e.destination_port(2),
                            e.lookup("ports", 1, 1),
                            e.destination_nat(1, 2),
                        ),
                        comment="a published port",
                    ),
                ),
            ),
            Chain(
                "forward",
                Hook("filter", nftables.FORWARD, 0),
                (
                    Rule((e.incoming(), e.compare(b"gb-"), e.verdict(e.JUMP, "user"))),
                    Rule((e.incoming(), e.lookup_verdict("jumps"))),
                    Rule((e.outgoing(), e.source_address(5), e.lookup("local"), e.verdict(e.ACCEPT))),
                    Rule((e.connection_state(), *e.has_any(e.ESTABLISHED | e.RELATED), e.verdict(e.ACCEPT))),
                    Rule((e.connection_status(), *e.has_any(e.DNAT_STATUS), e.verdict(e.ACCEPT))),
                    Rule((e.incoming(), e.compare(e.interface("lo"), e.NEQ), e.counter(), e.verdict(e.DROP))),
                ),
            ),
            Chain("postrouting", Hook("nat", nftables.POSTROUTING, 100), (Rule((e.masquerade(),)),)),
        ),
    )


def test_nft_reads_what_we_write(host: Any, run_command: Any) -> None:
    host.netfilter.batch(nftables_reading.build(a_table()))

    text = run_command("nft", "list", "table", "ip", "shop")
    for line in (
        "type inet_proto . inet_service : ipv4_addr . inet_service",
        "elements = { tcp . 80 : 10.0.0.2 . 8080 }",
        '"eth9" . 10.0.0.0/26',
        "10000-19999 : 10.0.0.3",
        '"eth8" : jump deep',
        "type nat hook prerouting priority dstnat; policy accept;",
        'fib daddr type local dnat ip to meta l4proto . th dport map @ports comment "a published port"',
        'iifname "gb-*" jump user',
        "iifname vmap @jumps",
        "oifname . ip saddr @local accept",
        "ct state established,related accept",
        "ct status dnat accept",
        'iifname != "lo" counter packets 0 bytes 0 drop',
        "type nat hook postrouting priority srcnat; policy accept;",
        "masquerade",
    ):
        assert line in text, text


def test_writing_it_again_changes_nothing(host: Any) -> None:
    table = a_table()
    host.netfilter.batch(nftables_reading.difference(table, None))

    assert nftables_reading.difference(table, read(host.netfilter, table)) == []


def test_a_changed_element_is_all_that_is_written(host: Any, run_command: Any) -> None:
    table = a_table()
    host.netfilter.batch(nftables_reading.build(table))
    handles = [rule["handle"] for rule in listed(run_command, "rule")]
    key = (e.field(b"\x06") + e.field(e.port(80)), b"")
    ports = dataclasses.replace(table.sets[0], elements={key: an_address("10.0.0.9") + e.field(e.port(8080))})
    moved = dataclasses.replace(table, sets=(ports, *table.sets[1:]))

    requests = nftables_reading.difference(moved, read(host.netfilter, table))
    host.netfilter.batch(requests)

    assert [request.what for request in requests] == ["delete ports elements", "add ports elements"]
    assert "tcp . 80 : 10.0.0.9 . 8080" in run_command("nft", "list", "table", "ip", "shop")
    assert [rule["handle"] for rule in listed(run_command, "rule")] == handles


def test_what_somebody_broke_is_mended_and_the_users_chain_is_kept(host: Any, run_command: Any) -> None:
    table = a_table()
    host.netfilter.batch(nftables_reading.build(table))
    run_command("nft", "add rule ip shop user ip saddr 192.0.2.1 drop")
    run_command("nft", "add chain ip shop mine")
    before = run_command("nft", "list", "table", "ip", "shop")
    other_priority = "add chain ip shop postrouting { type nat hook postrouting priority 50; policy accept; }"
    for fault in (
        "flush chain ip shop forward",
        "insert rule ip shop forward accept",
        "flush map ip shop ports",
        "delete chain ip shop postrouting",
        "flush chain ip shop postrouting; delete chain ip shop postrouting; " + other_priority,
    ):
        run_command("nft", fault)
        host.netfilter.batch(nftables_reading.difference(table, read(host.netfilter, table)))

        assert sorted(run_command("nft", "list", "table", "ip", "shop").splitlines()) == sorted(before.splitlines()), fault
        assert nftables_reading.difference(table, read(host.netfilter, table)) == []


def test_a_set_of_another_form_is_replaced(host: Any) -> None:
    table = a_table()
    run = host.netfilter.batch
    old = dataclasses.replace(table, sets=(dataclasses.replace(table.sets[0], key=(INET_SERVICE,), elements={}), *table.sets[1:]))
    run(nftables_reading.build(old))

    run(nftables_reading.difference(table, read(host.netfilter, table)))

    assert nftables_reading.difference(table, read(host.netfilter, table)) == []


def test_a_batch_with_one_refusal_changes_nothing_and_says_which(host: Any, run_command: Any) -> None:
    with pytest.raises(NetlinkError) as caught:
        host.netfilter.batch([nftables.add_table(nftables.IP, "one"), nftables.delete_table(nftables.IP, "absent")])

    assert str(caught.value) == "[Errno 2] delete table absent: No such file or directory"
    assert run_command("nft", "list", "tables") == ""


def test_ten_thousand_elements_go_in_one_transaction(host: Any) -> None:
    ports = Set(
        "ports",
        (INET_PROTOCOL, INET_SERVICE),
        (IPV4_ADDRESS, INET_SERVICE),
        elements={
            (e.field(b"\x06") + e.field(e.port(port)), b""): an_address("10.0.0.2") + e.field(e.port(port))
            for port in range(20000, 30000)
        },
    )
    table = Table(nftables.IP, "many", sets=(ports,))

    host.netfilter.batch(nftables_reading.build(table))

    def is_whole() -> bool:  # the kernel grows a set in the background, and who reads it meanwhile may miss elements
        return nftables_reading.difference(table, read(host.netfilter, table)) == []

    until(is_whole, "all elements are read")


@pytest.mark.parametrize("ranges", [[(0, 0)], [(0, 65535)], [(1, 9), (10, 19)], [(5, 5), (65535, 65535)]])
def test_intervals_come_back_as_they_were(host: Any, ranges: list[tuple[int, int]]) -> None:
    elements = {(e.port(first), e.port(last)): an_address("10.0.0.2") for first, last in ranges}
    table = Table(nftables.IP, "shop", sets=(Set("r", (INET_SERVICE,), (IPV4_ADDRESS,), True, elements),))
    host.netfilter.batch(nftables_reading.build(table))

    assert read(host.netfilter, table).sets["r"].elements == elements
    empty = dataclasses.replace(table, sets=(dataclasses.replace(table.sets[0], elements={}),))
    host.netfilter.batch(nftables_reading.difference(empty, read(host.netfilter, table)))
    assert read(host.netfilter, table).sets["r"].elements == {}
