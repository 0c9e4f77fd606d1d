"""Rendering in a child with limits: what the controller uses.

In: a Revision, whose files are read here and given to the child by value.  Out: `Rendered`.

Rule: a stack that costs the child its life, or all of its time, is blocked like one with an error, and the others are rendered by a
new fork. The child says nothing that is not checked on the way into `model/`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import gitopsd
from gitopsd.model.codec import from_json, to_json
from gitopsd.model.errors import Errors, GitopsdError, Where
from gitopsd.model.fleet import Fleet, StackEntry
from gitopsd.model.rendered import Rendered
from gitopsd.model.revision import Revision, Tree
from gitopsd.model.stack import BlockedStack, Stack
from gitopsd.render.fleet import FLEET_FILE
from gitopsd.render.locate import LARGEST_BYTES
from gitopsd.render.wire import Closed, error_from_json, error_to_json, receive, send, send_bytes

Value = TypeVar("Value")

_CALLS = ("read", "size", "paths", "tree_id", "blob_id", "mode", "touched_at")
_START_S = 60.0
_PROGRAM = "import sys; sys.path = sys.argv[2:]; from gitopsd.render.child import main; main(int(sys.argv[1]))"


class Renderer:
    """A warm child; one job at a time. `cpu_s` and `wall_s` are for each file, `memory_bytes` for all of a job; `listen` is fleet.py's."""

    def __init__(self, cpu_s: float = 5.0, wall_s: float = 30.0, memory_bytes: int = 256 * 1024 * 1024, listen: str = "") -> None:
        self._listen = listen
        self._cpu_s = cpu_s
        self._wall_s = wall_s
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._last: tuple[tuple[str, str], Rendered] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the child, whatever it does."""
        with self._lock:
            self._stop()

    def render(self, revision: Revision) -> Rendered:
        """The fleet and stacks of a revision; the last one is remembered. Raises Errors when the fleet file is wrong."""
        with self._lock:
            if self._last and self._last[0] == (revision.repository, revision.commit):
                return self._last[1]
            rendered = self._render(revision)
            if set(revision.commit) != {"0"}:  # a folder changes under its name
                self._last = ((revision.repository, revision.commit), rendered)
            return rendered

    def _render(self, revision: Revision) -> Rendered:
        fleet = self._fleet(revision.tree)
        waiting = {entry.name: entry for entry in fleet.stacks}
        stacks: list[Stack] = []
        blocked: list[BlockedStack] = []
        while waiting:
            for name, result in self._run(revision.tree, Stack, list(waiting.values())):
                del waiting[name]
                if isinstance(result, Errors):
                    blocked.append(BlockedStack(name, tuple(str(error) for error in result.errors)))
                else:
                    stacks.append(result)
        return Rendered(
            fleet, tuple(sorted(stacks, key=lambda each: each.name)), tuple(sorted(blocked, key=lambda each: each.name))
        )

    def render_fleet(self, tree: Tree) -> Fleet:
        """The fleet alone."""
        with self._lock:
            return self._fleet(tree)

    def _fleet(self, tree: Tree) -> Fleet:
        result = self._run(tree, Fleet, [None])[0][1]
        if isinstance(result, Errors):
            raise result
        return result

    def _run(self, tree: Tree, kind: type[Value], items: Sequence[StackEntry | None]) -> list[tuple[str, Value | Errors]]:
        """What came of the items, in order, up to the one that the child did not survive; that one is an error."""
        ours, theirs = socket.socketpair()
        done: list[tuple[str, Value | Errors]] = []
        job: dict[str, Any] = {"items": [to_json(item) for item in items], "listen": self._listen}
        job |= {"cpu_s": self._cpu_s, "memory_bytes": self._memory_bytes}
        with ours:
            with theirs:
                control = self._start()
                socket.send_fds(control, [b"."], [theirs.fileno()])
            try:
                ours.settimeout(self._wall_s)
                send(ours, job)
                while len(done) < len(items):
                    item = items[len(done)]
                    done.append((item.name if item else "", self._next(ours, tree, kind, item)))
                reason = ""
            except TimeoutError:
                reason = f"took longer than {self._wall_s:g} s to render"
            except GitopsdError:
                self._stop()
                raise
            except (Closed, OSError, KeyError, TypeError, ValueError, AttributeError):
                reason = "failed to render"
        if reason:
            item = items[len(done)]
            done.append((item.name if item else "", Errors([self._bury(reason, item)])))
        else:
            self._end_of_job(control)
        return done

    def _next(self, channel: socket.socket, tree: Tree, kind: type[Value], item: StackEntry | None) -> Value | Errors:
        """Serves files until the result of `item` is there."""
        while True:
            message = receive(channel)
            if "call" in message:
                _serve(channel, tree, message)
                continue
            if message["name"] != (item.name if item else ""):
                raise Closed("a result that nobody asked for")
            if "errors" in message:
                return Errors([error_from_json(error) for error in message["errors"]])
            return from_json(kind, message["value"])

    def _bury(self, reason: str, item: StackEntry | None) -> GitopsdError:
        """Why the child died: of the CPU limit, or as `reason` says. The next job gets a new one."""
        assert self._control
        if "longer" in reason:
            self._stop()
        else:
            ended = self._end_of_job(self._control)
            if ended is not None and os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGXCPU:
                reason = f"took more than {self._cpu_s:g} s of CPU time to render"
            elif ended is not None and os.WIFSIGNALED(ended):
                reason = f"failed to render: signal {os.WTERMSIG(ended)}"
        where = item.where if item else Where()
        return GitopsdError(
            "too-costly", reason, Where(item.file if item else FLEET_FILE).within(where), "make it smaller or simpler"
        )

    def _end_of_job(self, control: socket.socket) -> int | None:
        """The status that the fork ended with; None, and a new child next time, if that cannot be found out."""
        try:
            control.settimeout(self._wall_s)
            status = control.recv(2)
            if len(status) == 2:
                return int.from_bytes(status, "big")
        except OSError:
            pass
        self._stop()
        return None

    def _start(self) -> socket.socket:
        if self._control and self._child and self._child.poll() is None:
            return self._control
        self._stop()
        ours, theirs = socket.socketpair()
        paths = [str(Path(gitopsd.__file__).parents[1]), *(path for path in sys.path if path)]
        with theirs:
            command = [*_without_network(), sys.executable, "-I", "-c", _PROGRAM, str(theirs.fileno()), *paths]
            self._child = subprocess.Popen(
                command, env={}, cwd="/", pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._control = ours
        ours.settimeout(_START_S)
        if ours.recv(1) != b"!":
            self._stop()
            raise GitopsdError("render-child", "the process that renders does not start", next="retry")
        return ours

    def _stop(self) -> None:
        if self._control:
            self._control.close()
        if self._child:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
        self._control = self._child = None


def _serve(channel: socket.socket, tree: Tree, message: dict[str, Any]) -> None:
    call, path = message["call"], message["path"]
    if call not in _CALLS or not isinstance(path, str):
        raise Closed("a call that nobody makes")
    try:
        if call == "read" and tree.size(path) > LARGEST_BYTES:
            raise GitopsdError("too-large", f"is longer than {LARGEST_BYTES} bytes", Where(file=path))
        value = getattr(tree, call)(path)
    except GitopsdError as error:
        if error.next == "retry":  # the mirror's trouble, not the file's
            raise
        send(channel, {"error": error_to_json(error)})
        return
    send(channel, {"value": len(value) if call == "read" else value})
    if call == "read":
        send_bytes(channel, value)


def _without_network() -> list[str]:
    """A command in front that takes the network away, where we may; the fork may open no socket in any case."""
    unshare = shutil.which("unshare")
    if not unshare or os.geteuid() != 0:
        return []
    words = [unshare, "--net", "--"]
    return words if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0 else []
