"""What CPython's os and socket have on Linux and PyPy's lack, so that the rest need not know: imported first, and by PyPy alone.

PyPy 7.3.11 is how the tests meet another Python 3.9; it runs no containers (it has no pidfd either).
"""

from __future__ import annotations

import ctypes
import os
import socket
from typing import Any, Optional

_AT_FDCWD, _AT_SYMLINK_FOLLOW = -100, 0x400
_libc = ctypes.CDLL(None, use_errno=True)


def fill() -> None:
    values: list[tuple[Any, str, int]] = [
        (os, "O_PATH", 0o10000000),
        (os, "O_TMPFILE", 0o20200000),
        (socket, "MSG_CMSG_CLOEXEC", 0x40000000),
        (socket, "MSG_NOSIGNAL", 0x4000),
    ]
    for module, name, value in values:
        if not hasattr(module, name):
            setattr(module, name, value)
    os.link = _link


def _link(
    src: str,
    dst: str,
    *,
    src_dir_fd: Optional[int] = None,
    dst_dir_fd: Optional[int] = None,
    follow_symlinks: bool = True,
) -> None:
    """os.link; PyPy's own passes a flag with follow_symlinks=False that linkat(2) does not know."""
    source = _AT_FDCWD if src_dir_fd is None else src_dir_fd
    target = _AT_FDCWD if dst_dir_fd is None else dst_dir_fd
    flags = _AT_SYMLINK_FOLLOW if follow_symlinks else 0
    if _libc.linkat(source, os.fsencode(src), target, os.fsencode(dst), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), src, None, dst)
