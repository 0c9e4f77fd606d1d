"""Where the cgroup hierarchies are mounted.  [pure]"""

from __future__ import annotations

from typing import Optional

USED = ("memory", "cpu", "cpuacct", "pids", "devices", "freezer", "blkio", "cpuset")
"""Controllers that a container gets a folder in, with version 1."""


class Layout:
    """`version` 1: `mounts` has a folder for each controller. `version` 2: one folder, under the name `unified`.

    `others`: hierarchies beside those of version 1 in which a container stays where its monitor is, by what /proc/<pid>/cgroup calls them.
    """

    def __init__(self, version: int, mounts: dict[str, str], others: Optional[dict[str, str]] = None) -> None:
        self.version = version
        self.mounts = mounts
        self.others = others or {}

    @property
    def roots(self) -> list[str]:
        """Each hierarchy once (cpu and cpuacct may share one)."""
        return sorted(set(self.mounts.values()))


def detect(mountinfo: str) -> Layout:
    """Read /proc/self/mountinfo; raises LookupError where no hierarchy with controllers is mounted."""
    version1: dict[str, str] = {}
    others: dict[str, str] = {}
    unified = ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        place = left.split()[4]
        kind, _, options = right.split()[:3]
        if kind == "cgroup":
            used = set(options.split(",")) & set(USED)
            for controller in used:
                version1.setdefault(controller, place)
            for name in options.split(",") if not used else ():
                others.setdefault(name, place)
        elif kind == "cgroup2":
            unified = unified or place
    if {"memory", "pids"} <= set(version1):
        return Layout(1, version1, {**others, "": unified} if unified else others)
    if unified:
        return Layout(2, {"unified": unified})
    raise LookupError("no cgroup hierarchy is mounted: expected cgroup2 or the version 1 controllers below /sys/fs/cgroup")
