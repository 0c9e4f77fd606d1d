"""The child that renders strangers' files: a warm process that forks for each job.

In: over a socket, what to render; files are asked for by path and come by value.  Out: values or errors, as JSON.

Rule 1: the fork that sees a stranger's bytes can do nothing but compute. It has no environment and no network, is nobody where it was
root, may open no further file, socket or process, and has a budget of CPU time and memory.
Rule 2: the process that forks never looks at a stranger's bytes, so it stays warm and clean.

Everything that rendering imports is imported, and run once, before: afterwards no file can be opened.
"""

from __future__ import annotations

import gc
import math
import os
import resource
import socket
import sys
from typing import Any, ClassVar, cast

from gitopsd.model.codec import from_json, to_json
from gitopsd.model.errors import Errors, GitopsdError, Where
from gitopsd.model.fleet import StackEntry
from gitopsd.model.revision import Tree
from gitopsd.render.render import render_fleet, render_stack
from gitopsd.render.wire import Closed, error_from_json, error_to_json, receive, receive_bytes, send

_NOBODY = 65534
FLEET = ""


class RemoteTree:
    """A `Tree` whose files lie with whoever started us."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def read(self, path: str) -> bytes:
        self._ask("read", path)
        return receive_bytes(self._channel)

    def size(self, path: str) -> int:
        return int(self._ask("size", path))

    def paths(self, under: str = "") -> tuple[str, ...]:
        return tuple(self._ask("paths", under))

    def tree_id(self, path: str) -> str:
        return str(self._ask("tree_id", path))

    def blob_id(self, path: str) -> str:
        return str(self._ask("blob_id", path))

    def mode(self, path: str) -> int:
        return int(self._ask("mode", path))

    def touched_at(self, path: str) -> int:
        return int(self._ask("touched_at", path))

    def _ask(self, call: str, path: str) -> Any:
        send(self._channel, {"call": call, "path": path})
        answer = receive(self._channel)
        if "error" in answer:
            raise error_from_json(answer["error"])
        return answer["value"]


def main(control_fd: int) -> None:
    """Serves jobs until the control socket is closed."""
    control = socket.socket(fileno=control_fd)
    _warm_up()
    gc.freeze()
    control.send(b"!")
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            return
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                control.close()
                _work(socket.socket(fileno=descriptors[0]))
                status = 0
            finally:
                os._exit(status)
        os.close(descriptors[0])
        _, ended = os.waitpid(pid, 0)
        control.send(ended.to_bytes(2, "big"))


def _work(channel: socket.socket) -> None:
    job = cast("dict[str, Any]", receive(channel))
    _confine(int(job["memory_bytes"]))
    tree = RemoteTree(channel)
    for item in job["items"]:
        _allow_cpu(float(job["cpu_s"]))
        name = FLEET if item is None else str(item["name"])
        send(channel, {"name": name, **_result(tree, item, str(job["listen"]))})


def _result(tree: Tree, item: Any, listen: str) -> dict[str, Any]:
    try:
        if item is None:
            return {"value": to_json(render_fleet(tree, listen))}
        return {"value": to_json(render_stack(tree, from_json(StackEntry, item)))}
    except Errors as caught:
        return {"errors": [error_to_json(error) for error in caught.errors]}
    except (MemoryError, RecursionError) as error:
        what = "needs too much memory to render" if isinstance(error, MemoryError) else "is nested too deep"
        file = None if item is None else str(item["file"])
        return {"errors": [error_to_json(GitopsdError("too-large", what, Where(file=file)))]}


def _confine(memory_bytes: int) -> None:
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: now + memory_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def _allow_cpu(seconds: float) -> None:
    """From now on; SIGXCPU ends the process after it, whatever Python is doing."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


class _Sample:
    """Files that take rendering through all it imports on its way, errors included."""

    files: ClassVar[dict[str, bytes]] = {
        "gitopsd.yaml": b"name: a\nhosts: {a: {address: a}}\nstacks: {a: {file: a.j2, values: {a: 1.5}}}\n",
        "a.j2": b"{% import 'b.j2' as b %}services: {a: {image: '{{ a }}${b}', cpus: 0.5, prots: [80]}}\n",
        "b.j2": b"\xff",
    }

    def __init__(self) -> None:
        self.now = self.files

    def read(self, path: str) -> bytes:
        return self.now[path]

    def size(self, path: str) -> int:
        return len(self.now[path])

    def paths(self, under: str = "") -> tuple[str, ...]:
        return tuple(sorted(self.now))

    def tree_id(self, path: str) -> str:
        return "0" * 40

    def blob_id(self, path: str) -> str:
        return "0" * 40

    def mode(self, path: str) -> int:
        return 0o100644

    def touched_at(self, path: str) -> int:
        return 0


def _warm_up() -> None:
    sample = _Sample()
    texts = (b"{{ 1/0 }}", b"{% if", b"a: b: c", b"services: {a: {image: a}}")
    dockerfiles = (b"FROM a\nCOPY <<b c\nb\n", b"FORM a\nENV $", b'FROM $b\nCMD ["\\ud800"]\nHEALTHCHECK --interval=1s CMD a')
    built = ({"a.j2": b"services: {a: {build: .}}", "Dockerfile": text, ".dockerignore": b"a\n!**"} for text in dockerfiles)
    for files in ({}, {"b.j2": b""}, *({"a.j2": text} for text in texts), *built):
        sample.now = {**sample.files, **files}
        for entry in render_fleet(sample).stacks:
            try:
                to_json(render_stack(sample, entry))
            except Errors as caught:
                str(caught)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except Closed:
        sys.exit(1)
