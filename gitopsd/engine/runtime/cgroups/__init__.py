"""Limits of containers: cgroup v1, v2, and systemd's scopes, behind one contract.

A container's cgroup has two children, `payload` with the limits and `monitor` (docs/state.md, "Names in the kernel").
Resources are the `linux.resources` of an OCI runtime config. Rule: files are written beneath roots that are arguments, so
tests use a temporary folder.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Optional

from gitopsd.engine.runtime.cgroups import systemd, v1, v2
from gitopsd.engine.runtime.cgroups.layout import Layout, detect

Resources = dict[str, Any]


class Cgroups:
    """The cgroups of one engine's containers, by id12."""

    def __init__(self, instance: str, layout: Layout, has_systemd: bool) -> None:
        self.layout = layout
        self._name = f"gitopsd-{instance}"
        self._own = own_procs(layout)
        self._slice = f"gitopsd.slice/gitopsd-{instance}.slice" if has_systemd else None

    @property
    def needs_scope(self) -> bool:
        """Whether a container's cgroup is a scope, which systemd makes around its monitor (`systemd.start_scope`)."""
        return self._slice is not None

    @property
    def slice_name(self) -> str:
        return f"{self._name}.slice"

    def scope(self, container: str) -> str:
        return f"{self._name}-{container}.scope"

    def path(self, container: str) -> str:
        """The container's cgroup below each hierarchy's mount."""
        if self._slice is not None:
            return f"{self._slice}/{self.scope(container)}"
        return f"{self._name}/{container}"

    def create(self, container: str, resources: Resources, pid: int = 0) -> tuple[list[str], list[str]]:
        """Make both children and set the limits; returns the files that move a process into `monitor` and into `payload`.

        `pid`: a process that is in the container's cgroup itself (a new scope) and goes to `monitor` first, since with version 2 only a
        cgroup without processes gives its controllers to its children.
        """
        path = self.path(container)
        monitor, payload = self._directories(f"{path}/monitor"), self._directories(f"{path}/payload")
        if self.layout.version == 1:  # its memory and tasks are not the daemon's; the rest does not matter and each move costs
            monitor = [f"{self.layout.mounts[controller]}/{path}/monitor" for controller in ("memory", "pids")]
        for directory in monitor:
            self._make(os.path.dirname(directory))
            os.makedirs(directory, 0o755, exist_ok=True)
            if pid:
                v1.write(f"{directory}/cgroup.procs", pid)
        for directory in payload:
            self._make(directory)
        self._backend.apply(self.layout, f"{path}/payload", resources)
        self._backend.restrict_devices(self.layout, f"{path}/payload", resources.get("devices", []))
        return [f"{directory}/cgroup.procs" for directory in monitor], self.payload_files(container)

    def warm(self) -> None:
        """Take the kernel's lock on moving processes now: the first taker waits a grace period (10 ms), those just after it do not.

        Moves this process to where it is. For a thread, while other work goes on.
        """
        with contextlib.suppress(OSError):
            v1.write(self._own, 0)

    def payload_files(self, container: str) -> list[str]:
        """The files that move a process into a running container's `payload`."""
        return [f"{directory}/cgroup.procs" for directory in self._directories(f"{self.path(container)}/payload")]

    def other_files(self, pid: int) -> list[str]:
        """The files that move a process of this one's cgroups to where `pid` is in the hierarchies that nothing is made in (version 1):
        it would see the path to its own from there else."""
        if not self.layout.others:
            return []
        mine, theirs = _cgroups_of("self"), _cgroups_of(str(pid))
        found: list[str] = []
        for controllers, path in theirs.items():
            mount = self.layout.others.get(controllers.split(",")[0])
            if mount is not None and mine.get(controllers) != path:
                found.append(f"{mount}{path.rstrip('/')}/cgroup.procs")
        return found

    def update(self, container: str, resources: Resources) -> None:
        self._backend.apply(self.layout, f"{self.path(container)}/payload", resources)

    def oom_file(self, container: str) -> str:
        """The file in which the kernel counts processes it killed for memory, as lines `oom_kill <n>`."""
        return self._backend.oom_file(self.layout, f"{self.path(container)}/payload")

    def processes(self, container: str) -> list[int]:
        return self._backend.processes(self.layout, f"{self.path(container)}/payload")

    def remove(self, container: str) -> bool:
        """Remove what is left of a container's cgroup; False when a process is still in it."""
        done = True
        for directory in self._directories(self.path(container)):
            for name in (f"{directory}/payload", f"{directory}/monitor", directory):
                try:
                    os.rmdir(name)
                except FileNotFoundError:
                    continue
                except OSError:
                    done = False
        return done

    def containers(self) -> set[str]:
        """The ids of all that have a cgroup here, running or left over."""
        found: set[str] = set()
        for directory in self._directories(self._slice or self._name):
            if os.path.isdir(directory):
                for name in os.listdir(directory):
                    if os.path.isdir(os.path.join(directory, name)):
                        found.add(name[len(self._name) + 1 : -len(".scope")] if name.endswith(".scope") else name)
        return found

    def remove_parent(self) -> None:
        """Remove the engine's own folder, when it holds no container any more."""
        for directory in self._directories(self._name):
            try:
                os.rmdir(directory)
            except OSError:
                continue

    @property
    def _backend(self) -> Any:
        return v1 if self.layout.version == 1 else v2

    def _directories(self, path: str) -> list[str]:
        return [f"{root}/{path}" for root in self.layout.roots]

    def _make(self, directory: str) -> None:
        missing: list[str] = []
        while not os.path.isdir(directory):
            missing.append(directory)
            directory = os.path.dirname(directory)
        for name in reversed(missing):
            try:
                os.mkdir(name, 0o755)
            except FileExistsError:
                continue
            self._backend.prepare(name)


def _cgroups_of(process: str) -> dict[str, str]:
    """Controllers, as /proc names them, to paths; nothing of a process that has gone."""
    try:
        with open(f"/proc/{process}/cgroup", encoding="utf-8") as file:
            return {controllers: path for _, controllers, path in (line.rstrip("\n").split(":", 2) for line in file)}
    except (FileNotFoundError, ProcessLookupError):
        return {}


def own_procs(layout: Layout) -> str:
    """The file that lists the processes of the cgroup that this process is in; empty where that cannot be told."""
    root = layout.mounts.get("memory", layout.mounts.get("unified", ""))
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if (layout.version == 1 and "memory" in controllers.split(",")) or (layout.version == 2 and not controllers):
                return f"{root}{path.rstrip('/')}/cgroup.procs"
    return ""


def open_cgroups(instance: str, use_systemd: Optional[bool] = None) -> Cgroups:
    """The cgroups of this machine as it is set up; `use_systemd` None looks whether systemd is process 1."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        layout = detect(file.read())
    return Cgroups(instance, layout, systemd.is_running() if use_systemd is None else use_systemd)
