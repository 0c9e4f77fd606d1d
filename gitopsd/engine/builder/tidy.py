"""After RUN: what was made only to mount on is taken away. A job of a worker.

A container needs places to mount on (/proc, /etc/resolv.conf), which the runtime makes where an image lacks them. They are no part of
what the command did. Those that are still empty go, inside the upper folder and by descriptor alone (CVE-2024-23652: such a
cleaning that followed links removed files of the host), and with them folders that came up from below for nothing else.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Optional

from gitopsd.engine.paths.root import Root

AS_MADE = (stat.S_IFDIR | 0o755, 0, 0)
"""How the runtime makes a folder on the way to a place to mount on."""
FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW


def tidy(arguments: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """The worker's job: take away from `upper` what was made to mount on and stayed empty."""
    del descriptors
    mounted: list[str] = [posixpath.normpath("/" + path).strip("/") for path in arguments["mounted"]]
    with Root.at(arguments["upper"]) as upper:
        lower = [Root.at(os.path.join(str(arguments["layers"]), str(name))) for name in arguments["lower"]]
        try:
            for path in sorted(filter(None, mounted), key=lambda path: -path.count("/")):
                if _remove_if_empty(upper, path):
                    _remove_unchanged(upper, lower, posixpath.dirname(path))
        finally:
            for root in lower:
                root.close()


def _remove_if_empty(upper: Root, path: str) -> bool:
    with suppress(OSError), _above(upper, path) as folder:
        name = posixpath.basename(path)
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode) and not _is_opaque(folder, name):
            os.rmdir(name, dir_fd=folder)
            return True
        if stat.S_ISREG(found.st_mode) and found.st_size == 0:
            os.unlink(name, dir_fd=folder)
            return True
    return False


def _remove_unchanged(upper: Root, lower: Sequence[Root], path: str) -> None:
    """A folder that came up from below, or was made, only so that something could be made in it: empty again, and otherwise as it was."""
    while path:
        below = _below(lower, path)
        try:
            with _above(upper, path) as folder:
                name = posixpath.basename(path)
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                looked = AS_MADE if below is None else _looks(below)
                if _looks(found) != looked or _is_opaque(folder, name):
                    return
                os.rmdir(name, dir_fd=folder)
        except OSError:
            return
        path = posixpath.dirname(path)


def _below(lower: Sequence[Root], path: str) -> Optional[os.stat_result]:
    for root in lower:
        with suppress(OSError), _above(root, path) as folder:
            return os.stat(posixpath.basename(path), dir_fd=folder, follow_symlinks=False)
    return None


def _looks(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid


def _is_opaque(folder: int, name: str) -> bool:
    """Whether the folder hides one below it, so that without it that one would come back."""
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        return "trusted.overlay.opaque" in os.listxattr(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _above(root: Root, path: str) -> Generator[int, None, None]:
    """The folder above a path, no link followed on the way."""
    descriptor = os.dup(root.descriptor)
    try:
        for name in posixpath.dirname(path).split("/"):
            if name:
                following = os.open(name, FOLDER | os.O_CLOEXEC, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = following
        yield descriptor
    finally:
        os.close(descriptor)
