"""Further processes in running containers: create, start with its streams, inspect, and the plain `run` that health checks use.

An exec record lives in memory as long as its container runs, as in Docker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator
from typing import Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json, texts
from gitopsd.engine.daemon import spec
from gitopsd.engine.daemon.container import Container
from gitopsd.engine.kernel.process import pidfd_open, pidfd_signal
from gitopsd.engine.runtime import messages
from gitopsd.engine.runtime.cgroups import Cgroups
from gitopsd.engine.runtime.launcher import Launcher

_CHUNK = 65536
_NOT_YET = ("Tty", "Privileged")


class Exec:
    def __init__(self, container: Container, settings: Json) -> None:
        self.id = secrets.token_hex(32)
        self.container = container
        self.settings = settings
        self.pid = 0
        self.exit_code: Optional[int] = None
        self.ended = asyncio.Event()
        self.is_started = False
        self.status: Optional[socket.socket] = None
        self.stdin = -1
        self.outputs: list[tuple[int, int]] = []
        """Stream number and read end of a pipe."""

    def inspect(self) -> Json:
        command = self.settings["Cmd"]
        return {
            "ID": self.id,
            "Running": self.is_started and self.exit_code is None,
            "ExitCode": self.exit_code,
            "ProcessConfig": {
                "tty": False,
                "entrypoint": command[0],
                "arguments": command[1:],
                "privileged": False,
                "user": self.settings["User"],
            },
            "OpenStdin": self.settings["AttachStdin"],
            "OpenStderr": self.settings["AttachStderr"],
            "OpenStdout": self.settings["AttachStdout"],
            "CanRemove": False,
            "ContainerID": self.container.id,
            "DetachKeys": "",
            "Pid": self.pid,
        }


class Execs:
    def __init__(self, launcher: Launcher, cgroups: Cgroups) -> None:
        self._launcher, self._cgroups = launcher, cgroups
        self._execs: dict[str, Exec] = {}

    def create(self, container: Container, body: Json) -> Exec:
        if not container.is_running:
            raise ApiError(409, f"container {container.id} is not running")
        for key in _NOT_YET:
            if body.get(key):
                raise ApiError(501, f"create exec: {key} is not there yet in this engine", "not-there-yet")
        command = texts(body, "Cmd")
        if not command:
            raise ApiError(400, "No exec command specified")
        settings: Json = {
            "Cmd": command,
            "User": body.get("User") or "",
            "WorkingDir": body.get("WorkingDir") or "",
            "Env": texts(body, "Env"),
            **{key: bool(body.get(key)) for key in ("AttachStdin", "AttachStdout", "AttachStderr")},
        }
        made = Exec(container, settings)
        self._execs[made.id] = made
        container.execs.add(made.id)
        return made

    def get(self, name: str) -> Exec:
        if name not in self._execs:
            raise ApiError(404, f"No such exec instance: {name}")
        return self._execs[name]

    def forget(self, container: Container) -> None:
        """The container has ended, and its execs with it."""
        for name in container.execs:
            self._execs.pop(name, None)
        container.execs.clear()

    def check(self, made: Exec) -> None:
        """ApiError 409 when it cannot be started."""
        if made.is_started:
            raise ApiError(409, f"Error: Exec command {made.id} has already run")
        if not made.container.is_running or made.container.pidfd < 0:
            raise ApiError(409, f"container {made.container.id} is not running")

    async def start(self, made: Exec, detach: bool) -> None:
        """Start the program; ApiError when it cannot be run. Without `detach` its pipes wait in `outputs` and `stdin`."""
        self.check(made)
        container = made.container
        made.is_started = True
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        given = [null, null, null]
        if made.settings["AttachStdin"] and not detach:
            given[0], made.stdin = os.pipe()
        for index, stream in ((1, "AttachStdout"), (2, "AttachStderr")):
            if made.settings[stream] and not detach:
                read, given[index] = os.pipe()
                made.outputs.append((index, read))
        passed = [theirs.detach(), *given, os.dup(container.pidfd)]
        ours.setblocking(False)
        made.status = ours
        try:  # shielded: a thread goes on when its caller is cancelled, and closes what it passes on itself
            await asyncio.shield(asyncio.to_thread(self._launch, made, passed, {null, *passed}))
            message = await _receive(ours)
        except BaseException:
            self._give_up(made)
            raise
        if "started" in message:
            made.pid = message["started"]
            container.tasks.add(task := asyncio.ensure_future(self._wait(made)))
            task.add_done_callback(container.tasks.discard)
            return
        made.exit_code = message.get("exit_code", 126)
        self._give_up(made)
        raise ApiError(400 if message["error"] == "exec-failed" else 500, f"exec in {container.name}: {message['message']}")

    def _give_up(self, made: Exec) -> None:
        """Close what was opened for it. What may have been started of it is ended by its outer process, which nobody hears any more."""
        assert made.status is not None
        made.status.close()
        for _, descriptor in made.outputs:
            os.close(descriptor)
        made.outputs.clear()
        if made.stdin >= 0:
            os.close(made.stdin)
            made.stdin = -1

    async def wait(self, made: Exec) -> int:
        await made.ended.wait()
        return made.exit_code or 0

    async def run(self, container: Container, command: list[str], timeout_s: float, limit: int) -> tuple[int, bytes]:
        """Run a command with its output taken; exit code and the first `limit` bytes. Raises asyncio.TimeoutError after killing it.

        Its start counts too: the container can hold that up.
        """
        made = self.create(container, {"Cmd": command, "AttachStdout": True, "AttachStderr": True})
        kept = bytearray()
        try:
            return await asyncio.wait_for(self._collect(made, kept, limit), timeout_s), bytes(kept)
        except asyncio.TimeoutError:
            self.kill(made)
            raise
        finally:
            container.execs.discard(made.id)
            self._execs.pop(made.id, None)

    def kill(self, made: Exec) -> None:
        """End the program; its children may go on, as in Docker."""
        if made.exit_code is None and made.pid:
            with contextlib.suppress(OSError):
                pidfd = pidfd_open(made.pid)
                try:
                    pidfd_signal(pidfd, signal.SIGKILL)
                finally:
                    os.close(pidfd)

    async def _collect(self, made: Exec, kept: bytearray, limit: int) -> int:
        await self.start(made, detach=False)
        async for _, data in self.output(made):
            kept += data[: limit - len(kept)]
        return await self.wait(made)

    async def output(self, made: Exec) -> AsyncIterator[tuple[int, bytes]]:
        """Stream number and bytes, until the program has ended and its pipes are empty."""
        queue: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(16)
        tasks = [asyncio.ensure_future(_pump(stream, descriptor, queue)) for stream, descriptor in made.outputs]
        made.outputs = []
        open_streams = len(tasks)
        try:
            while open_streams:
                stream, data = await queue.get()
                if data:
                    yield stream, data
                else:
                    open_streams -= 1
        finally:
            for task in tasks:
                task.cancel()

    def _launch(self, made: Exec, descriptors: list[int], to_close: set[int]) -> None:
        try:
            self._launcher.launch("exec", self._specification(made), descriptors)
        finally:
            messages.close_all(list(to_close))

    def _specification(self, made: Exec) -> Json:
        container, settings = made.container, made.settings
        own = {entry.partition("=")[0] for entry in settings["Env"]}
        environment = settings["Env"] + [entry for entry in container.config["Env"] if entry.partition("=")[0] not in own]
        user = settings["User"] or container.config["User"]
        directory = settings["WorkingDir"] or container.config["WorkingDir"]
        process = spec.process(container.config, container.host_config, settings["Cmd"], environment, user, directory)
        return {
            "process": process,
            "cgroup": self._cgroups.payload_files(container.id12) + self._cgroups.other_files(container.pid),
        }

    async def _wait(self, made: Exec) -> None:
        assert made.status is not None
        try:
            made.exit_code = (await _receive(made.status))["exit_code"]
        except messages.Closed:
            made.exit_code = 137
        made.status.close()
        made.ended.set()


async def _receive(sock: socket.socket) -> messages.Message:
    """The next packet; raises messages.Closed."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            message, descriptors = messages.receive(sock)
        except BlockingIOError:
            readable = asyncio.Event()
            loop.add_reader(sock.fileno(), readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(sock.fileno())
            continue
        messages.close_all(descriptors)
        return message


async def _pump(stream: int, descriptor: int, queue: asyncio.Queue[tuple[int, bytes]]) -> None:
    """Read a pipe to its end into the queue; an empty item ends it."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_CHUNK * 2)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0))
    try:
        while data := await reader.read(_CHUNK):
            await queue.put((stream, data))
        await queue.put((stream, b""))
    finally:
        transport.close()
