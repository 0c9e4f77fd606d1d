"""A cgroup of its own for each lab host, in every hierarchy that this machine has.

In: the id of a lab and the names of its hosts.  Out: their folders, which `enter.py` joins before it makes namespaces.

Rule: what belongs to a lab is found by these folders, not by remembered process ids, so that a lab whose maker was killed
half way can still be taken down.

A host's cgroup is the root of its cgroup namespace. In version 2 such a root may hold either processes or controllers for its
children, so `settle` moves the host's first processes to a child.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup hierarchy."""

    mountpoint: str
    version: int
    options: str
    """What `mount -o` needs to mount the same one again: `cpu,cpuacct` or `none,name=systemd`; empty for version 2."""


def read_hierarchies() -> tuple[Hierarchy, ...]:
    return parse_hierarchies(Path("/proc/self/mountinfo").read_text())


def parse_hierarchies(mountinfo: str) -> tuple[Hierarchy, ...]:
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        mountpoint = before.split()[4]
        kind, _, super_options = after.split(" ", 2)
        if not mountpoint.startswith("/sys/fs/cgroup"):
            continue
        if kind == "cgroup2":
            found[mountpoint] = Hierarchy(mountpoint, 2, "")
        elif kind == "cgroup":
            wanted = [word for word in super_options.split(",") if word not in ("rw", "ro", "xattr")]
            if any(word.startswith("name=") for word in wanted):
                wanted.insert(0, "none")
            found[mountpoint] = Hierarchy(mountpoint, 1, ",".join(wanted))
    return tuple(found.values())


def parent_name(lab_id: str) -> str:
    return f"gitopsd-lab-{lab_id}"


def make(lab_id: str, host: str) -> list[Path]:
    """Make the cgroups of one host and return their folders, one for each hierarchy."""
    folders: list[Path] = []
    for hierarchy in read_hierarchies():
        root = Path(hierarchy.mountpoint)
        parent = root / parent_name(lab_id)
        folder = parent / host
        for upper, lower in ((root, parent), (parent, folder)):
            if hierarchy.version == 2:
                _enable_controllers(upper)
            lower.mkdir(exist_ok=True)
            # a cpuset starts empty, and nothing can join it until it has been given something
            for knob in ("cpuset.cpus", "cpuset.mems"):
                if hierarchy.version == 1 and (lower / knob).exists() and not (lower / knob).read_text().strip():
                    (lower / knob).write_text((upper / knob).read_text())
        folders.append(folder)
    return folders


def settle(folders: list[Path], pids: list[int]) -> None:
    """Once the namespaces are made: leave their root in version 2, so that the host can give controllers to its cgroups."""
    for folder in folders:
        if (folder / "cgroup.controllers").exists():
            (folder / "init").mkdir(exist_ok=True)
            for pid in pids:
                (folder / "init/cgroup.procs").write_text(str(pid))
            _enable_controllers(folder)


def _enable_controllers(folder: Path) -> None:
    for controller in (folder / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):  # one that cannot be had here (cpu with realtime tasks) is not had
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def kill(lab_id: str, host: str = "") -> None:
    """End every process of a lab, or of one of its hosts. Returns when none is left."""
    deadline = time.monotonic() + 20
    while processes := _processes(lab_id, host):
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                try:
                    if pid in _processes(lab_id, host):  # not a stranger who got the number meanwhile
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {sorted(processes)} of lab {lab_id} do not end")
        time.sleep(0.02)


def remove(lab_id: str, host: str = "") -> None:
    """Remove the cgroups of a lab, or of one host, in which no process is left."""
    for top in _tops(lab_id, host):
        folders = [Path(path) for path, _, _ in os.walk(top, topdown=False)]
        for folder in folders:
            for _ in range(100):  # the kernel lets go of a cgroup a moment after its last process
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.02)
                else:
                    break


def _tops(lab_id: str, host: str) -> list[Path]:
    tops = [Path(hierarchy.mountpoint) / parent_name(lab_id) / host for hierarchy in read_hierarchies()]
    return [top for top in tops if top.is_dir()]


def _processes(lab_id: str, host: str) -> set[int]:
    found: set[int] = set()
    for top in _tops(lab_id, host):
        for path, _, _ in os.walk(top):
            with contextlib.suppress(OSError):
                found.update(int(word) for word in (Path(path) / "cgroup.procs").read_text().split() if word != "0")
    return found
