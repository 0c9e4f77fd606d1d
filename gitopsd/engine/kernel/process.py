"""What a process is and may do: namespaces, capabilities, dumpability, parent's death, descriptors.

Rule: nothing here forks; who forks says so at its own place.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Iterable, Sequence
from typing import Optional

from gitopsd.engine.kernel.syscalls import call

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
NAMESPACES = {
    "mnt": CLONE_NEWNS, "cgroup": CLONE_NEWCGROUP, "uts": CLONE_NEWUTS, "ipc": CLONE_NEWIPC,
    "user": CLONE_NEWUSER, "pid": CLONE_NEWPID, "net": CLONE_NEWNET,
}  # fmt: skip

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NAME, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 1, 4, 15, 23, 24
_PR_SET_KEEPCAPS, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 8, 36, 38, 47
_PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 2, 4
_CLOSE_RANGE_CLOEXEC = 4
_KEYCTL_JOIN_SESSION_KEYRING = 1

CAPABILITIES: Sequence[str] = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()
"""Names by number, without `CAP_` (capabilities(7))."""


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapData(ctypes.Structure):
    _fields_ = [(f"{name}{half}", ctypes.c_uint32) for half in (0, 1) for name in ("effective", "permitted", "inheritable")]


def unshare(flags: int) -> None:
    call("unshare", flags)


def setns(descriptor: int, flags: int) -> None:
    """Join namespaces: of a namespace file, or several at once of a pidfd (kernel 5.8)."""
    call("setns", descriptor, flags)


def set_dumpable(value: bool) -> None:
    """Whether others of the same user may trace this process and read its descriptors (CVE-2016-9962)."""
    call("prctl", _PR_SET_DUMPABLE, int(value), 0, 0, 0)


def set_parent_death_signal(number: int) -> None:
    call("prctl", _PR_SET_PDEATHSIG, number, 0, 0, 0)


def set_name(name: str) -> None:
    """The name in ps and top, 15 characters at most."""
    call("prctl", _PR_SET_NAME, name[:15], 0, 0, 0)


def set_title(name: str) -> None:
    """The name in ps and top, and instead of this process's words and environment, which /proc shows to others.

    For a process that starts no program that takes its environment from the C library.
    """
    set_name(name)
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[48])  # arg_start and env_end of proc(5), which lie together
    if 0 < start < end:
        ctypes.memset(start, 0, end - start)
        ctypes.memmove(start, name.encode()[: end - start - 1], min(len(name), end - start - 1))


def leave_session_keyring() -> None:
    """Go on with a new and empty one without a name, which nobody else can join.

    Left as it is where the kernel has no keys, or a filter around us forbids the call (EPERM), and with it what could be done with keys.
    """
    try:
        call("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, None)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def set_child_subreaper() -> None:
    call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_no_new_privileges() -> None:
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def set_keep_capabilities(value: bool) -> None:
    call("prctl", _PR_SET_KEEPCAPS, int(value), 0, 0, 0)


def drop_bounding(keep: Iterable[int]) -> None:
    """Remove every capability but these from the bounding set, whatever the kernel's last one is."""
    kept = set(keep)
    for number in range(64):
        try:
            call("prctl", _PR_CAPBSET_READ, number, 0, 0, 0)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return
            raise
        if number not in kept:
            call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)


def clear_ambient() -> None:
    call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def set_capabilities(effective: Iterable[int], permitted: Iterable[int], inheritable: Iterable[int] = ()) -> None:
    sets = [_mask(effective), _mask(permitted), _mask(inheritable)]
    header = _CapHeader(0x20080522, 0)
    data = _CapData(*(mask & 0xFFFFFFFF for mask in sets), *(mask >> 32 for mask in sets))
    call("capset", header, data)


def permitted_capabilities() -> set[int]:
    header, data = _CapHeader(0x20080522, 0), _CapData()
    call("capget", header, data)
    mask: int = data.permitted0 | data.permitted1 << 32
    return {number for number in range(64) if mask >> number & 1}


def _mask(numbers: Iterable[int]) -> int:
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def close_on_exec_from(lowest: int) -> None:
    """Mark every descriptor from `lowest` on close-on-exec, so that none reaches the program (CVE-2024-21626)."""
    try:
        call("close_range", lowest, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL):
            raise
        for name in os.listdir("/proc/self/fd"):
            descriptor = int(name)
            if descriptor >= lowest:
                try:
                    os.set_inheritable(descriptor, False)
                except OSError as gone:
                    if gone.errno != errno.EBADF:
                        raise


def reset_signals() -> None:
    """Default dispositions and an empty mask, as a program expects to be started."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            try:
                signal.signal(number, signal.SIG_DFL)
            except OSError as error:  # the C library keeps two real-time signals to itself
                if error.errno != errno.EINVAL:
                    raise


def pidfd_open(pid: int) -> int:
    return os.pidfd_open(pid)


def pidfd_signal(pidfd: int, number: int) -> None:
    signal.pidfd_send_signal(pidfd, number)


def exit_code(status: int) -> int:
    """A wait status as Docker gives it: the code, or 128 and the signal."""
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def reap(pid: int, options: int = 0) -> Optional[int]:
    """Wait for a child; its exit code, or None if it still runs (with WNOHANG)."""
    found, status = os.waitpid(pid, options)
    return exit_code(status) if found else None
