"""Open a path inside a root directory, whatever links lie on the way.

In: the descriptor of a root, a path somebody else wrote, open(2)'s flags.  Out: a descriptor of something inside the root.

Rule 1: the root is `/` to the path. Links are followed, absolute ones from the root; `..` at the root stays there.
Rule 2: magic links (/proc/self/fd/3, which lead anywhere without a name) are never followed: ELOOP.
Rule 3: races change what is found, never where: each step goes from a descriptor that was itself reached from the root.

The kernel does this by openat2 since 5.6; `open_by_walk` is for older ones and for sandboxes that filter the call, and both
pass the same tests. One class of error stands behind 14 runc advisories since 2017 (LWN 1050887), hence one place.
"""

from __future__ import annotations

import errno
import os
from stat import S_ISLNK

from gitopsd.engine.kernel.files import (
    PROC_SUPER_MAGIC,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    filesystem_type,
    openat2,
)

_MOST_LINKS = 40  # as the kernel's MAXSYMLINKS
_MOST_TRIES = 64


def open_by_kernel(root: int, path: str, flags: int, mode: int = 0) -> int:
    """openat2 with RESOLVE_IN_ROOT; EAGAIN, which a rename elsewhere causes at `..`, is tried again."""
    if not flags & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY):
        mode = 0  # openat2 refuses a mode that means nothing
    for _ in range(_MOST_TRIES - 1):
        try:
            return openat2(root, path or ".", flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        except BlockingIOError:
            continue
    return openat2(root, path or ".", flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)


def open_by_walk(root: int, path: str, flags: int, mode: int = 0) -> int:
    """The same by single steps: each component is opened without following, and links are read and walked by us."""
    if not path:
        path = "."
    if len(os.fsencode(path)) >= 4096:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
    ways = [os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)]
    try:
        return _walk(ways, path, flags, mode)
    finally:
        for way in ways:
            os.close(way)


def _walk(ways: list[int], path: str, flags: int, mode: int) -> int:
    """`ways` are the directories from the root to where we stand; what is left to walk is a stack, next one last."""
    left = _components(path)
    links = 0
    while left:
        name = left.pop()
        if name == ".":
            continue
        if name == "..":
            if len(ways) > 1:
                os.close(ways.pop())
            continue
        is_last = not left
        here = ways[-1]
        try:
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
        except FileNotFoundError:
            if is_last and flags & os.O_CREAT:
                return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=here)
            raise
        try:
            if S_ISLNK(os.fstat(found).st_mode) and not (is_last and flags & (os.O_NOFOLLOW | os.O_EXCL)):
                links += 1
                text = os.readlink("", dir_fd=found)
                if links > _MOST_LINKS or (filesystem_type(found) == PROC_SUPER_MAGIC and _is_magic(text)):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if text.startswith("/"):
                    while len(ways) > 1:
                        os.close(ways.pop())
                left.extend(_components(text))
                continue
            if is_last:
                return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=here)
            if os.fstat(found).st_mode & 0o170000 != 0o040000:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            ways.append(found)
            found = -1
        finally:
            if found >= 0:
                os.close(found)
    if flags & os.O_CREAT:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return os.open(".", flags | os.O_CLOEXEC, mode, dir_fd=ways[-1])


def _components(path: str) -> list[str]:
    """The steps of a path, last one first; one that ends in a slash ends in `.`, so that it must be a directory."""
    parts = [part for part in path.split("/") if part]
    if path.endswith("/") and parts:
        parts.append(".")
    return parts[::-1]


def _is_magic(text: str) -> bool:
    """A link of procfs that names no path: to an open file, an executable, a root, a namespace."""
    return text.startswith("/") or ":[" in text


def _kernel_has_openat2() -> bool:
    try:
        os.close(openat2(-100, "/", os.O_PATH, 0, RESOLVE_IN_ROOT))
    except OSError:
        return False
    return True


open_in_root = open_by_kernel if _kernel_has_openat2() else open_by_walk
