"""Published ports: who reaches them, whose address is seen, and what keeps them."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.networks.endpoint import Attachment
from gitopsd.engine.networks.ports import PortRequest

pytestmark = pytest.mark.host

WEB = [PortRequest("tcp", 80, host_port=8080), PortRequest("udp", 80, host_port=8080)]


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_is_reached_from_everywhere_and_the_callers_address_is_seen(
    engine: Any, host: Any, ask_host: Any, protocol: str
) -> None:
    outside = host.outside()
    for name in ("front", "side"):
        engine.networks.create({"Name": name})
    web = engine.run("web", "front", ports=WEB, serve=80)
    neighbour, stranger = engine.run("neighbour", "front"), engine.run("stranger", "side")

    assert outside.ask("192.0.2.1", 8080, protocol) == "web 192.0.2.2"
    assert ask_host("192.0.2.1", 8080, protocol) == "web 192.0.2.1"
    assert ask_host("127.0.0.1", 8080, protocol) == "web 10.192.0.65"
    assert ask_host(web.address, 80, protocol) == "web 10.192.0.65"
    assert stranger.ask("192.0.2.1", 8080, protocol) == f"web {stranger.address}"
    assert stranger.ask("10.192.0.129", 8080, protocol) == f"web {stranger.address}"
    # from its own network, and from itself, it must look like the gateway, or the answer would not come back by the host
    assert neighbour.ask("192.0.2.1", 8080, protocol) == "web 10.192.0.65"
    assert web.ask("192.0.2.1", 8080, protocol) == "web 10.192.0.65"


def test_a_port_on_one_address_is_not_there_on_others(engine: Any, host: Any, ask_host: Any, run_command: Any) -> None:
    outside = host.outside()
    run_command("ip", "address", "add", "192.0.2.7/24", "dev", "lan0")
    engine.networks.create({"Name": "front"})
    one = engine.run("one", "front", ports=[PortRequest("tcp", 80, "192.0.2.7", 8080)], serve=80)
    engine.run("other", "front", ports=[PortRequest("tcp", 80, "192.0.2.1", 8080)], serve=80)

    assert outside.ask("192.0.2.7", 8080) == "one 192.0.2.2"
    assert outside.ask("192.0.2.1", 8080) == "other 192.0.2.2"
    assert ask_host("127.0.0.1", 8080) == "refused"
    with pytest.raises(ApiError, match=r"start container one: 192\.0\.2\.99 is not an address of this host") as caught:
        engine.networks.reserve(one.id, [PortRequest("tcp", 81, "192.0.2.99", 8081)])
    assert caught.value.status == 400


def test_a_port_on_the_loopback_is_the_hosts_alone(engine: Any, host: Any, ask_host: Any) -> None:
    outside = host.outside()
    engine.networks.create({"Name": "front"})
    engine.run("web", "front", ports=[PortRequest("tcp", 80, "127.0.0.1", 8080)], serve=80)
    neighbour = engine.run("neighbour", "front")

    assert ask_host("127.0.0.1", 8080) == "web 10.192.0.65"
    assert outside.ask("192.0.2.1", 8080) == "refused"
    assert neighbour.ask("10.192.0.65", 8080) == "refused"


def test_a_port_of_a_container_without_an_outside_is_not_published(engine: Any, host: Any, ask_host: Any) -> None:
    host.outside()
    engine.networks.create({"Name": "back", "Internal": True})
    inner = engine.run("inner", "back", ports=WEB, serve=80)

    assert engine.networks.publish(inner.id, inner.ports) == ()
    assert engine.networks.published() == ()
    assert ask_host("192.0.2.1", 8080, timeout_s=0.3) == "silent"


def test_a_port_is_reserved_against_programs_and_containers_and_the_error_says_who_has_it(engine: Any, host: Any) -> None:
    host.outside()
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front", ports=[PortRequest("tcp", 80, "192.0.2.1", 8080), PortRequest("udp", 53, host_port=5353)])

    for kind, port in ((socket.SOCK_STREAM, 8080), (socket.SOCK_DGRAM, 5353)):
        with socket.socket(socket.AF_INET, kind) as program:
            program.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="Address already in use"):
                program.bind(("0.0.0.0", port))
    other = engine.run("other", "front")
    message = r"start container other: port 8080/tcp on 0\.0\.0\.0 is taken by container web"
    with pytest.raises(ApiError, match=message) as caught:
        engine.networks.reserve(other.id, [PortRequest("tcp", 81, host_port=8081), PortRequest("tcp", 80, host_port=8080)])
    assert caught.value.status == 409
    with socket.socket() as program:  # what was reserved before the error is free again
        program.bind(("0.0.0.0", 8081))
        program.listen()
        with pytest.raises(ApiError, match=r"port 8081/tcp on 127\.0\.0\.1 is taken by \S+ \(process \d+\)"):
            engine.networks.reserve(other.id, [PortRequest("tcp", 80, "127.0.0.1", 8081)])
    assert engine.networks.reserve(web.id, []) == []


def test_a_free_port_is_found_in_the_hosts_range_and_known_at_once(engine: Any, host: Any, run_command: Any) -> None:
    outside = host.outside()
    run_command("sh", "-c", "echo '40000 40002' > /proc/sys/net/ipv4/ip_local_port_range")
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front", ports=[PortRequest("tcp", 80), PortRequest("udp", 80), PortRequest("tcp", 81)], serve=80)

    numbers = {(port.protocol, port.host_port) for port in web.ports}
    assert len(numbers) == 3
    assert {number for _, number in numbers} <= {40000, 40001, 40002}
    assert outside.ask("192.0.2.1", web.ports[0].host_port) == "web 192.0.2.2"
    engine.run("other", "front", ports=[PortRequest("tcp", 80)])
    with pytest.raises(ApiError, match="no tcp port from 40000 to 40002 is free") as caught:
        engine.networks.reserve(web.id, [PortRequest("tcp", 80)])
    assert caught.value.status == 500


def test_what_arrives_at_a_reservation_is_not_answered(engine: Any, host: Any, run_command: Any) -> None:
    """Only a flushed table lets it arrive. Neither refused nor accepted, the client tries again, and is let in by then."""
    outside = host.outside()
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front", ports=WEB)
    engine.networks._watch.close()
    run_command("nft", "delete", "table", "ip", f"gitopsd-{host.instance}")

    assert outside.ask("192.0.2.1", 8080, timeout_s=0.3) == "silent"
    assert outside.ask("192.0.2.1", 8080, "udp", timeout_s=0.3) == "silent"
    with socket.socket(socket.AF_INET6) as client:
        assert client.connect_ex(("::1", 8080)) != 0  # at once, so clients go on to 127.0.0.1
    engine.networks._watch = None
    assert engine.networks.reassert()[0] == "the nftables table"
    assert web.ports


def test_a_client_that_asked_too_early_is_let_in(engine: Any, host: Any) -> None:
    """Its unanswered entry would lead every repetition to where the first one went: nowhere."""
    outside = host.outside()
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front", ports=[PortRequest("udp", 80, host_port=8080)])
    client = outside.datagrams()
    client.sendto(b"?", ("192.0.2.1", 8080))
    engine.networks.publish(web.id, [])
    client.sendto(b"?", ("192.0.2.1", 8080))
    engine.settle()

    other = engine.run("other", "front", serve=80)
    engine.networks.publish(other.id, web.ports)
    engine.settle()
    client.sendto(b"?", ("192.0.2.1", 8080))

    assert client.recv(100) == b"other 192.0.2.2"
    client.close()


def test_ten_thousand_ports_are_published_and_withdrawn(engine: Any, host: Any, run_command: Any) -> None:
    outside = host.outside()
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front", serve=80)
    from gitopsd.engine.networks.ruleset import Port

    ports = [Port("tcp", "0.0.0.0", number, 80) for number in range(20000, 30000)]
    assert len(engine.networks.publish(web.id, ports)) == 10000

    assert outside.ask("192.0.2.1", 29999) == "web 192.0.2.2"
    assert len(engine.networks.published()) == 10000
    assert engine.networks.reassert() == []
    assert engine.networks.publish(web.id, []) == ()
    assert engine.networks.published() == ()


def test_the_table_is_short_and_its_rules_do_not_depend_on_networks_and_ports(engine: Any, run_command: Any) -> None:
    def rules() -> str:
        text = run_command("nft", "list", "table", "ip", f"gitopsd-{engine.host.instance}")
        return re.sub(r"\t(set|map) .*?\n\t}\n", "", text, flags=re.DOTALL)

    engine.networks.create({"Name": "front"})
    before = rules()
    engine.networks.create({"Name": "back", "Internal": True})
    engine.run("web", "front", "back", ports=WEB)

    assert rules() == before
    engine.run("other", Attachment("bridge"))
    assert rules() == before
