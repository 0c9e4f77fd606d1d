"""Firewalls of others on the same host: Docker's and an administrator's iptables, ufw, firewalld."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gitopsd.engine.networks.networks import Networks
from gitopsd.engine.networks.ports import PortRequest

pytestmark = pytest.mark.host

WEB = [PortRequest("tcp", 80, host_port=8080), PortRequest("udp", 80, host_port=8080)]


def until(is_so: Callable[[], bool], limit_s: float = 3.0) -> None:
    end = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def all_works(outside: Any, web: Any, neighbour: Any) -> bool:
    """From outside to a published port, from a container to the world, and between containers."""
    asked = [outside.ask("192.0.2.1", 8080, timeout_s=0.3), web.ask("192.0.2.2", 80, timeout_s=0.3)]
    return asked == ["web 192.0.2.2", "world 192.0.2.1"] and neighbour.ask(web.address, 80) == f"web {neighbour.address}"


@pytest.fixture
def scene(engine: Any, host: Any) -> Any:
    outside = host.outside()
    outside.serve(80, "world")
    engine.networks.create({"Name": "front"})
    web, neighbour = engine.run("web", "front", ports=WEB, serve=80), engine.run("neighbour", "front")
    assert all_works(outside, web, neighbour)
    return outside, web, neighbour


def rules_of_ours(run_command: Any, host: Any) -> int:
    return run_command("nft", "list", "ruleset").count(f'comment "gitopsd-{host.instance}"')


def test_where_a_forward_chain_drops_by_its_policy_our_packets_pass(scene: Any, engine: Any, host: Any, run_command: Any) -> None:
    """As Docker sets it. What somebody forbids in particular stays forbidden, before or behind."""
    run_command("iptables", "-P", "FORWARD", "DROP")
    until(lambda: all_works(*scene))
    run_command("iptables", "-A", "FORWARD", "-s", "192.0.2.2", "-p", "udp", "-j", "DROP")

    comment = f"-m comment --comment gitopsd-{host.instance}"
    wanted = [
        "-P FORWARD DROP",
        "-A FORWARD -s 192.0.2.2/32 -p udp -j DROP",
        f"-A FORWARD -i gb{host.instance}-+ {comment} -j ACCEPT",
        f"-A FORWARD -o gb{host.instance}-+ {comment} -j ACCEPT",
    ]
    until(lambda: run_command("iptables", "-S", "FORWARD").splitlines() == wanted)
    assert scene[0].ask("192.0.2.1", 8080, "udp", timeout_s=0.2) == "silent"
    run_command("iptables", "-F", "FORWARD")
    until(lambda: all_works(*scene))
    run_command("iptables", "-P", "FORWARD", "ACCEPT")
    until(lambda: rules_of_ours(run_command, host) == 0)


def test_where_a_forward_chain_ends_in_a_reject_our_packets_pass_before_it(scene: Any, host: Any, run_command: Any) -> None:
    """As RHEL's iptables-services has it, and deeper, by a jump."""
    run_command("iptables", "-N", "LAST")
    run_command(
        "iptables", "-A", "LAST", "-m", "comment", "--comment", "no more", "-j", "REJECT", "--reject-with", "icmp-host-prohibited"
    )
    run_command("iptables", "-A", "FORWARD", "-s", "203.0.113.1", "-j", "DROP")
    run_command("iptables", "-A", "FORWARD", "-j", "LAST")

    until(lambda: all_works(*scene))
    kinds = [line.split("-j ")[1] for line in run_command("iptables", "-S", "FORWARD").splitlines()[1:]]
    assert kinds == ["DROP", "ACCEPT", "ACCEPT", "LAST"]
    run_command("iptables", "-I", "FORWARD", "1", "-j", "LAST")
    until(lambda: all_works(*scene))


def test_chains_that_do_not_drop_everything_are_not_touched(scene: Any, host: Any, run_command: Any) -> None:
    run_command("iptables", "-A", "FORWARD", "-i", "docker0", "-j", "DROP")
    run_command("nft", "add table inet mine; add chain inet mine c { type filter hook forward priority 0; policy accept; }")
    run_command("nft", "add rule inet mine c ct state invalid drop")
    run_command("nft", "add chain inet mine d { type filter hook input priority 0; policy drop; }")
    time.sleep(0.5)

    assert rules_of_ours(run_command, host) == 0
    assert all_works(*scene)


def test_two_engines_stand_side_by_side(scene: Any, engine: Any, host: Any, run_command: Any, tmp_path: Any) -> None:
    other = Networks("other", str(tmp_path / "other"), now=lambda: "2026-01-01T00:00:00Z")
    other.start()
    other.create({"Name": "front"})
    run_command("iptables", "-P", "FORWARD", "DROP")
    until(lambda: run_command("nft", "list", "ruleset").count("comment") == 4)
    before = run_command("nft", "-a", "list", "chain", "ip", "filter", "FORWARD")

    time.sleep(0.5)

    assert re.findall("# handle .*", before) == re.findall(
        "# handle .*", run_command("nft", "-a", "list", "chain", "ip", "filter", "FORWARD")
    )
    assert other.find("front").subnet != engine.networks.find("front").subnet
    other.tear_down()
    other.close()


def test_accepts_go_with_the_last_network(scene: Any, engine: Any, host: Any, run_command: Any) -> None:
    _, web, neighbour = scene
    run_command("nft", "add table inet mine; add chain inet mine c { type filter hook forward priority 0; policy drop; }")
    until(lambda: rules_of_ours(run_command, host) == 2)

    engine.networks.release(web.id)
    engine.networks.release(neighbour.id)
    engine.networks.remove("front")

    assert rules_of_ours(run_command, host) == 0
    assert "hook forward" in run_command("nft", "list", "table", "inet", "mine")


def test_a_chain_that_was_there_first_is_met_too(engine: Any, host: Any, run_command: Any) -> None:
    run_command("iptables", "-P", "FORWARD", "DROP")
    outside = host.outside()
    engine.networks.create({"Name": "front"})
    engine.run("web", "front", ports=WEB, serve=80)

    assert outside.ask("192.0.2.1", 8080) == "web 192.0.2.2"


def test_with_bridge_nf_call_iptables_containers_on_one_bridge_reach_each_other(
    scene: Any, engine: Any, run_command: Any
) -> None:
    _, web, neighbour = scene
    run_command("sysctl", "-q", "-w", "net.bridge.bridge-nf-call-iptables=1")
    run_command("iptables", "-P", "FORWARD", "DROP")

    until(lambda: all_works(*scene))
    # by the published port, from its own network and from itself, frames are led back on the bridge
    assert neighbour.ask("192.0.2.1", 8080) == "web 10.192.0.65"
    assert web.ask("192.0.2.1", 8080) == "web 10.192.0.65"


def test_ufw_lets_our_packets_pass_and_can_still_be_used(scene: Any, host: Any, run_command: Any, tmp_path: Any) -> None:
    """The real one, on a copy of its settings."""

    def ufw(words: str) -> str:
        steps = f"mkdir -p {tmp_path}/ufw && cp -rn /etc/ufw/. {tmp_path}/ufw && mount --bind {tmp_path}/ufw /etc/ufw"
        return run_command("unshare", "-m", "sh", "-c", f"{steps} && PATH=$PATH:/usr/sbin ufw {words}")

    ufw("--force enable")
    until(lambda: all_works(*scene))
    outside, web, _ = scene
    ufw("route deny from 192.0.2.2 to any port 80 proto tcp")
    until(lambda: outside.ask("192.0.2.1", 8080, timeout_s=0.3) == "silent")
    assert web.ask("192.0.2.2", 80) == "world 192.0.2.1"
    ufw("reload")
    ufw("--force delete 1")
    until(lambda: all_works(*scene))
    assert "Status: active" in ufw("status verbose")
    ufw("default reject routed")
    ufw("reload")
    until(lambda: all_works(*scene))
    ufw("--force disable")


@pytest.fixture
def firewalld(host: Any) -> Iterator[Callable[[str], str]]:
    """firewalld on a system bus of its own; a function that runs commands beside it."""
    if shutil.which("firewalld") is None:
        pytest.skip("firewalld is not installed: on a machine with systemd installing it switches it on")
    shell = subprocess.Popen(
        ["unshare", "-m", "bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert shell.stdin is not None
    assert shell.stdout is not None

    def run(words: str) -> str:
        shell.stdin.write(f"{words}\necho done: $?\n")
        shell.stdin.flush()
        output = ""
        for line in shell.stdout:
            if line.startswith("done: "):
                assert line == "done: 0\n", (words, output)
                return output
            output += line
        raise AssertionError((words, output))

    run("mount -t tmpfs tmpfs /run && mkdir /run/dbus")
    run("{ dbus-daemon --system --nofork --nopidfile --nosyslog >/dev/null 2>&1 & }")
    run("for i in $(seq 100); do [ -S /run/dbus/system_bus_socket ] && break; sleep 0.05; done")
    run("{ PYTHONPATH= firewalld --nofork --nopid >/dev/null 2>&1 & }")
    run("for i in $(seq 100); do firewall-cmd --state >/dev/null 2>&1 && break; sleep 0.1; done; firewall-cmd --state")
    yield run
    run("kill $(jobs -p); wait $(jobs -p) || true")
    shell.communicate()


def test_firewalld_lets_our_packets_pass_also_after_a_reload(scene: Any, host: Any, run_command: Any, firewalld: Any) -> None:
    """CVE-2025-54388, CVE-2025-54410: a reload takes away whatever others put into its chains, and isolation must not hang on it."""
    until(lambda: all_works(*scene))
    assert rules_of_ours(run_command, host) == 2
    firewalld("firewall-cmd --reload")
    outside, web, _ = scene
    outside.command("ip", "route", "replace", "10.192.0.0/11", "via", "192.0.2.1")
    assert outside.ask(web.address, 80, timeout_s=0.3) in ("silent", "unreachable")
    until(lambda: all_works(*scene))
    assert outside.ask(web.address, 80, timeout_s=0.3) in ("silent", "unreachable")


def test_where_the_old_iptables_filters_a_daemon_that_starts_says_so(engine: Any, run_command: Any, caplog: Any) -> None:
    run_command("iptables-legacy", "-P", "FORWARD", "DROP")

    with caplog.at_level("WARNING"):
        engine.restart()

    assert f"until it accepts interfaces gb{engine.host.instance}-+" in caplog.text
