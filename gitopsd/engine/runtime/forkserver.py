"""The launcher: a small single-threaded process that forks what runs beside the daemon: monitors, execs, workers.

It is a warm interpreter, so a fork costs a millisecond; it never reads a specification (a later child's memory would hold
earlier containers' secrets), it passes the descriptor on and the child reads it.

The interpreter is what a container could overwrite through /proc/<pid>/exe of a process that enters it (CVE-2019-5736); so the launcher
lives in a mount namespace of its own where the interpreter, its libraries and our code are read-only, and execs itself from there.

Whatever is imported here is memory of every monitor; `threading` alone, which works on its state after each fork, costs each 390 KiB.

Packets in: {"kind": "monitor" | "exec" | "worker"}, descriptors: specification, then the child's own. Out: {"pid"} or an error.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from typing import NoReturn

from gitopsd.engine.kernel import mount as km
from gitopsd.engine.kernel import process
from gitopsd.engine.runtime import execute, init, messages, monitor, worker

_SOCKET = 3


def command(step: str) -> list[str]:
    """Run a function of this module in a bare interpreter: no site, no environment, no user's folders."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    code = f"import sys; sys.path.insert(0, {root!r}); from gitopsd.engine.runtime import forkserver; forkserver.{step}()"
    return [sys.executable, "-I", "-S", "-c", code]


def protect() -> None:
    """Make all that this interpreter consists of read-only in a namespace of its own, and start again from there."""
    os.dup2(0, _SOCKET)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    process.unshare(process.CLONE_NEWNS)
    km.set_propagation("/", km.MS_REC | km.MS_SLAVE)
    for path in own_files():
        km.bind(path, path, read_only=True)
    words = command("main")
    os.execv(words[0], words)


def own_files() -> list[str]:
    """Folders of modules, and files mapped into this process that lie outside them: interpreter, loader, libraries."""
    import hashlib
    import ssl
    import zlib

    del hashlib, ssl, zlib  # imported so that their libraries are mapped
    folders = sorted({os.path.realpath(path) for path in sys.path if os.path.isdir(path)})
    folders = [path for path in folders if not any(path.startswith(other + "/") for other in folders)]
    with open("/proc/self/maps", encoding="utf-8") as file:
        mapped = {line.split(None, 5)[5].strip() for line in file if len(line.split(None, 5)) == 6}
    mapped.add(os.path.realpath(sys.executable))
    files = [
        path
        for path in sorted(mapped)
        if path.startswith("/") and os.path.isfile(path) and not any(path.startswith(folder + "/") for folder in folders)
    ]
    return [*folders, *files]


def main() -> NoReturn:
    """The launcher's loop. Ends when the daemon does."""
    sock = socket.socket(fileno=_SOCKET)
    sock.set_inheritable(False)
    process.set_name("gitopsd-launch")
    process.set_dumpable(False)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel; each child undoes this
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    gc.collect()
    gc.freeze()
    while True:
        try:
            message, descriptors = messages.receive(sock)
        except messages.Closed:
            os._exit(0)
        try:
            pid = os.fork()
        except OSError as error:
            answer = messages.error_of("fork-failed", init.describe(error))
        else:
            if pid == 0:
                sock.close()
                _child(message["kind"], descriptors)
            answer = {"pid": pid}
        messages.close_all(descriptors)
        messages.send(sock, answer)


def _child(kind: str, descriptors: list[int]) -> NoReturn:
    try:
        os.setsid()
        spec, own = init.read_spec(descriptors[0]), descriptors[1:]
        if kind == "monitor":
            monitor.run(spec, socket.socket(fileno=own[0]))
        if kind == "exec":
            execute.run(spec, own)
        if kind == "worker":
            worker.run(spec, own)
    finally:
        os._exit(1)
