"""One door to the kernel: a system call by name, an OSError when it fails.

Rule: every call goes through `call`, so that errno is read where it was set and the error names the call and its path.
Numbers: Linux' syscall_64.tbl and asm-generic/unistd.h; from 424 on they are the same everywhere.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from typing import Optional, Union

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

_OLD: dict[str, tuple[int, int]] = {  # name: (x86_64, asm-generic: aarch64 and riscv64)
    "capget": (125, 90),
    "capset": (126, 91),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "sync_file_range": (277, 84),
    "syncfs": (306, 267),
    "setns": (308, 268),
    "renameat2": (316, 276),
    "seccomp": (317, 277),
    "bpf": (321, 280),
}
_NEW = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}
_MACHINE = platform.machine()
_COLUMN = {"x86_64": 0, "aarch64": 1, "riscv64": 1}.get(_MACHINE)

Argument = Union[int, bytes, str, None, "ctypes.Array[ctypes.c_char]", ctypes.Structure]


def number(name: str) -> int:
    """The number of a system call on this machine; raises OSError(ENOSYS) where it is not known."""
    if name in _NEW:
        return _NEW[name]
    if _COLUMN is None:
        raise OSError(errno.ENOSYS, f"{name}: system calls of {_MACHINE} are not known to this engine")
    return _OLD[name][_COLUMN]


def call(name: str, *arguments: Argument, path: Optional[str] = None) -> int:
    """Make a system call and return its result; raises OSError with the call's name.

    Text is passed as UTF-8 (surrogate-escaped) and NUL-terminated; structures and arrays by reference.
    """
    converted: list[object] = [ctypes.c_long(number(name))]
    for argument in arguments:
        if argument is None:
            converted.append(ctypes.c_void_p(None))
        elif isinstance(argument, int):
            converted.append(ctypes.c_long(argument))
        elif isinstance(argument, str):
            converted.append(ctypes.c_char_p(os.fsencode(argument)))
        elif isinstance(argument, bytes):
            converted.append(ctypes.c_char_p(argument))
        else:
            converted.append(ctypes.byref(argument))
    result: int = _syscall(*converted)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}", path)
    return result
