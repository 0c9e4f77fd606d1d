"""A process that keeps what a test starts: it has a network and mounts of its own, and whatever loses its parent becomes its child.

Started as a script. In, a line of JSON each: {"run": [words], "environment", "log"} or {"run", …, "input": text}.  Out, a line each:
{"started": pid}, {"ended": pid, "code": n}. When its standard input ends it kills everything below it, and goes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys

from gitopsd.engine.kernel import mount, process
from gitopsd.engine.kernel.netlink import links
from gitopsd.engine.kernel.netlink.connection import ROUTE, Netlink


def say(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def below(top: int) -> set[int]:
    """All processes that descend from one."""
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
            parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
    found: set[int] = set()
    grown = {top}
    while grown:
        grown = {pid for pid, parent in parents.items() if parent in grown} - found
        found |= grown
    return found


def run(words: list[str], environment: dict[str, str], log: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, 256)
        os.execvpe(words[0], words, environment)
    finally:
        os._exit(127)


def reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            say({"ended": pid, "code": process.exit_code(status)})


def end_all() -> None:
    while left := below(os.getpid()):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        select.select([], [], [], 0.01)


def main() -> None:
    process.unshare(process.CLONE_NEWNET | process.CLONE_NEWNS)
    mount.set_propagation("/", mount.MS_REC | mount.MS_PRIVATE)
    route = Netlink.open(ROUTE)
    route.ask(links.set_up("lo"))
    route.close()
    process.set_child_subreaper()
    woken, waking = os.pipe()
    for descriptor in (woken, waking):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking)
    say({"ready": os.getpid()})
    held = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            reap()
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                end_all()
                return
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                asked = json.loads(line)
                say({"started": run(asked["run"], asked["environment"], asked["log"])})


if __name__ == "__main__":
    main()
