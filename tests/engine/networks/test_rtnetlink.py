"""Interfaces, addresses and routes, told by us and read by Debian's `ip`; sockets that were handed over."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import pytest

from gitopsd.engine.kernel.netlink import addressing, connection, links, messages
from gitopsd.engine.kernel.netlink.connection import ROUTE, Netlink, open_socket
from gitopsd.engine.kernel.netlink.messages import NetlinkError

pytestmark = pytest.mark.host


def index_of(netlink: Netlink, name: str) -> int:
    return links.read(netlink.get(links.get(name))).index


def shown(command: Any, *words: str) -> Any:
    return json.loads(command("ip", "-d", "-j", *words))


def test_a_bridge_with_a_port_that_leads_into_a_container(host: Any, run_command: Any) -> None:
    container = host.container()
    host.route.ask(links.create_bridge("gb-1", "02:42:0a:00:00:01", 1400))
    bridge = index_of(host.route, "gb-1")
    host.route.ask(addressing.add_address(bridge, "10.0.0.1", 26), links.set_up("gb-1"))
    host.route.ask(links.create_veth("gv-1", bridge, "eth0", "02:42:0a:00:00:02", container.descriptor, 1400))
    host.route.ask(links.describe_port("gv-1", "whose it is"), links.set_up("gv-1"))
    inside = Netlink(container.route)
    inside.ask(links.without_ipv6("eth0"), links.set_up("eth0"))
    inside.ask(addressing.add_address(index_of(inside, "eth0"), "10.0.0.2", 26))
    inside.ask(addressing.set_default_route(index_of(inside, "eth0"), "10.0.0.1"))

    (seen,) = shown(run_command, "link", "show", "gb-1")
    assert (seen["address"], seen["mtu"], seen["linkinfo"]["info_kind"]) == ("02:42:0a:00:00:01", 1400, "bridge")
    assert (seen["linkinfo"]["info_data"]["forward_delay"], seen["linkinfo"]["info_data"]["stp_state"]) == (0, 0)
    (seen,) = shown(run_command, "link", "show", "gv-1")
    assert (seen["master"], seen["ifalias"], seen["linkinfo"]["info_slave_data"]["hairpin"]) == ("gb-1", "whose it is", True)
    assert "UP" in seen["flags"]
    (seen,) = json.loads(container.command("ip", "-j", "address", "show", "eth0"))
    assert seen["address"] == "02:42:0a:00:00:02"
    assert [(a["local"], a["prefixlen"], a["broadcast"]) for a in seen["addr_info"]] == [("10.0.0.2", 26, "10.0.0.63")]
    routes = json.loads(container.command("ip", "-j", "route"))
    assert [(r["dst"], r.get("gateway")) for r in routes] == [("default", "10.0.0.1"), ("10.0.0.0/26", None)]
    with container.listen(80), socket.create_connection(("10.0.0.2", 80), 2):
        pass


def test_what_is_listed_is_what_ip_lists(host: Any, run_command: Any) -> None:
    host.outside()
    run_command("ip", "route", "add", "10.9.0.0/16", "via", "192.0.2.2")
    run_command("ip", "route", "add", "blackhole", "10.10.0.0/16")

    found = [links.read(message) for message in host.route.dump(links.list_all())]
    assert [(link.index, link.name, link.mtu) for link in found] == [
        (link["ifindex"], link["ifname"], link["mtu"]) for link in shown(run_command, "link")
    ]
    assert [link.is_loopback for link in found if link.name == "lo"] == [True]
    lan = index_of(host.route, "lan0")
    addresses = [addressing.read_address(message) for message in host.route.dump(addressing.list_addresses(lan))]
    assert addresses == [addressing.Address(lan, "192.0.2.1", 24)]
    routes = [addressing.read_route(message) for message in host.route.dump(addressing.list_routes())]
    main = {route.destination: route for route in routes if route and route.table != addressing.LOCAL_TABLE}
    assert {name: (route.gateway, route.is_direct) for name, route in main.items()} == {
        "192.0.2.0/24": ("", True),
        "10.9.0.0/16": ("192.0.2.2", False),
        "10.10.0.0/16": ("", False),
    }


def test_doing_it_twice_is_doing_it_once(host: Any, run_command: Any) -> None:
    host.outside()
    lan = index_of(host.route, "lan0")
    for _ in range(2):
        host.route.ask(addressing.add_address(lan, "10.0.0.1", 24))
        host.route.ask(addressing.set_default_route(lan, "192.0.2.2"))

    assert run_command("ip", "route", "show", "default") == "default via 192.0.2.2 dev lan0 \n"
    host.route.ask(addressing.delete_address(lan, "10.0.0.1", 24), addressing.delete_default_route())
    assert run_command("ip", "route") == "192.0.2.0/24 dev lan0 proto kernel scope link src 192.0.2.1 \n"


def test_an_error_names_the_request_and_says_what_the_kernel_says(host: Any) -> None:
    with pytest.raises(NetlinkError) as caught:
        host.route.ask(links.delete("absent"))
    assert str(caught.value) == "[Errno 19] delete interface absent: No such device"
    with pytest.raises(NetlinkError, match=r"set default route by 10.0.0.1: .* \(Nexthop has invalid gateway"):
        host.route.ask(addressing.set_default_route(1, "10.0.0.1"))


def test_of_several_requests_the_first_error_is_told_and_the_others_are_done(host: Any) -> None:
    with pytest.raises(NetlinkError, match="delete interface absent"):
        host.route.ask(links.delete("absent"), links.create_bridge("gb-1", "02:42:0a:00:00:01", 1500))

    assert links.read(host.route.get(links.get("gb-1"))).kind == "bridge"


def test_a_socket_taken_over_in_the_middle_of_a_dump_serves_its_new_owner(host: Any) -> None:
    for number in range(60):
        host.route.ask(links.create_bridge(f"gb-{number}", "02:42:0a:00:00:01", 1500))
    first = open_socket(ROUTE)
    first.send(messages.encode(links.GETLINK, messages.REQUEST | messages.DUMP, 7, links.list_all().body))
    first.recv(64)

    second = Netlink(socket.socket(fileno=os.dup(first.fileno())))

    assert len([message for message in second.dump(links.list_all()) if links.read(message).name.startswith("gb-")]) == 60
    first.close()
    second.close()


def test_a_namespace_is_found_by_a_socket_that_was_opened_in_it(host: Any) -> None:
    container = host.container()

    found = connection.namespace_of(container.route)

    assert os.fstat(found).st_ino == os.fstat(container.descriptor).st_ino
    assert not os.get_inheritable(found)
    os.close(found)
