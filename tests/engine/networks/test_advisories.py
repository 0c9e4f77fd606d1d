"""One test for each attack on container networks that somebody else had to publish an advisory for."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from gitopsd.engine.networks import loopback
from gitopsd.engine.networks.allocate import mac_of
from gitopsd.engine.networks.ports import PortRequest

pytestmark = pytest.mark.host


def knock(source: Any, packet: bytes, address: str) -> None:
    """Send a whole IPv4 packet as it is."""

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            sock.sendto(packet, (address, 0))

    source.run(send)


def a_datagram(source: str, destination: str, port: int, text: bytes) -> bytes:
    udp = struct.pack(">HHHH", 40000, port, 8 + len(text), 0) + text
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(destination)
    )
    return head + udp


def with_checksum(packet: bytes) -> bytes:
    """As a frame has it; into a packet the kernel puts it."""
    total = sum(struct.unpack(">10H", packet[:20]))
    total = (total & 0xFFFF) + (total >> 16)
    return packet[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + packet[12:]


def test_cve_2020_8558_a_container_does_not_reach_services_on_the_hosts_loopback(
    engine: Any, host: Any, run_command: Any
) -> None:
    """With route_localnet the host would take packets for 127.0.0.1, and from it, off a bridge."""
    network = engine.networks.create({"Name": "front"})
    web = engine.run("web", "front")
    secret = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    secret.bind(("127.0.0.1", 5000))
    secret.settimeout(0.3)
    web.command("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
    web.command("ip", "route", "del", "local", "127.0.0.0/8", "table", "local")
    web.command("ip", "route", "del", "local", "127.0.0.1", "table", "local")
    web.command("ip", "route", "add", "127.0.0.0/8", "via", network.gateway)
    knock(web, a_datagram(web.address, "127.0.0.1", 5000, b"to the loopback"), "127.0.0.1")
    with pytest.raises(OSError, match="timed out"):
        secret.recv(100)

    secret.close()
    public = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    public.bind((network.gateway, 5001))
    public.settimeout(0.3)
    run_command("sh", "-c", f"echo 1 > /proc/sys/net/ipv4/conf/gb{host.instance}-{network.id[:6]}/accept_local")
    knock(web, a_datagram("127.0.0.1", network.gateway, 5001, b"from the loopback"), network.gateway)
    with pytest.raises(OSError, match="timed out"):
        public.recv(100)
    knock(web, a_datagram(web.address, network.gateway, 5001, b"from itself"), network.gateway)
    assert public.recv(100) == b"from itself"
    public.close()


def test_the_hosts_loopback_is_kept_from_containers_also_while_no_daemon_runs_and_nf_tables_is_flushed(
    engine: Any, host: Any, run_command: Any, ask_host: Any
) -> None:
    network = engine.networks.create({"Name": "front"})
    web = engine.run("web", "front", ports=[PortRequest("tcp", 80, "127.0.0.1", 8080)], serve=80)
    assert ask_host("127.0.0.1", 8080).startswith("web "), "which is what route_localnet is for"
    engine.networks.close()
    run_command("nft", "flush", "ruleset")
    secret = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    secret.bind(("0.0.0.0", 9999))
    secret.settimeout(0.3)
    mac = bytes.fromhex(mac_of(network.gateway).replace(":", ""))
    own = bytes.fromhex(web.command("cat", "/sys/class/net/eth0/address").strip().replace(":", ""))
    run_command("sh", "-c", f"echo 1 > /proc/sys/net/ipv4/conf/gb{host.instance}-{network.id[:6]}/accept_local")

    def frame(source: str, destination: str, tags: bytes = b"") -> None:
        def send() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
                sock.bind(("eth0", 0))
                sock.send(mac + own + tags + b"\x08\x00" + with_checksum(a_datagram(source, destination, 9999, b"a frame")))

        web.run(send)

    for tags in (b"", b"\x81\0\0\0", b"\x81\0\0\0" * 2, b"\x88\xa8\0\0\x81\0\0\0", b"\x81\0\0\0" * 3):
        for source, destination in ((web.address, "127.0.0.1"), (web.address, "127.1.2.3"), ("127.0.0.1", network.gateway)):
            frame(source, destination, tags)
            with pytest.raises(OSError, match="timed out"):
                secret.recv(100)
    frame(web.address, network.gateway)
    assert secret.recv(100) == b"a frame"
    secret.close()


def test_a_kernel_that_cannot_guard_the_loopback_gets_no_route_localnet(
    engine: Any, host: Any, run_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = engine.networks.create({"Name": "front"})
    bridge = f"gb{host.instance}-{network.id[:6]}"
    switch = Path(f"/proc/sys/net/ipv4/conf/{bridge}/route_localnet")
    web = engine.run("web", "front")
    veth = f"gv{host.instance}-{web.endpoints[0].id[:6]}"
    assert switch.read_text() == "1\n"
    engine.networks.close()
    run_command("tc", "qdisc", "del", "dev", veth, "clsact")  # an engine of before
    engine.restart(web)
    assert "bytecode" in run_command("tc", "filter", "show", "dev", veth, "ingress"), "it is put there"

    engine.networks.close()
    run_command("tc", "qdisc", "del", "dev", veth, "clsact")
    monkeypatch.setattr(loopback, "PROGRAM", ((0xFF, 0, 0, 0),))  # no kernel takes this one
    engine.restart(web)
    assert switch.read_text() == "0\n"
    engine.run("other", "front")
    assert switch.read_text() == "0\n"


def test_cve_2025_54410_a_port_on_the_loopback_is_not_reached_from_the_hosts_network(engine: Any, host: Any) -> None:
    """A neighbour may route 127/8, or the container's own address, to the host."""
    outside = host.outside()
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front", ports=[PortRequest("tcp", 80, "127.0.0.1", 8080)], serve=80)
    outside.command("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
    outside.command("ip", "route", "del", "local", "127.0.0.0/8", "table", "local")
    outside.command("ip", "route", "del", "local", "127.0.0.1", "table", "local")
    outside.command("ip", "route", "add", "127.0.0.0/8", "via", "192.0.2.1", "src", "192.0.2.2")
    outside.command("ip", "route", "add", "10.192.0.0/11", "via", "192.0.2.1")

    assert outside.ask("127.0.0.1", 8080, timeout_s=0.3, source="192.0.2.2") == "silent"
    assert outside.ask(web.address, 80, timeout_s=0.3) == "silent"


def test_cve_2025_54388_no_port_of_a_container_is_reached_by_its_own_address_from_outside(engine: Any, host: Any) -> None:
    outside = host.outside()
    outside.command("ip", "route", "add", "10.192.0.0/11", "via", "192.0.2.1")
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front", ports=[PortRequest("tcp", 80, host_port=8080)], serve=80)
    web.serve(81, "hidden")

    assert outside.ask("192.0.2.1", 8080) == "web 192.0.2.2"
    for protocol in ("tcp", "udp"):
        assert outside.ask(web.address, 80, protocol, timeout_s=0.3) == "silent"
    assert outside.ask(web.address, 81, timeout_s=0.3) == "silent"


def test_networks_do_not_reach_each_other(engine: Any) -> None:
    """Neither by a container's address, nor by a port on the loopback, in both directions and both protocols."""
    for body in ({"Name": "front"}, {"Name": "side"}, {"Name": "back", "Internal": True}):
        engine.networks.create(body)
    one = engine.run("one", "front", serve=80)
    other = engine.run("other", "side", serve=80)
    inner = engine.run("inner", "back", serve=80)
    inner.command("ip", "route", "add", "default", "via", engine.networks.find("back").gateway)

    for source, target in ((one, other), (other, one), (one, inner), (inner, one), (inner, other)):
        for protocol in ("tcp", "udp"):
            assert source.ask(target.address, 80, protocol, timeout_s=0.2) == "silent", (source.name, target.name, protocol)


def test_nothing_at_all_passes_between_an_internal_network_and_the_world(engine: Any, host: Any, run_command: Any) -> None:
    """Not even a single packet that needs no answer, and not by an administrator's own NAT."""
    outside = host.outside()
    network = engine.networks.create({"Name": "back", "Internal": True})
    engine.networks.create({"Name": "front"})
    inner = engine.run("inner", "back")
    inner.command("ip", "route", "add", "default", "via", network.gateway)
    leak, intrusion = outside.datagrams(53), inner.datagrams(53)
    run_command("nft", "add table ip mine; add chain ip mine c { type nat hook prerouting priority -110; }")
    run_command("nft", f"add rule ip mine c ip daddr 192.0.2.1 udp dport 53 dnat to {inner.address}")

    knock(inner, a_datagram(inner.address, "192.0.2.2", 53, b"leak"), "192.0.2.2")
    knock(outside, a_datagram("192.0.2.2", "192.0.2.1", 53, b"intrusion"), "192.0.2.1")

    for receiver in (leak, intrusion):
        receiver.settimeout(0.3)
        with pytest.raises(OSError, match="timed out"):
            receiver.recv(100)
        receiver.close()


def test_cve_2025_67499_a_published_port_catches_nothing_that_is_for_another_machine(engine: Any, host: Any) -> None:
    """What a container, or a machine that is routed by the host, sends to the same port elsewhere goes there."""
    outside, beyond = host.outside(), host.outside("198.51.100.0/24", "lan1")
    beyond.serve(8080, "beyond")
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front", ports=[PortRequest("tcp", 80, host_port=8080)], serve=80)

    assert web.ask("198.51.100.2", 8080) == "beyond 198.51.100.1"
    assert outside.ask("192.0.2.1", 8080) == "web 192.0.2.2"


def test_cve_2020_13401_a_container_cannot_play_router_to_the_host(engine: Any, host: Any, run_command: Any) -> None:
    """IPv6 router advertisements from a container would give the host a default route through it."""
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front")
    bridge = f"gb{host.instance}-{engine.networks.find('front').id[:6]}"

    assert run_command("cat", f"/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6") == "1\n"
    assert run_command("ip", "-6", "address", "show", "dev", bridge) == ""
    veth = f"gv{host.instance}-{web.endpoints[0].id[:6]}"
    assert run_command("ip", "-6", "address", "show", "dev", veth) == ""
    assert web.command("ip", "-6", "address", "show", "dev", "eth0") == ""


def test_a_host_that_did_not_forward_does_not_route_between_its_own_networks(engine: Any, host: Any, run_command: Any) -> None:
    """Containers need ip_forward; a host with a foot in two networks must not become their router by it."""
    one, other = host.outside(), host.outside("198.51.100.0/24", "lan1")
    other.serve(80, "other")
    assert one.ask("198.51.100.2", 80, timeout_s=0.2) == "silent"

    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front")

    assert one.ask("198.51.100.2", 80, timeout_s=0.2) == "silent"
    assert web.ask("198.51.100.2", 80) == "other 198.51.100.1"
    host.outside("203.0.113.0/24", "lan2")  # came later: not ours to judge
    run_command("nft", f"add rule ip gitopsd-{host.instance} user iifname lan0 accept")
    assert one.ask("198.51.100.2", 80) == "other 192.0.2.2"
    engine.restart(web)
    run_command("nft", f"flush chain ip gitopsd-{host.instance} user")
    assert one.ask("198.51.100.2", 80, timeout_s=0.2) == "silent"


def test_a_host_that_forwarded_before_goes_on_forwarding(engine: Any, host: Any, run_command: Any) -> None:
    one, other = host.outside(), host.outside("198.51.100.0/24", "lan1")
    other.serve(80, "other")
    run_command("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    engine.networks.create({"Name": "front"})

    assert one.ask("198.51.100.2", 80) == "other 192.0.2.2"


def test_what_the_user_forbids_in_the_users_chain_is_forbidden_and_stays(engine: Any, host: Any, run_command: Any) -> None:
    outside = host.outside()
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front", ports=[PortRequest("tcp", 80, host_port=8080)], serve=80)
    run_command(
        "nft", f"add rule ip gitopsd-{host.instance} user ip saddr 192.0.2.2 meta l4proto tcp ct original proto-dst 8080 drop"
    )

    assert outside.ask("192.0.2.1", 8080, timeout_s=0.3) == "silent"
    engine.restart(web)
    run_command("nft", f"flush chain ip gitopsd-{host.instance} passing")
    engine.networks.reassert()
    assert outside.ask("192.0.2.1", 8080, timeout_s=0.3) == "silent"
