"""The daemon's parent where there is no systemd: starts it again when it dies, ends it when told to.

It only waits, so there is little in it that could fail; the containers do not depend on it either. Now and then it looks whether the log, which
it shares with the daemon, has become too long.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Optional

_FIRST_S, _MOST_S, _STEADY_S = 0.05, 10.0, 10.0
_LOG_BYTES, _LOG_S = 4 << 20, 10.0


def main(arguments: list[str]) -> int:
    """`gitopsd-engine supervise [--detach] [--pid-file FILE] [--log FILE] -- daemon …`; the exit code."""
    parser = argparse.ArgumentParser(
        prog="gitopsd-engine supervise",
        description="Run the daemon and start it again when it dies. For hosts without systemd.",
        epilog="Example: gitopsd-engine supervise --detach --log /var/log/gitopsd-engine.log -- daemon --data-root /var/lib/gitopsd-engine",
    )
    parser.add_argument("--detach", action="store_true", help="go on in the background")
    parser.add_argument("--pid-file", help="write the process id of the supervisor here")
    parser.add_argument("--log", default=os.devnull, help="append the daemon's output to this file (with --detach)")
    parser.add_argument("command", nargs="+", help="the daemon's words, behind --")
    options = parser.parse_args(arguments)
    command = [*_own_command(), *options.command]  # before a change of folder: each may be a path from here
    pid_file = options.pid_file and os.path.abspath(options.pid_file)
    if options.detach:
        _detach(options.log)
    if pid_file:
        os.makedirs(os.path.dirname(pid_file), exist_ok=True)
        with open(pid_file, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    return _supervise(command)


def _own_command() -> list[str]:
    """How this program was started: the zipapp, or the package."""
    if sys.argv[0].endswith(".py"):
        return [sys.executable, "-m", "gitopsd.engine.main"]
    return [sys.executable, os.path.abspath(sys.argv[0])]


def _detach(log: str) -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.chdir("/")
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)


def _supervise(command: list[str]) -> int:
    child: Optional[subprocess.Popen[bytes]] = None
    is_ending = False

    def end(number: int, _: Optional[FrameType]) -> None:
        nonlocal is_ending
        is_ending = True
        if child is not None:
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def look(_: int, __: Optional[FrameType]) -> None:
        turn_over(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _LOG_S, _LOG_S)
    pause_s = _FIRST_S
    while not is_ending:
        began = time.monotonic()
        child = subprocess.Popen(command)
        code = child.wait()
        if is_ending or code == 0:
            return 0
        if time.monotonic() - began > _STEADY_S:
            pause_s = _FIRST_S
        print(f"gitopsd-engine: the daemon ended with {code}, it starts again in {pause_s:g} s", file=sys.stderr, flush=True)
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _MOST_S)
    return 0


def turn_over(descriptor: int, most: int = _LOG_BYTES) -> None:
    """Empty a log that is longer than `most` bytes; its end goes to `<log>.1`. Others have it open to append to, and go on in the same file."""
    with contextlib.suppress(OSError):
        log = os.fstat(descriptor)
        path = f"/proc/self/fd/{descriptor}"
        if log.st_size <= most or not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND:
            return
        name = os.readlink(path)
        if not os.path.samestat(os.stat(name), log):
            return  # somebody has turned it over already
        with open(path, "rb") as file:
            file.seek(-most, os.SEEK_END)
            end = file.read(most)
        with open(os.open(f"{name}.1", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as kept:
            kept.write(end)
        os.ftruncate(descriptor, 0)
