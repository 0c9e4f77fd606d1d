"""Records, aliases and the table, as they are written."""

from __future__ import annotations

import pytest

from gitopsd.engine.kernel.netlink import expressions as e
from gitopsd.engine.networks import endpoint, network, ruleset
from gitopsd.engine.networks.endpoint import Endpoint
from gitopsd.engine.networks.network import Network
from gitopsd.engine.networks.ruleset import Port, Published

FRONT = Network(
    "f" * 64, "front", "bridge", "2026-01-01T00:00:00Z", "10.0.1.0/26", "10.0.1.1", labels={"a": "b"}, create={"Name": "front"}
)


def test_a_record_is_read_back_and_keeps_what_it_does_not_know() -> None:
    record = {**network.to_record(FRONT), "later": [1]}

    read = network.from_record(record)

    assert read == FRONT
    assert network.to_record(read) == record


def test_a_record_has_the_form_that_is_written_down() -> None:
    """docs/state.md: a change here needs a new version and a migration."""
    assert network.to_record(FRONT) == {
        "version": 1, "id": "f" * 64, "name": "front", "driver": "bridge", "created": "2026-01-01T00:00:00Z", "subnet": "10.0.1.0/26",
        "gateway": "10.0.1.1", "internal": False, "mtu": 0, "labels": {"a": "b"}, "generation": 1, "create": {"Name": "front"},
    }  # fmt: skip


def test_an_endpoint_is_read_back_from_the_alias_of_its_veth() -> None:
    """docs/state.md has the form; the kernel has room for 255 bytes."""
    made = Endpoint("e" * 64, "c" * 64, "f" * 64, "eth10", "100.192.100.200", 26, "100.192.100.1", "02:42:64:c0:64:c8")

    alias = endpoint.render_alias(made)

    assert alias == f"1 {'c' * 64} {'e' * 64} {'f' * 12} eth10 100.192.100.200 02:42:64:c0:64:c8"
    assert len(alias) <= 255
    read = endpoint.parse_alias(alias)
    assert read == Endpoint(made.id, made.container, "f" * 12, "eth10", "100.192.100.200", 0, "", made.mac)


@pytest.mark.parametrize("text", ["", "uplink to rack 7", "2 a b c d e f", "1 a b c d e"])
def test_an_alias_of_somebody_else_is_none_of_ours(text: str) -> None:
    assert endpoint.parse_alias(text) is None


def test_every_network_and_port_is_an_element_and_no_rule() -> None:
    back = Network("b" * 64, "back", "bridge", "", "10.0.2.0/26", "10.0.2.1", is_internal=True)
    ports = [Published(Port("tcp", "0.0.0.0", 80, 8080), "10.0.1.2"), Published(Port("udp", "192.0.2.1", 53, 53), "10.0.1.2")]

    empty, full = ruleset.host_table("k7q2m", [], []), ruleset.host_table("k7q2m", [FRONT, back], ports, ["eth0"])

    assert empty.chains == full.chains
    assert {found.name: len(found.elements) for found in full.sets} == {
        "ports_at": 1, "ports_any": 1, "same": 2, "internal": 1, "inside": 2, "guarded": 1,
    }  # fmt: skip
    assert [chain.name for chain in full.chains if chain.rules is None] == ["user"]


def test_a_network_with_lookups_has_two_rules_in_the_container() -> None:
    table = ruleset.resolver_table("k7q2m", 40000, 40001)

    (chain,) = table.chains
    assert [rule.expressions[3] for rule in chain.rules or ()] == [e.compare(b"\x11"), e.compare(b"\x06")]
