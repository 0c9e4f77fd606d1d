"""Containers in networks, as their users meet them: who reaches whom and by what."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.networks.endpoint import Attachment, Endpoint
from gitopsd.engine.networks.ports import PortRequest

pytestmark = pytest.mark.host


def test_a_container_has_its_address_and_reaches_its_network_and_the_world(engine: Any, host: Any) -> None:
    outside = host.outside()
    outside.serve(80, "world")
    engine.networks.create({"Name": "front"})
    web, store = engine.run("web", "front"), engine.run("store", "front", serve=5000)

    (endpoint,) = web.endpoints
    network = engine.networks.find("front")
    assert endpoint == Endpoint(endpoint.id, web.id, network.id, "eth0", "10.192.0.66", 26, "10.192.0.65", "02:42:0a:c0:00:42")
    shown = web.command("ip", "address", "show", "eth0")
    assert "inet 10.192.0.66/26" in shown
    assert "inet6" not in shown
    assert web.ask(store.address, 5000) == f"store {web.address}"
    assert web.ask("192.0.2.2", 80) == "world 192.0.2.1"


def test_a_container_in_two_networks_has_an_interface_in_each_and_goes_out_by_the_first_that_leads_out(
    engine: Any, host: Any
) -> None:
    host.outside().serve(80, "world")
    engine.networks.create({"Name": "back", "Internal": True})
    engine.networks.create({"Name": "front"})
    engine.networks.create({"Name": "side"})
    web = engine.run("web", "back", "front", "side")
    store = engine.run("store", "back", serve=5000)

    assert [e.interface for e in web.endpoints] == ["eth0", "eth1", "eth2"]
    assert web.command("ip", "route", "show", "default").split() == ["default", "via", "10.192.0.129", "dev", "eth1"]
    assert web.ask(store.address, 5000) == f"store {web.address}"
    assert web.ask("192.0.2.2", 80) == "world 192.0.2.1"


def test_an_internal_network_has_no_outside(engine: Any, host: Any, run_command: Any) -> None:
    host.outside().serve(80, "world")
    network = engine.networks.create({"Name": "back", "Internal": True})
    inner, peer = engine.run("inner", "back"), engine.run("peer", "back", serve=80)

    assert inner.ask(peer.address, 80) == f"peer {inner.address}"
    assert inner.ask("192.0.2.2", 80) == "unreachable"
    inner.command("ip", "route", "add", "default", "via", network.gateway)
    assert inner.ask("192.0.2.2", 80) == "silent"


def test_networks_are_connected_and_disconnected_while_the_container_runs(engine: Any, host: Any) -> None:
    host.outside().serve(80, "world")
    for name in ("front", "side"):
        engine.networks.create({"Name": name})
    web = engine.run("web", "front", ports=[PortRequest("tcp", 80, host_port=8080)], serve=80)
    outside = host.outside("198.51.100.0/24", "lan1")
    assert outside.ask("198.51.100.1", 8080) == "web 198.51.100.2"

    endpoint = engine.networks.connect(web.id, Attachment("side", address="10.192.0.140"))
    assert (endpoint.interface, endpoint.address) == ("eth1", "10.192.0.140")
    engine.networks.disconnect(web.id, "front")

    assert web.command("ip", "-br", "link", "show", "type", "veth").split()[0].startswith("eth1")
    assert web.ask("192.0.2.2", 80) == "world 192.0.2.1"
    assert outside.ask("198.51.100.1", 8080) == "web 198.51.100.2"
    assert [e.network for e in engine.networks.endpoints(web.id)] == [engine.networks.find("side").id]
    again = engine.networks.connect(web.id, Attachment("front"))
    assert again.interface == "eth0"
    assert web.command("ip", "route", "show", "default").split()[:5] == ["default", "via", "10.192.0.129", "dev", "eth1"]
    engine.networks.disconnect(web.id, "side")
    engine.networks.disconnect(web.id, "front")
    assert web.command("ip", "route") == ""
    with pytest.raises(
        ApiError, match="disconnect container web from network side: the container is not connected to it"
    ) as caught:
        engine.networks.disconnect(web.id, "side")
    assert caught.value.status == 404


def test_a_freed_address_is_given_away_last(engine: Any) -> None:
    engine.networks.create({"Name": "front", "IPAM": {"Config": [{"Subnet": "10.77.0.0/29"}]}})
    first = engine.run("one", "front")
    assert first.address == "10.77.0.2"
    engine.networks.release(first.id)

    addresses = [engine.run(f"c{number}", "front").address for number in range(5)]

    assert addresses == ["10.77.0.3", "10.77.0.4", "10.77.0.5", "10.77.0.6", "10.77.0.2"]
    with pytest.raises(ApiError, match=r"start container six: no free address in 10\.77\.0\.0/29, all 6 are in use"):
        engine.networks.allocate("6" * 64, "six", [Attachment("front")])


def test_a_container_that_has_ended_answers_no_more_for_an_address_that_another_has(engine: Any) -> None:
    """Its namespace may live on for a while, and its interface is deleted only in a moment."""
    engine.networks.create({"Name": "front"})
    at = Attachment("front", address="10.192.0.80")
    old = engine.run("old", at, serve=80)
    asker = engine.run("asker", "front")
    engine.networks._later.submit(time.sleep, 2)
    engine.networks.release(old.id)

    engine.run("new", at, serve=80)

    asker.command("ip", "neigh", "flush", "dev", "eth0")
    assert asker.ask("10.192.0.80", 80) == f"new {asker.address}"


def test_a_container_that_has_ended_leaves_nothing(engine: Any, run_command: Any) -> None:
    engine.networks.create({"Name": "front"})
    before = run_command("nft", "list", "ruleset"), run_command("ls", "/proc/sys/net/ipv4/conf")
    web = engine.run("web", "front", ports=[PortRequest("tcp", 80, host_port=8080), PortRequest("udp", 53)])

    engine.networks.release(web.id)
    engine.networks.release(web.id)
    engine.settle()

    assert (run_command("nft", "list", "ruleset"), run_command("ls", "/proc/sys/net/ipv4/conf")) == before
    engine.networks.remove("front")
    assert run_command("nft", "list", "ruleset") == ""
    assert engine.host.instance not in run_command("ip", "link")


def test_an_attach_that_fails_leaves_nothing(engine: Any, host: Any, run_command: Any) -> None:
    for name in ("front", "side"):
        engine.networks.create({"Name": name})
    container = host.container()
    container.command("ip", "link", "add", "eth1", "type", "bridge")
    engine.networks.allocate(container.id, "web", [Attachment("front"), Attachment("side")])

    with pytest.raises(ApiError, match=r"start container web: create veth gv.* with eth1: File exists") as caught:
        engine.networks.attach(container.id, container.sockets())

    assert caught.value.status == 500
    assert "eth0" not in container.command("ip", "link")
    assert f"gv{host.instance}-" not in run_command("ip", "link")
    engine.networks.release(container.id)


def test_networks_are_shown_as_docker_shows_them(engine: Any) -> None:
    body = {"Name": "front", "Labels": {"a": "b"}, "Internal": False, "Options": {"com.docker.network.driver.mtu": "1400"}}
    network = engine.networks.create(body)
    web = engine.run("web", "front")

    shown = engine.networks.inspect("front")

    assert shown["IPAM"]["Config"] == [{"Subnet": "10.192.0.64/26", "Gateway": "10.192.0.65"}]
    assert (shown["Id"], shown["Driver"], shown["Scope"], shown["Labels"]) == (network.id, "bridge", "local", {"a": "b"})
    assert shown["Containers"] == {
        web.id: {
            "Name": "web",
            "EndpointID": web.endpoints[0].id,
            "MacAddress": "02:42:0a:c0:00:42",
            "IPv4Address": "10.192.0.66/26",
            "IPv6Address": "",
        }
    }
    assert json.loads(web.command("ip", "-j", "link", "show", "eth0"))[0]["mtu"] == 1400
    assert [n.name for n in engine.networks.list()] == ["bridge", "host", "none", "front"]
    assert engine.networks.inspect("none")["Driver"] == "null"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"Name": "front"}, 409, "create network front: network with name front already exists"),
        ({"Name": "bridge"}, 403, "create network bridge: the name belongs to a predefined network"),
        ({"Name": "a b"}, 400, "create network 'a b': invalid name"),
        ({"Name": "x", "Driver": "overlay"}, 501, "create network x: driver overlay is not there yet"),
        ({"Name": "x", "EnableIPv6": True}, 501, "create network x: EnableIPv6 is not there yet"),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.192.0.64/26"}]}}, 403, r"10.192.0.64/26 overlaps with network front"),
        (
            {"Name": "x", "IPAM": {"Config": [{"Subnet": "192.0.2.0/25"}]}},
            403,
            r"overlaps with the host's route by lan0 \(192.0.2.0/24\)",
        ),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.1.0.1/24"}]}}, 400, "has bits of a host, expected 10.1.0.0/24"),
        (
            {"Name": "x", "IPAM": {"Config": [{"Subnet": "10.1.0.0/24", "Gateway": "10.2.0.1"}]}},
            400,
            "gateway 10.2.0.1 is not an address",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_network_that_cannot_be_is_refused_and_nothing_is_left(
    engine: Any, host: Any, run_command: Any, body: Any, status: int, message: str
) -> None:
    host.outside()
    engine.networks.create({"Name": "front"})
    before = run_command("ls", "/proc/sys/net/ipv4/conf"), sorted(engine.folder.iterdir())

    with pytest.raises(ApiError, match=message) as caught:
        engine.networks.create(body)

    assert caught.value.status == status
    assert (run_command("ls", "/proc/sys/net/ipv4/conf"), sorted(engine.folder.iterdir())) == before


def test_networks_in_use_and_predefined_ones_are_not_removed(engine: Any) -> None:
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front")

    with pytest.raises(ApiError, match="remove network front: network front has active endpoints: web") as caught:
        engine.networks.remove("front")
    assert caught.value.status == 403
    with pytest.raises(ApiError, match="remove network bridge: it is a predefined network") as caught:
        engine.networks.remove("bridge")
    assert caught.value.status == 403
    with pytest.raises(ApiError, match="network nothing not found") as caught:
        engine.networks.remove("nothing")
    assert caught.value.status == 404
    engine.networks.release(web.id)
    engine.networks.remove(engine.networks.find("front").id[:8])
    assert not any(n.name == "front" for n in engine.networks.list())


def test_the_default_network_is_made_with_its_first_container(engine: Any, run_command: Any) -> None:
    assert run_command("nft", "list", "tables") == ""
    assert run_command("cat", "/proc/sys/net/ipv4/ip_forward") == "0\n"

    web = engine.run("web", "bridge")

    assert web.address == "10.192.0.2"
    assert f"table ip gitopsd-{engine.host.instance}" in run_command("nft", "list", "tables")
    assert run_command("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"


def test_a_route_of_the_host_is_passed_over(engine: Any, host: Any, run_command: Any) -> None:
    host.outside()
    run_command("ip", "route", "add", "10.192.0.128/25", "via", "192.0.2.2")

    assert engine.networks.create({"Name": "front"}).subnet == "10.192.0.64/26"
    assert engine.networks.create({"Name": "side"}).subnet == "10.192.1.0/26"


def test_a_host_gets_another_block_while_nothing_is_in_the_old_one(engine: Any, run_command: Any) -> None:
    engine.networks.set_block("10.192.24.0/21")
    assert engine.networks.find("bridge").subnet == "10.192.24.0/26"
    assert engine.networks.create({"Name": "front"}).subnet == "10.192.24.64/26"

    with pytest.raises(ApiError, match=r"the old block 10\.192\.24\.0/21 is in use by front") as caught:
        engine.networks.set_block("10.192.32.0/21")
    assert (caught.value.status, caught.value.code) == (409, "host-belongs-to")


def test_bridges_follow_the_mtu_of_the_way_out(engine: Any, host: Any, run_command: Any) -> None:
    host.outside()
    run_command("ip", "link", "set", "lan0", "mtu", "1380")
    run_command("ip", "route", "add", "default", "via", "192.0.2.2")
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front")

    assert " mtu 1380 " in web.command("ip", "link", "show", "eth0")


def test_a_container_with_no_network_of_its_own_or_the_hosts_has_nothing(engine: Any, host: Any) -> None:
    container = host.container()
    assert engine.networks.allocate(container.id, "alone", [Attachment("none")]) == ()
    engine.networks.attach(container.id, container.sockets())
    assert container.command("ip", "route") == ""
    assert engine.networks.allocate("f" * 64, "open", [Attachment("host")]) == ()
    engine.networks.attach("f" * 64, {})
    with pytest.raises(ApiError, match="connect container open to network bridge: the container has no network of its own"):
        engine.networks.connect("f" * 64, Attachment("bridge"))


def test_the_first_packet_of_a_container_and_the_first_to_it_arrive(engine: Any, ask_host: Any) -> None:
    """A port of a bridge that is not ready yet would lose them, and they are sent again only after a second."""
    engine.networks.create({"Name": "front"})
    first = engine.run("first", "front", serve=80)
    for number in range(8):
        container = engine.run(f"c{number}", "front")
        assert container.ask(first.address, 80, timeout_s=0.7) == f"first {container.address}"
        container.serve(80, "c")
        assert ask_host(container.address, 80, timeout_s=0.7) == "c 10.192.0.65"
