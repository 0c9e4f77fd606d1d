"""Mounting: the old call, and the new ones that work on file descriptors instead of paths.

The new ones matter for safety: a tree is opened, made, and put in its place by descriptor, so nobody can swap a path
for a symlink in between (CVE-2021-30465).
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Optional

from gitopsd.engine.kernel.syscalls import call

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_NOSYMFOLLOW, MS_NOATIME, MS_BIND, MS_MOVE, MS_REC = 32, 256, 1024, 4096, 8192, 16384
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_RELATIME = 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 21
MNT_DETACH = 2

OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC, AT_RECURSIVE, AT_EMPTY_PATH = 1, os.O_CLOEXEC, 0x8000, 0x1000
AT_FDCWD, AT_SYMLINK_NOFOLLOW = -100, 0x100
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x04, 0x40
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8


class _MountAttr(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def mount(source: str, target: str, kind: Optional[str] = None, flags: int = 0, options: Optional[str] = None) -> None:
    call("mount", source, target, kind, flags, options, path=target)


def unmount(target: str, flags: int = MNT_DETACH) -> None:
    call("umount2", target, flags, path=target)


def pivot_root(new_root: str, put_old: str) -> None:
    call("pivot_root", new_root, put_old, path=new_root)


def set_propagation(target: str, flags: int) -> None:
    """Change how mounts below `target` pass to and from other namespaces: MS_REC with MS_PRIVATE, MS_SLAVE or MS_SHARED."""
    call("mount", None, target, None, flags, None, path=target)


def bind(source: str, target: str, recursive: bool = False, read_only: bool = False) -> None:
    """Bind `source` onto `target`; read-only for this mount alone, keeping what flags the source has."""
    mount(source, target, None, MS_BIND | (MS_REC if recursive else 0))
    if read_only:
        make_read_only(target, recursive)


def make_read_only(target: str, recursive: bool) -> None:
    """Make a mount read-only, those below it too where the kernel can (5.12); else the top one alone."""
    try:
        set_attributes(AT_FDCWD, target, MOUNT_ATTR_RDONLY, recursive)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        flags = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME)
        call("mount", None, target, None, flags | MS_REMOUNT | MS_BIND | MS_RDONLY, None, path=target)


def set_attributes(directory: int, path: str, attributes: int, recursive: bool, clear: int = 0) -> None:
    """mount_setattr(2): set and clear MOUNT_ATTR_* on the mount at `path`, or at the descriptor with an empty path."""
    flags = (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    attr = _MountAttr(attributes, clear, 0, 0)
    call("mount_setattr", directory, path, flags, attr, ctypes.sizeof(attr), path=path)


def open_tree(directory: int, path: str, recursive: bool = False) -> int:
    """A descriptor of a detached copy of the mount at `path` (or at the descriptor itself, with an empty path)."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return call("open_tree", directory, path, flags, path=path)


def move_mount(tree: int, directory: int, path: str) -> None:
    """Put a detached tree at `path` (or onto the descriptor itself, with an empty path)."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if path else MOVE_MOUNT_T_EMPTY_PATH)
    call("move_mount", tree, "", directory, path, flags, path=path)


def new_filesystem(kind: str, options: dict[str, Optional[str]], attributes: int = 0) -> int:
    """A detached mount of a new file system as a descriptor (fsopen, fsconfig, fsmount; kernel 5.2)."""
    context = call("fsopen", kind, 1, path=kind)
    try:
        for key, value in options.items():
            if value is None:
                call("fsconfig", context, 0, key, None, 0, path=key)  # FSCONFIG_SET_FLAG
            else:
                call("fsconfig", context, 1, key, value, 0, path=key)  # FSCONFIG_SET_STRING
        call("fsconfig", context, 6, None, None, 0, path=kind)  # FSCONFIG_CMD_CREATE
        return call("fsmount", context, 1, attributes, path=kind)
    finally:
        os.close(context)
