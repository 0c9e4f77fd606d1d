"""Cgroup version 1: a hierarchy for each controller (Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

import os
from typing import Any

from gitopsd.engine.runtime.cgroups.layout import Layout


def write(path: str, value: object) -> None:
    """Write a file of a cgroup; an OSError names it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, str(value).encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(descriptor)


def prepare(directory: str) -> None:
    """A fresh cpuset takes no process until it has processors and memory nodes: those of its parent."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if os.path.exists(f"{directory}/{name}"):
            with open(f"{os.path.dirname(directory)}/{name}", encoding="ascii") as file:
                write(f"{directory}/{name}", file.read().strip())


def apply(layout: Layout, path: str, resources: dict[str, Any]) -> None:
    """Set what `resources` names, in place."""
    memory, cpu, pids = resources.get("memory", {}), resources.get("cpu", {}), resources.get("pids", {})
    if "limit" in memory:
        _limit_memory(f"{layout.mounts['memory']}/{path}", memory["limit"], memory.get("swap", -1))
    for key, controller, name in (
        ("shares", "cpu", "cpu.shares"),
        ("period", "cpu", "cpu.cfs_period_us"),
        ("quota", "cpu", "cpu.cfs_quota_us"),
        ("cpus", "cpuset", "cpuset.cpus"),
        ("mems", "cpuset", "cpuset.mems"),
    ):
        if cpu.get(key) not in (None, ""):
            write(f"{layout.mounts[controller]}/{path}/{name}", cpu[key])
    if "limit" in pids:
        write(f"{layout.mounts['pids']}/{path}/pids.max", pids["limit"] if pids["limit"] > 0 else "max")


def _limit_memory(directory: str, limit: int, swap: int) -> None:
    """The limit with swap may never be below the one without, so which goes first depends on the direction."""
    wanted = [("memory.limit_in_bytes", limit), ("memory.memsw.limit_in_bytes", swap)]
    names = [(name, value) for name, value in wanted if os.path.exists(f"{directory}/{name}")]
    if len(names) == 2:
        with open(f"{directory}/memory.memsw.limit_in_bytes", encoding="ascii") as file:
            if limit < 0 or limit > int(file.read()):
                names.reverse()
    for name, value in names:
        write(f"{directory}/{name}", value)


def restrict_devices(layout: Layout, path: str, rules: list[dict[str, Any]]) -> None:
    """Allow what the rules allow and nothing else; the first rule denies all."""
    if "devices" not in layout.mounts:
        return
    directory = f"{layout.mounts['devices']}/{path}"
    for rule in rules:
        kind = rule.get("type", "a")
        major, minor = (str(rule[key]) if rule.get(key, -1) >= 0 else "*" for key in ("major", "minor"))
        name = "devices.allow" if rule["allow"] else "devices.deny"
        write(f"{directory}/{name}", "a" if kind == "a" else f"{kind} {major}:{minor} {rule.get('access', 'rwm')}")


def oom_file(layout: Layout, path: str) -> str:
    return f"{layout.mounts['memory']}/{path}/memory.oom_control"


def processes(layout: Layout, path: str) -> list[int]:
    with open(f"{layout.mounts['pids']}/{path}/cgroup.procs", encoding="ascii") as file:
        return [int(line) for line in file]
