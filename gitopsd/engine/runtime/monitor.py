"""The process that outlives the daemon: parent of a container's first process, keeper of its output, its sockets and its end.

In: a specification (`spec.json` form below) and a connected packet socket, the first connection of a daemon.
Out: docs/monitor-protocol.md, on that connection and on `<exec-root>/m/<id12>`.

Rule 1: nothing a daemon does or fails to do may block the container: connections are non-blocking, a full one is dropped.
Rule 2: `exit.json` is written before anybody is told of the end.
Rule 3: the protocol only grows.

Specification: {"id", "run", "socket", "layers", "overlay", "oci", "cgroup": {"monitor", "payload"}, "log", "exit", "oom", "stdin", "wait"};
with `wait` the cgroup comes in a first packet {"op": "go", "monitor", "payload"} instead. `run` is a
random name for this start, repeated in exit.json, so that an older end is never taken for this one's. `oci` is JSON in a string: the
first process alone needs what is in it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import termios
import time
from typing import Any, Callable, NoReturn, Optional

from gitopsd.engine.kernel import process
from gitopsd.engine.runtime import init, messages
from gitopsd.engine.runtime.logfile import RECORD_LIMIT, STDERR, STDOUT, LogWriter

PROTOCOL = 1
_CONNECTIONS = 64


def run(spec: dict[str, Any], daemon: socket.socket) -> NoReturn:
    """Start the container's first process and look after it until it has ended. Never returns."""
    monitor: Optional[Monitor] = None
    try:
        process.set_name("gitopsd-monitor")
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        if spec.get("wait"):  # until systemd has made the scope around this process
            message, _ = messages.receive(daemon)
            spec["cgroup"] = {"monitor": message["monitor"], "payload": message["payload"]}
        for path in spec["cgroup"]["monitor"]:
            init.write(path, "0")
        monitor = Monitor(spec, daemon)
        monitor.loop()
    except BaseException as error:  # noqa: BLE001  whatever it is, the daemon must hear of it
        with contextlib.suppress(messages.Closed, OSError):
            daemon.setblocking(True)
            messages.send(daemon, messages.error_of("setup-failed", init.describe(error), step="monitor"))
        if monitor is not None:
            monitor.kill()
        os._exit(1)
    os._exit(0)


class Monitor:
    def __init__(self, spec: dict[str, Any], daemon: socket.socket) -> None:
        self._spec = spec
        self._log = LogWriter(spec["log"])
        self._poll = select.epoll()
        self._readers: dict[int, Callable[[], object]] = {}
        self._connections: dict[int, socket.socket] = {}
        self._watchers: set[int] = set()
        self._starting: Optional[socket.socket] = None
        self._held: dict[str, int] = {}
        self._state = "created"
        self._started = self._finished = 0
        self._exit_code: Optional[int] = None
        self._oom_killed = False
        self._failure: Optional[messages.Message] = None
        self._listener = self._listen(spec["socket"])
        self._stdin, self.pid = self._fork()
        self._pidfd = process.pidfd_open(self.pid)
        self._read(self._pidfd, self._ended)
        self._read(self._channel.fileno(), self._heard_from_init)
        self._accept_connection(daemon)
        self._daemon = daemon

    def loop(self) -> None:
        while self._state != "gone":
            for descriptor, _ in self._poll.poll():
                reader = self._readers.get(descriptor)
                if reader is not None:
                    reader()

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            process.pidfd_signal(self._pidfd, signal.SIGKILL)

    # the container's first process

    def _fork(self) -> tuple[int, int]:
        """Fork the first process into a process id namespace of its own; returns the write end of its standard input, and its pid."""
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        in_read, in_write = os.pipe() if self._spec.get("stdin") else (os.open("/dev/null", os.O_RDONLY), -1)
        own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        process.unshare(process.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            for source, target in ((in_read, 0), (out_write, 1), (err_write, 2)):
                os.dup2(source, target)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            self._poll.close()
            self._listener.close()
            os.closerange(3, theirs.fileno())
            os.closerange(theirs.fileno() + 1, 256)
            init.run(self._spec, theirs)
        process.setns(own, process.CLONE_NEWPID)
        for descriptor in (own, out_write, err_write, in_read):
            os.close(descriptor)
        theirs.close()
        self._outputs = {out_read: STDOUT, err_read: STDERR}
        for descriptor, stream in self._outputs.items():
            os.set_blocking(descriptor, False)
            self._read(descriptor, lambda descriptor=descriptor, stream=stream: self._copy_output(descriptor, stream))
        return in_write, pid

    def _heard_from_init(self) -> None:
        try:
            message, descriptors = messages.receive(self._channel)
        except messages.Closed:
            self._forget(self._channel.fileno())
            self._channel.close()
            if self._starting is not None:  # closed by a successful exec
                self._state, self._started = "running", time.time_ns()
                self._reply(self._starting, {"ok": True, "started": self._started})
                self._starting = None
            return
        if "sockets" in message:
            self._held.update(zip(message["sockets"], descriptors))
            self._reply(
                self._daemon, {"event": "ready", "pid": self.pid, "sockets": message["sockets"]}, [self._pidfd, *descriptors]
            )
        else:
            messages.close_all(descriptors)
            self._failure = message
            if self._starting is not None:
                self._reply(self._starting, message)
                self._starting = None

    def _copy_output(self, descriptor: int, stream: int) -> None:
        """Log what a pipe holds; close it when nobody can write to it any more."""
        try:
            data = os.read(descriptor, RECORD_LIMIT)
        except BlockingIOError:
            return
        if data:
            self._log.write(stream, data, time.time_ns())
            return
        self._forget(descriptor)
        del self._outputs[descriptor]
        os.close(descriptor)

    def _drain(self, descriptor: int, stream: int) -> None:
        """Log what is in a pipe now, and no more: somebody else may hold its other end and write for ever."""
        left = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"))[0]
        while left > 0:
            data = os.read(descriptor, min(left, RECORD_LIMIT))
            self._log.write(stream, data, time.time_ns())
            left -= len(data)

    def _ended(self) -> None:
        """The first process has ended: take what it still wrote, record it, tell, and leave."""
        self._exit_code = process.reap(self.pid, os.WNOHANG)
        if self._exit_code is None:
            return
        self._finished = time.time_ns()
        self._oom_killed = self._read_oom()
        with contextlib.suppress(OSError, ValueError):
            self._channel.setblocking(False)  # OSError: closed by then
            self._heard_from_init()
        for descriptor, stream in list(self._outputs.items()):
            self._drain(descriptor, stream)
        was_running, self._state = self._state == "running", "exited"
        end = {"run": self._spec["run"], "exit_code": self._exit_code, "started": self._started, "finished": self._finished,
               "oom_killed": self._oom_killed, "error": (self._failure or {}).get("message", "")}  # fmt: skip
        if was_running or self._failure is not None:
            self._write_exit(end)
        # what the next run takes, its ports and this socket's path, is free before anybody hears that it may begin
        messages.close_all(list(self._held.values()))
        self._held.clear()
        with contextlib.suppress(OSError):
            os.unlink(self._spec["socket"])
        if self._starting is not None:
            self._reply(
                self._starting, self._failure or messages.error_of("setup-failed", "the container ended before its program ran")
            )
        for descriptor in list(self._watchers):
            self._reply(self._connections[descriptor], {"event": "exit", **end})
        self._state = "gone"

    def _read_oom(self) -> bool:
        try:
            with open(self._spec["oom"], encoding="ascii") as file:
                return any(line.startswith("oom_kill ") and int(line.split()[1]) > 0 for line in file)
        except (OSError, ValueError):
            return False

    def _write_exit(self, end: dict[str, Any]) -> None:
        path = self._spec["exit"]
        try:
            with open(path + ".tmp", "w", encoding="utf-8") as file:
                json.dump(end, file)
            os.rename(path + ".tmp", path)
        except OSError:
            return  # a full disk: the daemon reads 137, monitor-lost, if it is not told

    # the daemon

    def _listen(self, path: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        mask = os.umask(0o177)
        listener.bind(path)
        os.umask(mask)
        listener.listen(16)
        listener.setblocking(False)
        self._read(listener.fileno(), self._accept)
        return listener

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EMFILE, errno.ENFILE):
                return
            raise
        uid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid != 0 or len(self._connections) >= _CONNECTIONS:
            connection.close()
            return
        self._accept_connection(connection)

    def _accept_connection(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connections[connection.fileno()] = connection
        self._read(connection.fileno(), lambda: self._serve(connection))

    def _serve(self, connection: socket.socket) -> None:
        descriptors: list[int] = []
        try:
            message, descriptors = messages.receive(connection)
            answer, given = self._answer(message, descriptors, connection)
        except BlockingIOError:
            return
        except messages.Closed:
            self._drop(connection)
            return
        except Exception as error:  # noqa: BLE001  rule 1: whatever a packet makes go wrong is answered, nothing ends by it
            answer, given = messages.error_of("bad-request", init.describe(error)), []
        if answer is not None:
            self._reply(connection, answer, given)

    def _answer(
        self, message: messages.Message, descriptors: list[int], connection: socket.socket
    ) -> tuple[Optional[messages.Message], list[int]]:
        op = message.get("op")
        if op == "take-sockets":
            return self._take_sockets(message, descriptors), []
        messages.close_all(descriptors)
        if op == "hello":
            return {"ok": True, "protocol": PROTOCOL, "container": self._spec["id"], "run": self._spec["run"], "monitor": os.getpid(),
                    "pid": self.pid, "state": self._state, "started": self._started, "finished": self._finished,
                    "exit_code": self._exit_code, "sockets": sorted(self._held)}, [self._pidfd]  # fmt: skip
        if op == "start":
            return self._start(connection), []
        if op == "signal":
            return self._signal(int(message["signal"])), []
        if op == "attach":
            if self._stdin < 0:
                return messages.error_of("no-stdin", "standard input is not open"), []
            return {"ok": True}, [self._stdin]
        if op == "close-stdin":
            if self._stdin >= 0:
                os.close(self._stdin)
                self._stdin = -1
            return {"ok": True}, []
        if op == "resize":
            return messages.error_of("no-terminal", "the container has no terminal"), []
        if op == "reopen-log":
            self._log.reopen()
            return {"ok": True}, []
        if op == "watch":
            self._watchers.add(connection.fileno())
            return {"ok": True}, []
        if op == "give-sockets":
            names: list[str] = message["names"]
            if len(names) > messages.DESCRIPTORS:
                return messages.error_of("bad-request", f"more than {messages.DESCRIPTORS} sockets at once"), []
            missing = next((name for name in names if name not in self._held), None)
            if missing is not None:
                return messages.error_of("no-socket", f"{missing} is not held here"), []
            return {"ok": True, "names": names}, [self._held[name] for name in names]
        if op == "drop-sockets":
            for name in message["names"]:
                if name in self._held:
                    os.close(self._held.pop(name))
            return {"ok": True}, []
        if op == "abort":
            if self._state != "created":
                return messages.error_of("running", "the container has started"), []
            self.kill()
            return {"ok": True}, []
        return messages.error_of("unknown-op", f"{str(op)[:100]}: this monitor speaks version {PROTOCOL}"), []

    def _start(self, connection: socket.socket) -> Optional[messages.Message]:
        if self._failure is not None:
            return self._failure
        if self._state != "created" or self._starting is not None:
            return messages.error_of("running", "the container has started")
        self._starting = connection
        with contextlib.suppress(messages.Closed, OSError):  # the process has just ended: `_ended` answers
            messages.send(self._channel, {"op": "start"})
        return None

    def _signal(self, number: int) -> messages.Message:
        if self._state == "created":
            return messages.error_of("not-running", "the container has not started")
        try:
            process.pidfd_signal(self._pidfd, number)
        except ProcessLookupError:
            return messages.error_of("not-running", "the container has ended")
        except OSError as error:
            return messages.error_of("bad-request", init.describe(error))
        return {"ok": True}

    def _take_sockets(self, message: messages.Message, descriptors: list[int]) -> messages.Message:
        names: list[str] = list(map(str, message.get("names") or ()))
        if len(names) != len(descriptors):
            messages.close_all(descriptors)
            return messages.error_of("bad-request", f"{len(names)} names came with {len(descriptors)} sockets")
        for name, descriptor in zip(names, descriptors):
            if name in self._held:
                os.close(self._held[name])
            self._held[name] = descriptor
        return {"ok": True}

    def _reply(self, connection: socket.socket, message: messages.Message, descriptors: Optional[list[int]] = None) -> None:
        try:
            messages.send(connection, message, descriptors)
        except (messages.Closed, OSError):
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        descriptor = connection.fileno()
        if descriptor in self._connections:
            self._forget(descriptor)
            del self._connections[descriptor]
            self._watchers.discard(descriptor)
            if self._starting is connection:
                self._starting = None
            connection.close()

    def _read(self, descriptor: int, reader: Callable[[], object]) -> None:
        self._readers[descriptor] = reader
        self._poll.register(descriptor, select.EPOLLIN)

    def _forget(self, descriptor: int) -> None:
        if self._readers.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)
