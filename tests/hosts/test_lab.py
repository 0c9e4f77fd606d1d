"""The lab's hosts are hosts, and leave nothing behind."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from gitopsd.lab import Lab, cgroups, down, execute, network, read, reset, up
from gitopsd.model.errors import GitopsdError

pytestmark = pytest.mark.host


def say(lab: Lab, host: str, script: str) -> str:
    """What a shell script prints, run as root on a host; it must succeed."""
    done = execute(lab, host, ["sh", "-ec", script])
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def ssh(lab: Lab, number: int, user: str, command: str) -> str:
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-i", str(lab.key)]
    host = lab.hosts[number - 1]
    with tempfile.NamedTemporaryFile("w") as known:
        known.write(f"{host.address} {host.host_key}\n")
        known.flush()
        done = subprocess.run(
            ["ssh", *options, "-o", f"UserKnownHostsFile={known.name}", f"{user}@{host.address}", command],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def traces(lab_id: str) -> list[str]:
    """What this machine still has of a lab."""
    found = network.links(lab_id)
    for hierarchy in cgroups.read_hierarchies():
        found += [str(path) for path in Path(hierarchy.mountpoint).glob(cgroups.parent_name(lab_id))]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and cgroups.parent_name(lab_id) in (process / "cgroup").read_text():  # this machine's init reaps it
                found.append((process / "comm").read_text().strip())
        except OSError:
            continue
    return found


def test_both_users_log_in_with_the_labs_key_and_deploy_may_become_root(lab: Lab) -> None:
    assert ssh(lab, 1, "root", "id -un; hostname").split() == ["root", "lab-1"]
    assert ssh(lab, 2, "deploy", "id -un; hostname; sudo -n id -un; ls -d ~/.ssh").split() == [
        "deploy",
        "lab-2",
        "root",
        "/home/deploy/.ssh",
    ]


def test_a_host_has_python_and_nothing_of_docker(lab: Lab) -> None:
    programs = "docker dockerd containerd podman runc crun iptables nft ip tar git conntrack"
    assert say(lab, "lab-1", f"for p in {programs}; do command -v $p || :; done; command -v python3") == "/usr/bin/python3"


def test_hosts_reach_each_other_and_this_machine_and_nobody_else(lab: Lab) -> None:
    first, second = lab.hosts
    reach = "import socket; socket.create_connection(('{}', 22), 3)"
    say(lab, first.name, f'python3 -c "{reach.format(second.address)}"')
    assert execute(lab, first.name, ["python3", "-c", reach.format("192.0.2.1")]).returncode == 1
    assert say(lab, first.name, "ls /sys/class/net").split() == ["eth0", "lo"]


def test_a_host_sees_only_its_own_processes_names_and_cgroups(lab: Lab) -> None:
    assert len(say(lab, "lab-1", "ls -d /proc/[0-9]*").split()) < 10
    assert say(lab, "lab-1", "cut -d: -f3 /proc/self/cgroup | sort -u").split() in (["/"], ["/", "/init"], ["/init"])
    say(lab, "lab-1", "for h in /sys/fs/cgroup/memory /sys/fs/cgroup; do if [ -e $h/cgroup.procs ]; then mkdir $h/mine; fi; done")
    inside = [
        path for h in cgroups.read_hierarchies() for path in Path(h.mountpoint).glob(f"{cgroups.parent_name(lab.id)}/lab-1/mine")
    ]
    assert inside
    for path in inside:
        path.rmdir()


def test_the_engines_folder_is_on_a_real_file_system_where_overlays_can_be_made(lab: Lab) -> None:
    script = """cd /var/lib/gitopsd-engine; mkdir l u w m; echo below > l/f
        mount -t overlay x -o lowerdir=l,upperdir=u,workdir=w m; echo above > m/f; cat l/f u/f; umount m; rm -r l u w m"""
    assert say(lab, "lab-1", script).split() == ["below", "above"]


def test_an_orphan_is_reaped_by_process_one(lab: Lab) -> None:
    assert say(lab, "lab-1", "(sleep 0.1 & :) ; sleep 0.5; ps -eo stat= | grep -c Z || :") == "0"


def test_sshd_comes_back_when_it_dies(lab: Lab) -> None:
    killed = say(lab, "lab-2", "pgrep -o sshd; pkill -o sshd")
    deadline = time.monotonic() + 10
    while execute(lab, "lab-2", ["pgrep", "-o", "sshd"]).stdout.decode().strip() in ("", killed):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ssh(lab, 2, "root", "echo here") == "here"


def test_a_reset_host_keeps_its_address_and_key_and_loses_its_disk_only_when_told_to(lab: Lab) -> None:
    before = lab.host("lab-2")
    say(lab, "lab-2", "echo kept > /etc/kept; echo kept > /var/lib/gitopsd-engine/kept; echo gone > /run/gone")
    same = reset(lab.state_dir, "lab-2", wipe=False)
    assert (same.address, same.host_key) == (before.address, before.host_key)
    assert same.pid != before.pid
    assert say(
        read(lab.state_dir), "lab-2", "cat /etc/kept /var/lib/gitopsd-engine/kept; ls /run/gone 2>/dev/null || echo gone"
    ).split() == ["kept", "kept", "gone"]
    reset(lab.state_dir, "lab-2")
    assert say(read(lab.state_dir), "lab-2", "ls /etc/kept /var/lib/gitopsd-engine/kept 2>/dev/null || echo gone") == "gone"


def test_up_again_leaves_running_hosts_alone_and_adds_what_is_missing(lab: Lab) -> None:
    pids = [host.pid for host in read(lab.state_dir).hosts]
    more = up(3, lab.state_dir)
    assert [host.pid for host in more.hosts][:2] == pids
    assert ssh(more, 3, "root", "hostname") == "lab-3"


def test_a_second_lab_has_a_subnet_of_its_own_and_goes_without_a_trace(lab: Lab) -> None:
    folder = Path(tempfile.mkdtemp(prefix="gitopsd-lab-", dir="/var/tmp"))
    mounts = Path("/proc/self/mountinfo").read_text()
    try:
        other = up(1, folder)
        assert other.subnet != lab.subnet
        assert execute(other, "lab-1", ["true"]).returncode == 0
    finally:
        down(folder)
    assert traces(other.id) == []
    assert not folder.exists()
    assert Path("/proc/self/mountinfo").read_text() == mounts
    down(folder)


@pytest.mark.parametrize("moment_s", [0.08, 0.15, 0.2, 0.25, 0.3])
def test_a_lab_whose_maker_was_killed_half_way_is_taken_down_whole(moment_s: float) -> None:
    folder = Path(tempfile.mkdtemp(prefix="gitopsd-lab-", dir="/var/tmp"))
    program = f"from pathlib import Path; from gitopsd.lab import up; up(2, Path({str(folder)!r}))"
    maker = subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": "."}
    )
    time.sleep(moment_s + random.uniform(0, 0.05))
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    lab_id = ""
    if (folder / "lab.json").exists():
        lab_id = read(folder).id
    down(folder)
    assert not folder.exists()
    assert not lab_id or traces(lab_id) == []


def test_a_folder_that_cannot_hold_overlays_is_refused_by_name() -> None:
    here = Path("/proc")
    with pytest.raises(GitopsdError, match="is on proc, which cannot hold the upper layers"):
        up(1, here)


def test_what_a_machine_lacks_is_named_with_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "sudo" else real(name))
    with pytest.raises(GitopsdError, match="this machine lacks sudo"):
        up(1, tmp_path)
