"""Starting, stopping and ending of one container.

Rule 1: all changes of what runs happen under the container's lock.
Rule 2: what is asked (`should_run`) is durable before anything is done about it, and before the caller gets its answer.
Rule 3: an end is handled once, by `_on_end`, whether the monitor told of it, was lost, or had gone when the daemon started.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import json
import logging
import os
import secrets
import signal
import socket
import time
from typing import Any, Callable, Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.signals import signal_number
from gitopsd.dockerapi.values import Json
from gitopsd.engine.daemon import expect, restart, spec
from gitopsd.engine.daemon.connections import Connections
from gitopsd.engine.daemon.container import Container
from gitopsd.engine.daemon.healthcheck import HealthChecks
from gitopsd.engine.daemon.monitorlink import MonitorError, MonitorGone, MonitorLink
from gitopsd.engine.daemon.mounts import Mounts
from gitopsd.engine.daemon.store import ContainerStore
from gitopsd.engine.events.changes import Changes
from gitopsd.engine.kernel import process
from gitopsd.engine.paths.records import read_record
from gitopsd.engine.runtime import messages
from gitopsd.engine.runtime.cgroups import Cgroups
from gitopsd.engine.runtime.cgroups.systemd import start_scope
from gitopsd.engine.runtime.launcher import Launcher

_log = logging.getLogger(__name__)

LOST_EXIT_CODE = 137
_STOP_TIMEOUT_S = 10
_KILL_WAIT_S = 30


class Lifecycle:
    """The verbs that change what runs. `forget` is called when a container with AutoRemove has ended."""

    def __init__(
        self,
        data_root: str,
        exec_root: str,
        store: ContainerStore,
        launcher: Launcher,
        cgroups: Cgroups,
        connections: Connections,
        mounts: Mounts,
        health: HealthChecks,
        changes: Changes,
    ) -> None:
        self._layers = os.path.join(data_root, "layers")
        self._exec_root = exec_root
        self._store = store
        self._launcher = launcher
        self._cgroups = cgroups
        self._connections = connections
        self._mounts = mounts
        self._health = health
        self._changes = changes
        self.forget: Callable[[Container], Any] = lambda container: None
        self._target = os.path.join(exec_root, "root")
        os.makedirs(self._target, 0o700, exist_ok=True)

    # verbs

    async def start(self, container: Container) -> bool:
        """Start; False when it runs already. Raises ApiError, and then nothing of it is left."""
        async with container.lock:
            if container.state in ("running", "restarting"):
                return False
            self._refuse_removed(container)
            await self._begin(container, await self._ask_to_run(container))
            return True

    async def stop(self, container: Container, timeout_s: Optional[float] = None, signal_name: str = "") -> bool:
        """Stop with the stop signal, then SIGKILL; False when nothing runs."""
        number = self.stop_signal(container, signal_name)
        async with container.lock:
            if not await self._leave(container):
                return False
            await self._stop(container, timeout_s, number)
            return True

    async def end_at_once(self, container: Container) -> None:
        """SIGKILL, though another call may hold the lock, which waits for an end that never comes."""
        expect.check(container.id, container.generation)
        if container.is_running:
            container.stopping_by_user = True
            with contextlib.suppress(ApiError):
                await self._signal(container, signal.SIGKILL)

    async def restart(self, container: Container, timeout_s: Optional[float] = None, signal_name: str = "") -> None:
        """Stop and start as one thing: if this daemon dies in between, the next one starts it."""
        number = self.stop_signal(container, signal_name)
        async with container.lock:
            self._refuse_removed(container)
            was = container.state
            run = await self._ask_to_run(container)
            container.is_kept = container.stopping_by_user = True
            try:
                if was == "running":
                    await self._stop(container, timeout_s, number)
            finally:
                container.is_kept = False
            await self._begin(container, run)

    async def kill(self, container: Container, number: int) -> None:
        """Send a signal to the first process; one that ends it by our hand also ends the restart policy."""
        if container.state == "restarting":
            async with container.lock:
                await self._leave(container)
                return
        if not container.is_running or container.monitor is None:
            raise ApiError(409, f"cannot kill container: {container.name}: container {container.name} is not running")
        if number in (signal.SIGKILL, self.stop_signal(container)):
            container.stopping_by_user = True
            await self.ask(container, should_run=False)
        await self._signal(container, number)
        if number == signal.SIGKILL:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(container.ended.wait(), _KILL_WAIT_S)

    async def update_resources(self, container: Container) -> None:
        """Apply the limits of the (already changed) record to what runs."""
        if container.is_running:
            await asyncio.to_thread(self._cgroups.update, container.id12, spec.resources(container.host_config))

    async def ask(self, container: Container, **fields: Any) -> None:
        """Change the record; durable when it returns, and one generation on."""
        expect.check(container.id, container.generation)
        await self._save(container, 1, **fields)

    async def _save(self, container: Container, generations: int, **fields: Any) -> None:
        async with container.saving:
            changed = {**container.record, **fields, "generation": container.generation + generations}
            await asyncio.to_thread(self._store.save, changed)
            container.record = changed
        self._changes.bump()

    def stop_signal(self, container: Container, asked: str = "") -> int:
        """What was asked for, or ApiError 400; else what the record says: whatever that is, a container can be stopped."""
        if asked:
            return signal_number(asked)
        try:
            return signal_number(container.config["StopSignal"] or spec.DEFAULT_SIGNAL)
        except (ApiError, AttributeError):
            return signal.SIGTERM

    # starting

    def _refuse_removed(self, container: Container) -> None:
        if container.state in ("removing", "dead"):
            raise ApiError(409, f"start container {container.name}: container is marked for removal")

    async def _ask_to_run(self, container: Container) -> str:
        """Say that it should run; the name of the run."""
        run = secrets.token_hex(8)
        await self.ask(container, should_run=True, run=run, boot=boot_id())
        return run

    async def _begin(self, container: Container, run: str) -> None:
        container.stopping_by_user = False
        container.restarts, container.delay_s = 0, 0.0
        container.run, container.error = run, ""
        try:
            await self._launch(container)
        except BaseException as error:
            error = await self._explained(container, error)
            container.error = str(error)
            if not isinstance(error, ApiError):
                container.exit_code = _code_of(error)
            await self._clean(container)
            await self._save(container, 0, should_run=False)
            container.state = "exited" if container.state == "restarting" else container.state
            self.forget_run(container)
            container.mark_ended()
            if container.host_config["AutoRemove"]:
                self.forget(container)
            if isinstance(error, (MonitorError, MonitorGone, OSError)):
                raise ApiError(_status_of(error), f"start container {container.name}: {error}") from error
            raise

    async def _explained(self, container: Container, error: BaseException) -> BaseException:
        """What a monitor that ended before it could be asked had to say: that is on disk."""
        if not isinstance(error, MonitorGone):
            return error
        end = await asyncio.to_thread(self.read_end, container, container.run)
        return MonitorError({"error": "setup-failed", "message": end["error"]})

    def warm(self) -> None:
        """A start or an exec is about to come: what the kernel takes long for begins now."""
        asyncio.get_running_loop().run_in_executor(None, self._cgroups.warm)

    async def _launch(self, container: Container) -> None:
        container.settled.clear()
        try:
            await self._launch_unsettled(container)
        finally:
            container.settled.set()

    async def _launch_unsettled(self, container: Container) -> None:
        self.warm()
        folder = self._store.path(container.id)
        await self._connections.allocate(container)
        mounts = await self._mounts.prepare(container)
        etc = await asyncio.to_thread(self._connections.write_etc, container, folder)
        config = spec.runtime_config(
            container.id, container.config, container.host_config, mounts, etc, self._target,
            self._cgroups.path(container.id12), self._cgroups.layout.version == 2,
        )  # fmt: skip
        if container.host_config["MaskedPaths"] is None:
            config["linux"]["maskedPaths"] = [*config["linux"]["maskedPaths"], *thermal_folders("/sys")]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ready: asyncio.Future[tuple[messages.Message, list[int]]] = asyncio.get_running_loop().create_future()
        monitor = MonitorLink(ours, self._listener(container, container.run, ready))
        container.monitor = monitor
        try:
            await asyncio.to_thread(self._fork_monitor, container, config, theirs)
        finally:
            theirs.close()
        message, descriptors = await ready
        container.pid, container.pidfd, sockets = message["pid"], descriptors[0], dict(zip(message["sockets"], descriptors[1:]))
        await self._connections.attach(container, sockets)
        await monitor.ask("watch")
        self.keep(container)
        answer = await monitor.ask("start")
        container.started = answer["started"]
        await self._connections.publish(container)
        self.keep(container)
        self._health.start(container)
        container.state = "running"
        container.oom_killed, container.exit_code, container.finished = False, 0, 0
        container.ended.clear()
        container.running.set()
        self._changes.bump()

    def _fork_monitor(self, container: Container, config: Json, sock: socket.socket) -> None:
        """Write the bundle, make the cgroup, fork. In a thread: it is all file work."""
        folder = self._store.path(container.id)
        with open(os.path.join(folder, "bundle", "config.json"), "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(config, file)
        needs_scope = self._cgroups.needs_scope
        monitor, payload = ([], []) if needs_scope else self._cgroups.create(container.id12, config["linux"]["resources"])
        specification: Json = {
            "id": container.id,
            "run": container.run,
            "socket": os.path.join(self._exec_root, "m", container.id12),
            "layers": self._layers,
            "overlay": {"lower": container.record["layers"], "upper": f"{folder}/upper", "work": f"{folder}/work"},
            "oci": json.dumps(config),
            "cgroup": {"monitor": monitor, "payload": payload},
            "log": f"{folder}/log",
            "exit": f"{folder}/exit.json",
            "oom": self._cgroups.oom_file(container.id12),
            "stdin": container.config["OpenStdin"],
            "wait": needs_scope,
        }
        pid = self._launcher.launch("monitor", specification, [sock.fileno()])
        if needs_scope:
            start_scope(self._cgroups.scope(container.id12), self._cgroups.slice_name, pid, f"gitopsd container {container.name}")
            monitor, payload = self._cgroups.create(container.id12, config["linux"]["resources"], pid)
            if container.monitor is not None:
                container.monitor.post({"op": "go", "monitor": monitor, "payload": payload})

    def _listener(
        self, container: Container, run: str, ready: asyncio.Future[tuple[messages.Message, list[int]]]
    ) -> Callable[[messages.Message, list[int]], None]:
        """Hears a monitor's events: first that the container is prepared, then how it ended; that the monitor has gone after that is no other end."""
        is_over = False

        def hear(message: messages.Message, descriptors: list[int]) -> None:
            nonlocal is_over
            if not ready.done():
                if message.get("event") == "ready":
                    ready.set_result((message, descriptors))
                else:
                    ready.set_exception(MonitorGone() if message.get("event") == "gone" else MonitorError(message))
            elif not is_over and container.run == run and message.get("event") in ("exit", "gone"):
                is_over = True
                end = message if message["event"] == "exit" else None
                self.spawn(container, self._on_end(container, run, end))

        return hear

    async def adopted(self, container: Container, path: str) -> None:
        """A container that an earlier daemon started runs: listen to its monitor, take its sockets, go on checking it."""
        ready: asyncio.Future[tuple[messages.Message, list[int]]] = asyncio.get_running_loop().create_future()
        ready.set_result(({}, []))
        container.monitor = MonitorLink.dial(path, self._listener(container, container.run, ready))
        await container.monitor.ask("watch")
        if container.record["run"] != container.run:  # the last daemon was about to restart it and did not
            await self._save(container, 0, run=container.run)
        await self._connections.adopt(container)
        self._health.start(container)
        container.running.set()

    def keep(self, container: Container) -> None:
        """What a later daemon must know of a container that runs, or is about to again, and cannot read elsewhere.

        Gone after a reboot, as is the container. As long as it is there the restart policy has a say (`forget_run`).
        """
        kept = {"run": container.run, "started": container.started, "endpoints": container.endpoints, "ports": container.ports,
                "restarts": container.restarts, "delay_s": container.delay_s, "health": container.health}  # fmt: skip
        path = self._kept(container)
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            json.dump(kept, file)
        os.rename(path + ".tmp", path)

    def forget_run(self, container: Container) -> None:
        """The run is over, and no other follows by itself."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._kept(container))

    def _kept(self, container: Container) -> str:
        return os.path.join(self._exec_root, "c", f"{container.id12}.json")

    # ending

    async def _leave(self, container: Container) -> bool:
        """Say that it should not run, and cancel a restart that waits; True when something runs."""
        if container.state not in ("running", "restarting"):
            return False
        container.stopping_by_user = True
        await self.ask(container, should_run=False)
        if container.state == "restarting":
            container.state = "exited"
            self.forget_run(container)
            self._changes.bump()
            return False
        return True

    async def _stop(self, container: Container, timeout_s: Optional[float], number: int) -> None:
        if timeout_s is None:
            configured: Optional[int] = container.config["StopTimeout"]
            timeout_s = float(_STOP_TIMEOUT_S if configured is None else configured)
        if timeout_s != 0:
            with contextlib.suppress(ApiError):
                await self._signal(container, number)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(container.ended.wait(), None if timeout_s < 0 else timeout_s)
        if not container.ended.is_set():
            with contextlib.suppress(ApiError):
                await self._signal(container, signal.SIGKILL)
            try:
                await asyncio.wait_for(container.ended.wait(), _KILL_WAIT_S)
            except asyncio.TimeoutError:
                raise ApiError(
                    500, f"stop container {container.name}: it does not end, its processes hang in the kernel"
                ) from None

    async def _signal(self, container: Container, number: int) -> None:
        try:
            if container.monitor is None:
                raise MonitorGone
            await container.monitor.ask("signal", signal=number)
        except (MonitorError, MonitorGone) as error:
            if not container.is_running:
                return
            raise ApiError(500, f"kill container {container.name}: {error or 'its monitor does not answer'}") from error

    async def _on_end(self, container: Container, run: str, end: Optional[Json]) -> None:
        """The container's program has ended. `end` None: the monitor has gone without a word."""
        await container.settled.wait()
        if container.run != run or container.state != "running":
            return
        if end is None:
            with contextlib.suppress(OSError):  # a program that changed its user has not died with its monitor
                process.pidfd_signal(container.pidfd, signal.SIGKILL)
            end = await asyncio.to_thread(self.read_end, container, run)
        container.pid, container.finished = 0, end["finished"]
        container.exit_code, container.oom_killed, container.error = end["exit_code"], end["oom_killed"], end["error"]
        await self._clean(container)
        ran_s = max(0.0, (container.finished - container.started) / 1e9)
        policy = container.host_config["RestartPolicy"]
        again = restart.should_restart(policy, container.exit_code, container.stopping_by_user, container.restarts)
        container.state = "restarting" if again else "exited"
        container.mark_ended()
        self._changes.bump()
        if again:
            container.delay_s = restart.next_delay(container.delay_s, ran_s)
            self.spawn(container, self.start_again(container, container.delay_s))
            return
        self.forget_run(container)
        if container.host_config["AutoRemove"] and not container.is_kept:
            self.forget(container)

    def read_end(self, container: Container, run: str) -> Json:
        """How a run ended that nobody told us about: its exit.json, or 137 (docs/monitor-protocol.md, "Adoption")."""
        try:
            end = read_record(self._store.path(container.id, "exit.json"))
        except ValueError:
            end = None
        if end is not None and end.get("run") == run:
            return end
        return {"run": run, "exit_code": LOST_EXIT_CODE, "finished": time.time_ns(), "oom_killed": False, "error": "monitor-lost"}

    async def start_again(self, container: Container, delay_s: float) -> None:
        """Restart after a pause, unless somebody decided otherwise meanwhile; a start that fails counts as an end."""
        await asyncio.sleep(delay_s)
        async with container.lock:
            if container.state != "restarting":
                return
            container.restarts += 1
            try:
                container.run = secrets.token_hex(8)
                await self._save(container, 0, run=container.run)
                await self._launch(container)
            except Exception as failure:  # noqa: BLE001  whatever it was, the policy goes on
                error = await self._explained(container, failure)
                _log.warning("restart of %s failed: %s", container.name, error)
                await self._clean(container)
                container.error, container.exit_code, container.finished = str(error), _code_of(error), time.time_ns()
                policy = container.host_config["RestartPolicy"]
                again = restart.should_restart(policy, container.exit_code or 1, container.stopping_by_user, container.restarts)
                container.state = "restarting" if again else "exited"
                container.delay_s = restart.next_delay(container.delay_s, 0)
                self._changes.bump()
                if again:
                    self.keep(container)
                    self.spawn(container, self.start_again(container, container.delay_s))
                else:
                    self.forget_run(container)

    async def _clean(self, container: Container) -> None:
        """Let go of everything that a run had; safe to call for one that got half way."""
        container.running.clear()
        self._health.stop(container)
        if container.monitor is not None:
            if container.state != "running":
                await give_up(container.monitor)
            container.monitor.close()
            container.monitor = None
        if container.pidfd >= 0:
            os.close(container.pidfd)
            container.pidfd = -1
        await self._connections.release(container)
        container.endpoints, container.ports, container.pid = {}, {}, 0
        await self._remove_cgroup(container.id12)

    async def _remove_cgroup(self, id12: str) -> None:
        """The cgroup goes when its last process has gone, which takes the kernel a moment."""
        for pause_s in (0.001, 0.005, 0.02, 0.1, 0.5):
            if await asyncio.to_thread(self._cgroups.remove, id12):
                return
            await asyncio.sleep(pause_s)
        _log.warning("cgroup of %s is not empty", id12)

    def spawn(self, container: Container, work: Any) -> None:
        task = asyncio.ensure_future(work)
        container.tasks.add(task)
        task.add_done_callback(container.tasks.discard)


async def give_up(monitor: MonitorLink) -> None:
    """End a container whose start failed, whether its program has begun or not."""
    try:
        await monitor.ask("abort")
    except (MonitorError, MonitorGone):
        with contextlib.suppress(MonitorError, MonitorGone):
            await monitor.ask("signal", signal=int(signal.SIGKILL))


def thermal_folders(sysfs: str) -> list[str]:
    """Counters of how warm each processor was, in which others can be heard working (masked as Docker does since 28.0.2)."""
    folders = glob.glob(f"{sysfs}/devices/system/cpu/cpu[0-9]*/thermal_throttle")
    return sorted("/sys" + folder[len(sysfs) :] for folder in folders)


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _code_of(error: BaseException) -> int:
    """The exit code of a container whose program could not be run, as a shell gives it."""
    if isinstance(error, MonitorError) and error.answer["error"] == "exec-failed":
        return 127 if error.answer.get("errno") == 2 else 126
    return 128


def _status_of(error: BaseException) -> int:
    return 400 if isinstance(error, MonitorError) and error.answer["error"] == "exec-failed" else 500
