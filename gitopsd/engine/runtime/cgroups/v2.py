"""Cgroup version 2: one hierarchy (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import os
from typing import Any

from gitopsd.engine.kernel.bpf import Rule, attach_device_program
from gitopsd.engine.runtime.cgroups.layout import Layout
from gitopsd.engine.runtime.cgroups.v1 import write

_CONTROLLERS = ("memory", "cpu", "pids", "io", "cpuset")


def prepare(directory: str) -> None:
    """Let a fresh folder have its parent's controllers; those that the parent does not have stay away."""
    parent = os.path.dirname(directory)
    with open(f"{parent}/cgroup.controllers", encoding="ascii") as file:
        offered = file.read().split()
    for controller in _CONTROLLERS:
        if controller in offered:
            write(f"{parent}/cgroup.subtree_control", f"+{controller}")


def apply(layout: Layout, path: str, resources: dict[str, Any]) -> None:
    """Set what `resources` names, in place."""
    directory = f"{layout.mounts['unified']}/{path}"
    memory, cpu, pids = resources.get("memory", {}), resources.get("cpu", {}), resources.get("pids", {})
    if "limit" in memory:
        limit, swap = memory["limit"], memory.get("swap", -1)
        write(f"{directory}/memory.max", limit if limit > 0 else "max")
        if os.path.exists(f"{directory}/memory.swap.max"):
            write(f"{directory}/memory.swap.max", max(0, swap - limit) if swap > 0 else "max")
    if cpu.get("shares"):
        write(f"{directory}/cpu.weight", weight(cpu["shares"]))
    if "quota" in cpu:
        write(f"{directory}/cpu.max", f"{cpu['quota'] if cpu['quota'] > 0 else 'max'} {cpu.get('period') or 100000}")
    for key in ("cpus", "mems"):
        if cpu.get(key):
            write(f"{directory}/cpuset.{key}", cpu[key])
    if "limit" in pids:
        write(f"{directory}/pids.max", pids["limit"] if pids["limit"] > 0 else "max")


def weight(shares: int) -> int:
    """The weight of version 2 (1 to 10000) for shares of version 1 (2 to 262144), as the OCI runtimes compute it.  [pure]"""
    return 1 + (max(2, min(262144, shares)) - 2) * 9999 // 262142


def restrict_devices(layout: Layout, path: str, rules: list[dict[str, Any]]) -> None:
    """Allow what the rules allow and nothing else."""
    allowed: list[Rule] = []
    for rule in rules:
        if rule["allow"]:
            allowed.append((rule.get("type", "a"), rule.get("major", -1), rule.get("minor", -1), rule.get("access", "rwm")))
        elif rule.get("type", "a") == "a":
            allowed.clear()
    if not rules:
        return
    directory = os.open(f"{layout.mounts['unified']}/{path}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        attach_device_program(directory, allowed)
    finally:
        os.close(directory)


def oom_file(layout: Layout, path: str) -> str:
    return f"{layout.mounts['unified']}/{path}/memory.events"


def processes(layout: Layout, path: str) -> list[int]:
    with open(f"{layout.mounts['unified']}/{path}/cgroup.procs", encoding="ascii") as file:
        return [int(line) for line in file]
