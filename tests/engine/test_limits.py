"""What a container may use: memory, processes, processors; and changing that while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.running import Engine, fails, until

pytestmark = pytest.mark.host

_EAT = "x=0123456789abcdef; while true; do x=$x$x; done"


def setting(engine: Engine, container: str, controller: str, name: str) -> str:
    """What the kernel has for the container, with version 1 of cgroups."""
    folder = Path("/sys/fs/cgroup", controller, f"gitopsd-{engine.instance}", container[:12], "payload")
    return (folder / name).read_text().strip()


def test_a_container_that_eats_its_memory_is_killed_and_says_so(engine: Engine) -> None:
    made = engine.run("sh", "-c", _EAT, Memory=16 << 20)
    assert engine.wait(made) == 137
    status = engine.status(made)
    assert (status["OOMKilled"], status["ExitCode"], status["Running"]) == (True, 137, False)


def test_a_child_that_is_killed_for_memory_does_not_end_the_container(engine: Engine) -> None:
    made = engine.run("sh", "-c", f"sh -c '{_EAT}'; echo child $?; exit 5", Memory=16 << 20)
    assert engine.wait(made) == 5
    assert engine.logs(made) == "child 137\n"


def test_a_container_that_another_one_was_killed_for_is_not_marked(engine: Engine) -> None:
    assert engine.wait(engine.run("sh", "-c", _EAT, Memory=16 << 20)) == 137
    made = engine.run("sh", "-c", "exit 137")
    assert engine.wait(made) == 137
    assert engine.status(made)["OOMKilled"] is False


def test_memory_less_than_a_program_needs_is_refused(engine: Engine) -> None:
    with fails(400):
        engine.create("true", Memory=1 << 20)


def test_a_fork_bomb_ends_in_its_container(engine: Engine) -> None:
    made = engine.run("sleep", "100", PidsLimit=20)
    done = engine.execute(made, "sh", "-c", "i=0; while [ $i -lt 40 ]; do sleep 50 >/dev/null 2>&1 & i=$((i+1)); done")
    assert "can't fork" in done.err
    assert int(setting(engine, made, "pids", "pids.current")) <= 20
    assert engine.shell("echo others do not suffer").code == 0


def test_the_number_of_processes_is_finite_where_nothing_is_said(engine: Engine) -> None:
    assert setting(engine, engine.run("sleep", "100"), "pids", "pids.max") == "4096"
    assert setting(engine, engine.run("sleep", "100", PidsLimit=-1), "pids", "pids.max") == "max"


def test_processors_and_shares_are_limited(engine: Engine) -> None:
    made = engine.run("sleep", "100", NanoCpus=250_000_000, CpuShares=512, CpusetCpus="0")
    assert setting(engine, made, "cpu", "cpu.cfs_quota_us") == "25000"
    assert setting(engine, made, "cpu", "cpu.cfs_period_us") == "100000"
    assert setting(engine, made, "cpu", "cpu.shares") == "512"
    assert engine.execute(made, "nproc").out == "1\n"


def test_limits_are_changed_while_a_container_runs(engine: Engine) -> None:
    made = engine.run("sleep", "100", Memory=64 << 20)
    before = engine.status(made)["Pid"]
    engine.client.call("POST", f"/containers/{made}/update", {"Memory": 32 << 20, "MemorySwap": 64 << 20, "PidsLimit": 9})
    assert setting(engine, made, "memory", "memory.limit_in_bytes") == str(32 << 20)
    assert setting(engine, made, "pids", "pids.max") == "9"
    engine.client.call("POST", f"/containers/{made}/update", {"Memory": 256 << 20, "MemorySwap": -1, "NanoCpus": 500_000_000})
    assert setting(engine, made, "memory", "memory.limit_in_bytes") == str(256 << 20)
    assert setting(engine, made, "cpu", "cpu.cfs_quota_us") == "50000"
    shown = engine.inspect(made)
    assert (shown["State"]["Pid"], shown["HostConfig"]["Memory"], shown["HostConfig"]["NanoCpus"]) == (
        before,
        256 << 20,
        500_000_000,
    )


def test_changed_limits_hold_for_the_next_start(engine: Engine) -> None:
    made = engine.create("sleep", "100", Memory=64 << 20)
    engine.client.call("POST", f"/containers/{made}/update", {"Memory": 32 << 20, "MemorySwap": 32 << 20})
    engine.start_container(made)
    assert setting(engine, made, "memory", "memory.limit_in_bytes") == str(32 << 20)


def test_a_limit_that_the_kernel_refuses_changes_nothing(engine: Engine) -> None:
    made = engine.run("sh", "-c", "head -c 40000000 /dev/zero > /dev/shm/x; echo full; exec sleep 100", Memory=96 << 20)
    until(lambda: "full" in engine.logs(made), "the memory is in use")
    with fails(400) as errors:
        engine.client.call("POST", f"/containers/{made}/update", {"CpusetCpus": "4000"})
    assert "cpuset.cpus" in errors[0].message
    assert engine.inspect(made)["HostConfig"]["CpusetCpus"] == ""


def test_what_an_exec_uses_counts_for_the_container(engine: Engine) -> None:
    made = engine.run("sleep", "100", Memory=16 << 20)
    assert engine.execute(made, "sh", "-c", _EAT).code == 137
    assert engine.status(made)["Running"]


def test_nothing_of_a_containers_cgroup_is_left_when_it_has_ended(engine: Engine) -> None:
    made = engine.run("true")
    engine.wait(made)
    found = list(Path("/sys/fs/cgroup").glob(f"*/gitopsd-{engine.instance}/{made[:12]}"))
    assert found == []
