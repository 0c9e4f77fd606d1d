"""The quickstart's stack on a machine with a kernel of its own: systemd, cgroup v2, AppArmor, and a user with sudo.

`tests/run --vm` runs it. GITOPSD_VM_DIR names a folder with a machine that is built already, or will be kept.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.vm
TOP = Path(__file__).parents[2]
VMHOST = [sys.executable, str(TOP / "tests/vmhost")]


@dataclass(frozen=True)
class Machine:
    folder: Path
    port: int
    page: int
    """The port of this machine behind which the guest's 8080 is."""

    def say(self, script: str) -> str:
        """What a shell script prints, run as root there; it must succeed."""
        done = subprocess.run(
            [*VMHOST, "ssh", str(self.folder), f"set -e; {script}"], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def fetch(self, path: str = "/") -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.page}{path}", timeout=10) as answer:
            return answer.read().decode()


@dataclass(frozen=True)
class Controller:
    folder: Path
    environment: dict[str, str]

    def gitopsd(self, *words: str, expect: int = 0) -> str:
        return self._run([sys.executable, "-c", "from gitopsd.cli import main; main()", *words], expect)

    def engine(self, *words: str, stdin: bytes = b"") -> str:
        sock = f"unix://{self.folder}/state/run/engine.sock"
        return self._run([sys.executable, "-m", "gitopsd.engine.main", "-H", sock, *words], 0, stdin)

    def git(self, *words: str) -> None:
        self._run(["git", "-C", str(self.folder / "repo"), *words], 0)

    def _run(self, command: list[str], expect: int, stdin: bytes = b"") -> str:
        done = subprocess.run(command, input=stdin, capture_output=True, env=self.environment, timeout=1200)
        assert done.returncode == expect, (done.stdout + done.stderr).decode()
        return done.stdout.decode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until(what: str, holds: Callable[[], Any], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except (OSError, AssertionError, ValueError):
            pass
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = Path(os.environ.get("GITOPSD_VM_DIR") or tmp_path_factory.mktemp("vm"))
    made = Machine(folder, free_port(), free_port())
    subprocess.run([*VMHOST, "build", str(folder)], check=True)
    try:
        subprocess.run([*VMHOST, "up", str(folder), str(made.port), f"8080:{made.page}"], check=True)
        yield made
    finally:
        subprocess.run([*VMHOST, "down", str(folder)], check=True)


@pytest.fixture(scope="module")
def controller(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """The quickstart's repository with this one host, and its stack converged there."""
    folder = tmp_path_factory.mktemp("c")
    registry = f"127.0.0.1:{free_port()}"
    shutil.copytree(TOP / "examples/quickstart/stacks", folder / "repo/stacks")
    shutil.copytree(TOP / "examples/quickstart/web", folder / "repo/web")
    host_key = " ".join((machine.folder / "host_key.pub").read_text().split()[:2])
    fleet = {
        "name": "vm",
        "registry": {"address": registry, "mirrors": {"docker.io": registry}},
        "hosts": {"vm": {"address": "127.0.0.1", "port": machine.port, "user": "deploy", "host_key": host_key}},
        "stacks": {"shop": {"file": "stacks/shop.yaml", "values": {"PORT": 8080}}},
    }
    (folder / "repo/gitopsd.yaml").write_text(json.dumps(fleet))
    names = {f"GIT_{who}_{what}": "you@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {
        **os.environ, **names, "PYTHONPATH": str(TOP), "GIT_CONFIG_GLOBAL": "/dev/null", "GITOPSD_STATE_DIR": str(folder / "state"),
        "GITOPSD_REPO": str(folder / "repo"), "GITOPSD_KEY": str(machine.folder / "key"),
    }  # fmt: skip
    made = Controller(folder, environment)
    made.git("init", "-q", "-b", "main")
    made.git("add", "-A")
    made.git("commit", "-q", "-m", "feat: the shop")
    try:
        made.gitopsd("registry", "start")
        made.engine("load", stdin=busybox_archive(f"{registry}/library/busybox:stable"))
        made.engine("push", f"{registry}/library/busybox:stable")
        made.gitopsd("sync")
        yield made
    finally:
        made.gitopsd("registry", "remove", "--yes")


def busybox_archive(reference: str) -> bytes:
    """The quickstart's own base image."""
    where = importlib.util.spec_from_file_location("story", TOP / "examples/quickstart/story.py")
    assert where is not None
    assert where.loader is not None
    story = importlib.util.module_from_spec(where)
    sys.modules["story"] = story
    where.loader.exec_module(story)
    return story.busybox_archive(reference)


def containers(machine: Machine) -> dict[str, str]:
    """Name to the number of its first process."""
    script = """for f in /run/gitopsd-engine/c/*.json; do id=$(basename $f .json)
        echo $id $(systemctl show -p ControlGroup --value gitopsd-*-$id.scope); done"""
    found: dict[str, str] = {}
    for line in machine.say(script).splitlines():
        name, group = line.split()
        found[name] = machine.say(f"cat /sys/fs/cgroup{group}/payload/cgroup.procs | head -n 1")
    return found


def test_the_machine_is_what_this_is_about(machine: Machine) -> None:
    said = machine.say("cat /proc/1/comm; stat -fc %T /sys/fs/cgroup; cat /sys/module/apparmor/parameters/enabled")
    assert said.split() == ["systemd", "cgroup2fs", "Y"]


def test_the_stack_is_there_and_a_plan_straight_after_is_empty(controller: Controller, machine: Machine) -> None:
    until("the page", machine.fetch)
    assert machine.fetch("/version").strip() == "1"
    controller.gitopsd("plan", expect=0)


def test_containers_live_in_scopes_of_their_own_with_their_limits(controller: Controller, machine: Machine) -> None:
    groups = machine.say("find /sys/fs/cgroup/gitopsd.slice -name '*.scope'").split()
    assert len(groups) == 2
    for group in groups:
        assert machine.say(f"cat {group}/payload/memory.max") == str(64 << 20)
        assert machine.say(f"wc -l < {group}/monitor/cgroup.procs") == "1"
    shown = machine.say("systemctl show gitopsd-engine -p Type -p KillMode -p Delegate -p Restart -p OOMScoreAdjust -p TasksMax")
    expected = {"Type=notify", "KillMode=process", "Delegate=yes", "Restart=always", "OOMScoreAdjust=-500", "TasksMax=infinity"}
    assert set(shown.split()) == expected


@pytest.mark.parametrize(
    "how", ["systemctl restart gitopsd-engine", "systemctl kill --signal KILL --kill-who main gitopsd-engine"]
)
def test_the_daemon_ends_and_containers_do_not(controller: Controller, machine: Machine, how: str) -> None:
    before = containers(machine)
    daemon = machine.say("cat /run/gitopsd-engine/engine.pid")
    machine.say(how)
    until("another daemon", lambda: machine.say("cat /run/gitopsd-engine/engine.pid") != daemon)
    until("systemd says that it runs", lambda: machine.say("systemctl is-active gitopsd-engine") == "active")
    assert containers(machine) == before
    assert machine.fetch("/version").strip() == "1"
    controller.gitopsd("plan", expect=0)


@pytest.mark.parametrize("how", ["a reboot", "a pulled plug"])
def test_after_it_the_containers_are_there_again_without_the_controller(
    controller: Controller, machine: Machine, how: str
) -> None:
    since, boot = machine.fetch(), machine.say("cat /proc/sys/kernel/random/boot_id")
    if how == "a reboot":
        machine.say("systemctl reboot")
        until("another boot", lambda: machine.say("cat /proc/sys/kernel/random/boot_id") != boot)
    else:
        time.sleep(6)  # what was written has reached the disk: ext4 commits every five seconds
        subprocess.run([*VMHOST, "cut", str(machine.folder)], check=True)
    until("the page", lambda: machine.fetch("/version").strip() == "1")
    until("the store behind it", lambda: machine.fetch() == since)
    controller.gitopsd("plan", expect=0)


def test_removal_leaves_nothing_of_it(controller: Controller, machine: Machine) -> None:
    controller.gitopsd("host", "remove", "vm", "--delete-volumes")
    script = """ls -d /var/lib/gitopsd-engine /run/gitopsd-engine /etc/systemd/system/gitopsd* 2>/dev/null || :
        find /sys/fs/cgroup -name '*gitopsd*'; grep -c gitopsd /proc/mounts || :; ls /sys/class/net | grep -v -x -e lo -e 'e.*' || :
        systemctl list-units --all --no-legend 'gitopsd*'"""
    assert machine.say(script) == "0"
