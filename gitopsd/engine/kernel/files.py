"""Files: opening beneath a root, renaming without replacing, syncing a file system, watching a folder."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator

from gitopsd.engine.kernel.syscalls import call

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 1, 2, 4, 8, 16
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x2, 0x8, 0x80, 0x100, 0x200
PROC_SUPER_MAGIC = 0x9FA0


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def openat2(directory: int, path: str, flags: int, mode: int = 0, resolve: int = RESOLVE_IN_ROOT) -> int:
    """Open `path` below `directory` with RESOLVE_* rules (kernel 5.6; OSError ENOSYS before)."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    return call("openat2", directory, path, how, ctypes.sizeof(how), path=path)


def renameat2(old_directory: int, old: str, new_directory: int, new: str, flags: int) -> None:
    call("renameat2", old_directory, old, new_directory, new, flags, path=new)


def syncfs(descriptor: int) -> None:
    """Write out everything of the file system that holds `descriptor`."""
    call("syncfs", descriptor)


_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def inotify() -> int:
    """A non-blocking inotify descriptor."""
    return _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")


def inotify_watch(descriptor: int, path: str, mask: int) -> int:
    return _checked(_libc.inotify_add_watch(descriptor, os.fsencode(path), mask), "inotify_add_watch")


def inotify_forget(descriptor: int, watch: int) -> None:
    _checked(_libc.inotify_rm_watch(descriptor, watch), "inotify_rm_watch")


def inotify_events(descriptor: int) -> Iterator[tuple[int, int]]:
    """What is waiting: pairs of watch and mask."""
    data = os.read(descriptor, 65536)
    offset = 0
    while offset < len(data):
        watch, mask, _, length = struct.unpack_from("iIII", data, offset)
        yield watch, mask
        offset += 16 + length


def filesystem_type(descriptor: int) -> int:
    """The magic number of the file system that holds `descriptor` (statfs(2))."""
    buffer = ctypes.create_string_buffer(256)
    _checked(_libc.fstatfs(descriptor, buffer), "fstatfs")
    kind: int = struct.unpack_from("q" if ctypes.sizeof(ctypes.c_long) == 8 else "i", buffer)[0]
    return kind
