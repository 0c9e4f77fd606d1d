"""A daemon dies and another starts; somebody changes what networks stand on."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.kernel.netlink import links, nftables, nftables_reading
from gitopsd.engine.kernel.netlink.connection import ROUTE, Netlink
from gitopsd.engine.networks import settings
from gitopsd.engine.networks.endpoint import Attachment
from gitopsd.engine.networks.ports import PortRequest

pytestmark = pytest.mark.host

WEB = [PortRequest("tcp", 80, host_port=8080)]


def until(is_so: Callable[[], bool], limit_s: float = 5.0) -> float:
    """Wait for something to become true; how long that took."""
    start = time.monotonic()
    while not is_so():
        assert time.monotonic() - start < limit_s
        time.sleep(0.005)
    return time.monotonic() - start


@contextlib.contextmanager
def asking(source: Any, *arguments: Any) -> Iterator[list[str]]:
    """Ask all the time; the answers."""
    answers: list[str] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            answers.append(source.ask(*arguments))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        is_over.set()
        thread.join()


def generation(host: Any) -> int:
    """Counts the changes of all nf_tables."""
    return nftables_reading.generation_of(host.netfilter.get(nftables.read_generation()))


def test_a_daemon_that_starts_again_knows_everything_and_touches_nothing(engine: Any, host: Any, run_command: Any) -> None:
    outside = host.outside()
    outside.serve(80, "world")
    engine.networks.create({"Name": "front"})
    engine.networks.create({"Name": "back", "Internal": True})
    web = engine.run("web", Attachment("back", ("w",)), Attachment("front", ("www",)), ports=WEB, serve=80)
    store = engine.run("store", "back", serve=5000)
    loner = engine.run("loner", "bridge")
    names = engine.networks.names
    shown = [engine.networks.inspect(name) for name in ("front", "back", "bridge")]
    time.sleep(0.3)  # for the bridges' carriers
    events = Netlink.open(ROUTE)
    events.join(links.GROUP)
    before = generation(host), run_command("ip", "-4", "address"), web.command("ip", "address"), web.command("ip", "route")

    with asking(outside, "192.0.2.1", 8080) as answers:
        for _ in range(3):
            engine.restart(web, store, loner)

    assert set(answers) == {"web 192.0.2.2"}
    assert (
        generation(host),
        run_command("ip", "-4", "address"),
        web.command("ip", "address"),
        web.command("ip", "route"),
    ) == before
    assert events.events() == []
    events.close()
    assert [engine.networks.inspect(name) for name in ("front", "back", "bridge")] == shown
    assert engine.networks.names == names
    assert engine.networks.endpoints(web.id) == web.endpoints
    assert [(item.port, item.address) for item in engine.networks.published()] == [(web.ports[0], web.endpoints[1].address)]
    engine.networks.disconnect(web.id, "back")
    assert web.ask("192.0.2.2", 80) == "world 192.0.2.1"


def test_what_ended_while_no_daemon_ran_is_cleaned_up(engine: Any, host: Any, run_command: Any) -> None:
    engine.networks.create({"Name": "front"})
    web, other = engine.run("web", "front", ports=WEB), engine.run("other", "front", serve=80)
    engine.restart(other)

    assert engine.networks.published() == ()
    assert f"gv{host.instance}-{web.endpoints[0].id[:6]}" not in run_command("ip", "link")
    assert f"gv{host.instance}-{other.endpoints[0].id[:6]}" in run_command("ip", "link")


def test_a_veth_that_a_crash_left_half_made_is_removed(engine: Any, host: Any, run_command: Any) -> None:
    engine.networks.create({"Name": "front"})
    run_command("ip", "link", "add", f"gv{host.instance}-abcdef", "type", "veth", "peer", "name", "rest0")

    engine.restart()

    assert "rest0" not in run_command("ip", "link")


def test_a_network_whose_bridge_a_reboot_took_is_there_again(engine: Any, host: Any, run_command: Any) -> None:
    network = engine.networks.create({"Name": "front", "Labels": {"a": "b"}})
    engine.networks.tear_down()
    assert run_command("nft", "list", "tables") == ""
    assert host.instance not in run_command("ip", "link")

    engine.restart()

    assert engine.networks.find("front") == network
    assert "10.192.0.65/26" in run_command("ip", "address", "show", f"gb{host.instance}-{network.id[:6]}")


def test_tearing_down_takes_containers_out_and_everything_of_ours_away(engine: Any, host: Any, run_command: Any) -> None:
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front", ports=[PortRequest("udp", 80, host_port=8080)])

    engine.networks.tear_down()

    assert (run_command("nft", "list", "ruleset"), host.instance in run_command("ip", "link")) == ("", False)
    assert "eth0" not in web.command("ip", "link")


def test_a_record_that_cannot_be_read_stops_the_start_and_is_named(engine: Any) -> None:
    network = engine.networks.create({"Name": "front"})
    path = engine.folder / f"{network.id}.json"
    kept = path.read_bytes()
    path.write_text('{"version": 2}')

    with pytest.raises(ValueError, match=rf"{network.id}\.json: not a network's record: ValueError: version 2, expected 1"):
        engine.restart()
    path.write_bytes(kept)


def test_a_record_keeps_what_a_later_version_wrote(engine: Any) -> None:
    network = engine.networks.create({"Name": "front"})
    path = engine.folder / f"{network.id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "new": 1}))
    engine.restart()

    engine.networks._catalogue._store.save(engine.networks.find("front"))

    assert json.loads(path.read_text())["new"] == 1


@pytest.mark.parametrize(
    "fault",
    [
        "nft flush ruleset",
        "nft delete table ip gitopsd-{instance}",
        "nft flush chain ip gitopsd-{instance} ports",
        "nft flush map ip gitopsd-{instance} ports_any",
        "ip link set gb{instance}-{network} down",
        "ip link del gb{instance}-{network}",
        "ip address flush dev gb{instance}-{network}; ip link set gb{instance}-{network} down",
        "ip link del gv{instance}-{endpoint}",
        "ip link set gv{instance}-{endpoint} nomaster; ip link set gv{instance}-{endpoint} down",
        "sysctl -q -w net.ipv4.ip_forward=0",
    ],
)
def test_what_somebody_breaks_is_mended_within_a_second(engine: Any, host: Any, run_command: Any, fault: str) -> None:
    outside = host.outside()
    network = engine.networks.create({"Name": "front"})
    web = engine.run("web", "front", ports=WEB, serve=80)
    assert outside.ask("192.0.2.1", 8080) == "web 192.0.2.2"

    words = {"instance": host.instance, "network": network.id[:6], "endpoint": web.endpoints[0].id[:6]}
    run_command("sh", "-c", fault.format(**words))

    took = until(lambda: outside.ask("192.0.2.1", 8080, timeout_s=0.1) == "web 192.0.2.2")
    print(f"TOOK {took:.3f} {fault}")
    assert took < 1
    assert engine.networks.reassert() == []


def test_our_own_changes_are_not_mended(engine: Any, caplog: Any) -> None:
    with caplog.at_level("WARNING"):
        engine.networks.create({"Name": "front"})
        web = engine.run("web", "front", ports=WEB)
        engine.networks.publish(web.id, [])
        engine.networks.release(web.id)
        engine.settle()
        engine.networks.remove("front")
        time.sleep(0.4)

    assert caplog.messages == []


def test_a_client_that_comes_while_the_table_is_gone_is_served_when_it_is_back(engine: Any, host: Any, run_command: Any) -> None:
    """Also where somebody else has connections tracked, so that the kernel remembers where its first packet went."""
    outside = host.outside()
    run_command(
        "nft",
        "add table ip mine; add chain ip mine c { type filter hook prerouting priority 0; }; add rule ip mine c ct state new counter",
    )
    engine.networks.create({"Name": "front"})
    engine.run("web", "front", ports=WEB, serve=80)
    with engine.networks._lock:  # the watch has to wait
        run_command("nft", "delete", "table", "ip", f"gitopsd-{host.instance}")
        answers: list[str] = []
        client = threading.Thread(target=lambda: answers.append(outside.ask("192.0.2.1", 8080, "tcp", 4.0)))
        client.start()
        time.sleep(0.2)
    client.join()

    assert answers == ["web 192.0.2.2"]


def test_a_table_flushed_just_before_a_change_is_whole_after_it(engine: Any, host: Any, run_command: Any) -> None:
    outside = host.outside()
    engine.networks.create({"Name": "front"})
    web = engine.run("web", "front", ports=WEB, serve=80)
    engine.networks._watch.close()
    engine.networks._watch = None
    run_command("nft", "flush", "ruleset")

    other = engine.run("other", "front", ports=[PortRequest("tcp", 80, host_port=8081)], serve=80)

    assert outside.ask("192.0.2.1", 8080) == "web 192.0.2.2"
    assert outside.ask("192.0.2.1", 8081) == "other 192.0.2.2"
    assert other.ask(web.address, 80) == f"web {other.address}"


def test_a_switch_that_the_host_does_not_let_us_set_is_named(
    engine: Any, monkeypatch: Any, tmp_path: Any, run_command: Any
) -> None:
    folder = tmp_path / "net" / "ipv4"
    folder.mkdir(parents=True)
    (folder / "ip_forward").mkdir()  # cannot be written even by root
    monkeypatch.setattr(settings, "read", lambda name: "0")
    monkeypatch.setattr(settings, "_ROOT", f"{tmp_path}/net/")

    message = r"create network front: .*ipv4/ip_forward must be 1 and cannot be set: Is a directory"
    with pytest.raises(ApiError, match=message):
        engine.networks.create({"Name": "front"})

    assert run_command("nft", "list", "tables") == ""
    assert not any(network.name == "front" for network in engine.networks.list())
