"""Which programs are executed on a lab host, from the host's own root.

In: a lab host.  Out: the paths that its kernel opened to execute, while the block ran: programs, and the scripts and loaders with them.

fanotify marks the file system of the host's root, not a mount: what is executed through a bind mount or in a private mount
namespace of that file system is seen as well, and what containers execute from roots of their own is not.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from gitopsd.lab import LabHost

PYTHON = os.path.realpath("/usr/bin/python3")

_CLASS_NOTIF, _CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE = 0, 1, 2, 0x10
_MARK_ADD, _MARK_FILESYSTEM = 1, 0x100
_OPEN_EXEC, _OVERFLOW = 0x1000, 0x4000
_EVENT = struct.Struct("=IBBHQii")
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def recorded_execs(host: LabHost) -> Generator[Counter[str]]:
    """Counts by path, filled while the block runs and complete after it."""
    root = os.open(f"/proc/{host.pid}/root", os.O_RDONLY | os.O_DIRECTORY)
    group = _checked(_libc.fanotify_init(_CLASS_NOTIF | _CLOEXEC | _NONBLOCK | _UNLIMITED_QUEUE, os.O_RDONLY | os.O_CLOEXEC))
    stop_reader, stop = os.pipe()
    found: Counter[str] = Counter()
    problems: list[str] = []
    reader = threading.Thread(target=_read, args=(group, stop_reader, found, problems))
    try:
        mask = ctypes.c_uint64(_OPEN_EXEC)
        _checked(_libc.fanotify_mark(group, _MARK_ADD | _MARK_FILESYSTEM, mask, root, None))
        reader.start()
        yield found
        os.close(stop)
        reader.join()
    finally:
        for descriptor in (root, group, stop_reader):
            os.close(descriptor)
    if problems:
        raise RuntimeError(problems[0])


def programs(found: Counter[str]) -> set[str]:
    """The programs among what was opened: without the dynamic loaders, which are opened along with them."""
    return {path for path in found if not os.path.basename(path).startswith(("ld-", "ld."))}


def needed(user: str = "root") -> set[str]:
    """What a host may execute: python3, a shell for the login, sshd with the parts it has since OpenSSH 9.8; who is not root also sudo, and
    PAM's helper for accounts."""
    found = {
        PYTHON,
        "/usr/sbin/sshd",
        "/usr/lib/openssh/sshd-session",
        "/usr/lib/openssh/sshd-auth",
        "/usr/bin/dash",
        "/usr/bin/bash",
    }
    return found if user == "root" else found | {"/usr/bin/sudo", "/usr/sbin/unix_chkpwd"}


def _read(group: int, stop: int, found: Counter[str], problems: list[str]) -> None:
    stopping = False
    while True:
        ready, _, _ = select.select([group] if stopping else [group, stop], [], [], 0 if stopping else None)
        if not ready:
            return  # everything that happened before the end has been read
        stopping = stopping or stop in ready
        if group in ready:
            _take(os.read(group, 65536), found, problems)


def _take(data: bytes, found: Counter[str], problems: list[str]) -> None:
    while data:
        length, _, _, _, mask, descriptor, _ = _EVENT.unpack_from(data)
        data = data[length:]
        if mask & _OVERFLOW:
            problems.append("events were lost, so a program may be missing")
        if descriptor >= 0:
            found[os.readlink(f"/proc/self/fd/{descriptor}")] += 1
            os.close(descriptor)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
