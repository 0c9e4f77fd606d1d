"""When a daemon starts: find out what runs, what has ended meanwhile, and finish what the last daemon began.

A running container is recognised by its monitor's answer and a pidfd that is not readable (docs/monitor-protocol.md, "Adoption"); nothing
about it is touched. Everything else is decided from the record (what was asked), `c/<id12>.json` (what ran) and `exit.json` (how it ended).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import time
from typing import Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json
from gitopsd.engine.daemon import restart
from gitopsd.engine.daemon.container import Container
from gitopsd.engine.daemon.lifecycle import LOST_EXIT_CODE, Lifecycle, boot_id, give_up
from gitopsd.engine.daemon.monitorlink import MonitorError, MonitorGone, MonitorLink
from gitopsd.engine.daemon.store import ContainerStore
from gitopsd.engine.paths.records import read_record
from gitopsd.engine.runtime import messages
from gitopsd.engine.runtime.cgroups import Cgroups

_log = logging.getLogger(__name__)

_RUNS, _PREPARED, _GONE = "runs", "prepared", "gone"
_ANSWER_WAIT_S = 30
"""A disk that stalls holds a monitor up for seconds; a container must not die of it."""


async def adopt(
    lifecycle: Lifecycle, store: ContainerStore, cgroups: Cgroups, exec_root: str, containers: list[Container]
) -> None:
    """Bring each container to the state that it has, then do what its restart policy says, side by side."""
    await asyncio.gather(*(_adopt_one(lifecycle, store, exec_root, container) for container in containers))
    known = {container.id12 for container in containers if container.is_running}
    for id12 in await asyncio.to_thread(cgroups.containers):
        if id12 not in known:
            await _sweep(cgroups, id12)


async def start_wanted(lifecycle: Lifecycle, containers: list[Container]) -> None:
    """Start what should run and does not: after a boot by its policy, within a boot what the last daemon was about to start."""
    boot = boot_id()
    for container in sorted(containers, key=lambda container: container.record["created"]):
        if container.state == "restarting":
            lifecycle.spawn(container, lifecycle.start_again(container, container.delay_s))
        if container.state not in ("created", "exited"):
            continue
        record = container.record
        policy = container.host_config["RestartPolicy"]
        if record.get("boot") == boot:
            wanted = record["should_run"] and container.run != record["run"]  # asked for, and never run
        else:
            wanted = restart.should_start_at_boot(policy, record["should_run"], container.exit_code)
        if wanted:
            lifecycle.spawn(container, _start(lifecycle, container))
        elif container.state == "exited" and container.host_config["AutoRemove"]:
            lifecycle.forget(container)


async def _start(lifecycle: Lifecycle, container: Container) -> None:
    try:
        await lifecycle.start(container)
    except ApiError as error:
        _log.warning("%s", error.message)
        if container.host_config["RestartPolicy"]["Name"] in ("always", "unless-stopped"):
            # a port or a disk that is not there yet after a boot: the policy's back-off goes on trying
            container.state, container.delay_s = "restarting", restart.FIRST_S
            await lifecycle.start_again(container, container.delay_s)


async def _adopt_one(lifecycle: Lifecycle, store: ContainerStore, exec_root: str, container: Container) -> None:
    try:
        await _find_out(lifecycle, store, exec_root, container)
    except OSError as error:
        _log.error("container %s cannot be read: %s", container.name, error)
        container.state, container.error = "dead", str(error)


async def _find_out(lifecycle: Lifecycle, store: ContainerStore, exec_root: str, container: Container) -> None:
    kept: Optional[Json] = await asyncio.to_thread(_read, os.path.join(exec_root, "c", f"{container.id12}.json"))
    end: Optional[Json] = await asyncio.to_thread(_read, store.path(container.id, "exit.json"))
    if end is not None:
        _take_end(container, end)
    found = await _join(lifecycle, container, os.path.join(exec_root, "m", container.id12), kept)
    if found == _RUNS:
        return
    if found == _PREPARED and kept is not None and kept["restarts"] and container.record["should_run"]:
        # a restart by the policy, of which nothing has happened: it is made again, and counted once
        container.restarts = kept["restarts"] - (kept["run"] == container.record["run"])
        container.delay_s, container.state = kept["delay_s"], "restarting"
    elif found == _PREPARED:  # nothing of this run has happened: `start_wanted` begins it anew
        lifecycle.forget_run(container)
    elif kept is not None:
        if container.run != kept["run"]:
            _take_end(container, await asyncio.to_thread(lifecycle.read_end, container, kept["run"]))
            container.started = container.started or kept["started"]
        container.restarts, container.delay_s = kept["restarts"], kept["delay_s"]
        _apply_policy(lifecycle, container)
    elif container.record["should_run"] and container.record.get("boot") != boot_id():
        # it ran when the machine went down
        _take_end(container, {"run": container.record["run"], "exit_code": LOST_EXIT_CODE, "started": container.started,
                              "finished": container.finished or time.time_ns(), "oom_killed": False, "error": "the machine went down"})  # fmt: skip


def _apply_policy(lifecycle: Lifecycle, container: Container) -> None:
    """It ended while no daemon was there. What is to start again does so when all the rest is in its place (`start_wanted`)."""
    policy = container.host_config["RestartPolicy"]
    asked_to_stop = not container.record["should_run"]
    if restart.should_restart(policy, container.exit_code, asked_to_stop, container.restarts):
        container.state = "restarting"
        container.delay_s = restart.next_delay(container.delay_s, (container.finished - container.started) / 1e9)
        return
    lifecycle.forget_run(container)


def _take_end(container: Container, end: Json) -> None:
    container.state, container.run = "exited", end.get("run", "")
    container.exit_code, container.oom_killed, container.error = end["exit_code"], end["oom_killed"], end["error"]
    container.started, container.finished = end.get("started", 0), end["finished"]


async def _join(lifecycle: Lifecycle, container: Container, path: str, kept: Optional[Json]) -> str:
    """Connect to the monitor of a container that runs. One that was only prepared is ended, as is one that does not answer."""
    try:
        monitor = MonitorLink.dial(path, lambda message, descriptors: messages.close_all(descriptors))
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return _GONE
    try:
        answer, descriptors = await asyncio.wait_for(monitor.ask_for("hello"), _ANSWER_WAIT_S)
    except asyncio.TimeoutError:
        _log.error("the monitor of container %s does not answer: it is ended, and the container with it", container.name)
        with contextlib.suppress(OSError):
            os.kill(monitor.peer, signal.SIGKILL)
        monitor.close()
        return _GONE
    except (MonitorGone, MonitorError):
        monitor.close()
        return _GONE
    pidfd = descriptors[0]
    if answer["state"] != "running" or kept is None or kept["run"] != answer["run"] or _has_ended(pidfd):
        await give_up(monitor)
        await _wait_end(pidfd)
        os.close(pidfd)
        monitor.close()
        return _PREPARED if answer["state"] == "created" else _GONE
    container.run, container.pid, container.pidfd = answer["run"], answer["pid"], pidfd
    container.started, container.state = answer["started"], "running"
    container.exit_code, container.finished, container.error, container.oom_killed = 0, 0, "", False
    container.endpoints, container.ports, container.health = kept["endpoints"], kept["ports"], kept["health"]
    container.restarts, container.delay_s = kept["restarts"], kept["delay_s"]
    container.stopping_by_user = not container.record["should_run"]
    container.ended.clear()
    monitor.close()
    await lifecycle.adopted(container, path)
    return _RUNS


async def _wait_end(pidfd: int) -> None:
    for pause_s in (0.0, 0.01, 0.05, 0.2, 1.0, 5.0):
        await asyncio.sleep(pause_s)
        if _has_ended(pidfd):
            return


def _has_ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 0)[0])


async def _sweep(cgroups: Cgroups, id12: str) -> None:
    """A cgroup without a container of ours that runs: what is in it has lost its monitor and goes."""
    for pause_s in (0.0, 0.01, 0.1, 0.5, 1.0, 3.0):
        await asyncio.sleep(pause_s)
        with contextlib.suppress(OSError):
            for pid in await asyncio.to_thread(cgroups.processes, id12):  # each time: one that was forking has left a child
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if await asyncio.to_thread(cgroups.remove, id12):
            return
    _log.warning("cgroup of %s is not empty", id12)


def _read(path: str) -> Optional[Json]:
    try:
        return read_record(path)
    except ValueError:
        return None
