"""Making a container's root: mounts, devices, masked paths, pivot_root. Runs as the container's first process.

Every destination is a path that an image wrote, so: it is resolved beneath the root's descriptor and mounted on the
descriptor that this gave (CVE-2021-30465, CVE-2026-41579); new folders are made component by component there
(CVE-2024-45310); what is bound over masked files, read-only, is the null device of the /dev made here, reached from that mount and
checked (CVE-2025-31133): the host's own would be changed by a chmod in the container. Sources are opened before the root changes.

In: an OCI runtime config.  Not here: namespaces and the order of things (init.py), what to mount (daemon/spec.py).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, Optional

from gitopsd.engine.kernel import mount as km
from gitopsd.engine.kernel.files import PROC_SUPER_MAGIC, filesystem_type
from gitopsd.engine.paths.resolve import open_in_root
from gitopsd.engine.paths.root import Root

_ATTRIBUTES = {
    "ro": km.MOUNT_ATTR_RDONLY,
    "nosuid": km.MOUNT_ATTR_NOSUID,
    "nodev": km.MOUNT_ATTR_NODEV,
    "noexec": km.MOUNT_ATTR_NOEXEC,
}
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
          "ptmx": "pts/ptmx", "core": "/proc/kcore"}  # fmt: skip


def mount_overlay(layers: str, overlay: dict[str, Any], target: str) -> None:
    """Mount the layers `overlay["lower"]` (short ids, top first) with a writable top onto `target`.

    Changes the working directory: paths in the options are relative to the folder of layers, because the kernel takes one page of them.
    """
    os.chdir(layers)
    if not overlay["lower"]:
        raise OSError(errno.EINVAL, "an image without layers cannot be run")
    options = "lowerdir=" + ":".join(overlay["lower"])
    options += f",upperdir={os.path.relpath(overlay['upper'])},workdir={os.path.relpath(overlay['work'])}"
    km.mount("overlay", target, "overlay", 0, options)


def make_root(target: str, config: dict[str, Any]) -> int:
    """Prepare the mounted root at `target` as the config says; returns its descriptor. The process is not inside yet."""
    root = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    null = -1
    for entry in config["mounts"]:
        made = _mount(root, entry)
        null = made if made >= 0 else null
    if null < 0:
        raise OSError(errno.ENODEV, "a container without a /dev of its own cannot be run")
    replace_null(null)
    linux = config["linux"]
    _mask(root, linux.get("maskedPaths", []), null)
    for path in linux.get("readonlyPaths", ()):
        _make_path_read_only(root, path)
    os.close(null)
    return root


def enter_root(root: int) -> None:
    """Make it this process's root, and the old one unreachable."""
    os.fchdir(root)
    km.pivot_root(".", ".")
    km.unmount(".")
    os.chdir("/")
    os.close(root)


def make_read_only() -> None:
    """The root alone, not what is mounted below it."""
    km.set_attributes(km.AT_FDCWD, "/", km.MOUNT_ATTR_RDONLY, recursive=False)


def replace_null(null: int) -> None:
    """Let no standard stream be another null device than this one: /proc/self/fd leads to its inode, the host's too."""
    for descriptor in (0, 1, 2):
        if is_null(descriptor):
            os.dup2(null, descriptor)


def open_null(path: str, directory: Optional[int] = None) -> int:
    """A null device to read and write, known to be one. What stands there may be a stranger's: nothing waits for it."""
    null = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=directory)
    if not is_null(null):
        os.close(null)
        raise OSError(errno.ENODEV, "not the null device", path)
    os.set_blocking(null, True)
    return null


def is_null(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3)


def _mount(root: int, entry: dict[str, Any]) -> int:
    """Mount one entry; returns the null device of a fresh /dev, else -1."""
    destination, kind = entry["destination"], entry["type"]
    options: list[str] = entry.get("options", [])
    attributes = 0
    for name in options:
        attributes |= _ATTRIBUTES.get(name, 0)
    if kind == "bind":
        source = entry["source"]
        tree = km.open_tree(km.AT_FDCWD, source, recursive="rbind" in options)
        is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        if attributes:
            km.set_attributes(tree, "", attributes, recursive="rbind" in options)
    else:
        settings = {name: value for name, _, value in (text.partition("=") for text in options) if value}
        tree = km.new_filesystem(kind, {"source": entry.get("source", kind), **settings}, attributes)
        is_directory = True
        if destination == "/dev":
            _make_devices(tree)
    place = _place(root, destination, is_directory)
    try:
        if kind != "proc" and filesystem_type(place) == PROC_SUPER_MAGIC:  # by whatever link it was reached
            raise OSError(errno.EPERM, f"{destination}: nothing may be mounted over /proc (CVE-2019-16884)")
        km.move_mount(tree, place, "")
        # only now: of a detached mount a copy can be made since 6.15 only
        return open_null("null", tree) if destination == "/dev" and kind != "bind" else -1
    finally:
        os.close(place)
        os.close(tree)


def _place(root: int, path: str, is_directory: bool) -> int:
    """A descriptor of `path` beneath the root to mount on; folders, and a file at its end, are made where they are missing."""
    if path.strip("/") == "":
        raise OSError(errno.EINVAL, "the root itself may not be mounted over")
    inside = Root(root)
    try:
        return inside.open(path, os.O_PATH)
    except FileNotFoundError:
        pass
    if is_directory:
        return inside.make_directories(path)
    os.close(inside.make_directories(os.path.dirname(path)))
    os.close(inside.create(path, 0o644))
    return inside.open(path, os.O_PATH)


def _make_devices(directory: int) -> None:
    """Fill a fresh /dev before anybody can reach it (CVE-2026-41579: an image's /dev may be a link)."""
    for name, (major, minor) in _DEVICES.items():
        os.mknod(name, 0o666 | stat.S_IFCHR, os.makedev(major, minor), dir_fd=directory)
    for name, target in _LINKS.items():
        os.symlink(target, name, dir_fd=directory)


def _mask(root: int, paths: list[str], null: int) -> None:
    """Hide paths: an empty read-only folder over a folder, the null device over a file; nothing where there is nothing."""
    empty = -1
    for path in paths:
        try:
            place = open_in_root(root, path, os.O_PATH)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            if not stat.S_ISDIR(os.fstat(place).st_mode):
                tree = km.open_tree(null, "")
                km.set_attributes(tree, "", km.MOUNT_ATTR_RDONLY, recursive=False)
            elif empty < 0:
                tree = empty = km.new_filesystem("tmpfs", {"size": "0", "mode": "755"}, km.MOUNT_ATTR_RDONLY)
            else:
                tree = km.open_tree(empty, "")
            km.move_mount(tree, place, "")
            if tree != empty:
                os.close(tree)
        finally:
            os.close(place)
    if empty >= 0:
        os.close(empty)


def _make_path_read_only(root: int, path: str) -> None:
    try:
        place = open_in_root(root, path, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        tree = km.open_tree(place, "", recursive=True)
        km.set_attributes(tree, "", km.MOUNT_ATTR_RDONLY, recursive=True)
        km.move_mount(tree, place, "")
        os.close(tree)
    finally:
        os.close(place)
