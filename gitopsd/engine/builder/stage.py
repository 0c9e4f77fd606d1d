"""A stage's files, for the jobs of a worker: mounted where only this process sees it, and read as a tree.

In: layers by their short ids.  Out: `Root`s of the overlay, a `StageTree`, the numbers of users.

The process must be one that ends with its job: it goes into a mount namespace of its own and stays there.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Optional, cast

from gitopsd.engine.builder.attributes import is_copied
from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.tree import Entry, Kind
from gitopsd.engine.kernel import mount as km
from gitopsd.engine.kernel import process
from gitopsd.engine.paths.root import Root
from gitopsd.engine.runtime import user
from gitopsd.engine.runtime.rootfs import mount_overlay

MOST_ACCOUNTS = 1 << 20
PIECE = 16 << 20
KINDS: dict[int, Kind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "character",
    stat.S_IFBLK: "block",
}
FORMATS = {kind: form for form, kind in KINDS.items()}


@contextmanager
def written_stage(arguments: Mapping[str, Any]) -> Generator[Root, None, None]:
    """The stage that is written to. Without layers below it is `upper` itself. Mounted no more when this ends."""
    _leave()
    if not arguments["lower"]:
        with Root.at(arguments["upper"]) as root:
            yield root
        return
    mount_overlay(arguments["layers"], cast("dict[str, Any]", arguments), arguments["merged"])
    with Root.at(arguments["merged"]) as root:
        yield root
    km.unmount(arguments["merged"], 0)


@contextmanager
def read_stage(arguments: Mapping[str, Any]) -> Generator[Root, None, None]:
    """A stage that is only read."""
    lower: list[str] = arguments["from_lower"]
    if not lower:
        raise BuildError("not found: the stage that is copied from is empty")
    if len(lower) == 1:
        place = os.path.join(str(arguments["layers"]), lower[0])
    else:
        _leave()
        os.chdir(arguments["layers"])
        place = arguments["source"]
        km.mount("overlay", place, "overlay", km.MS_RDONLY, "lowerdir=" + ":".join(lower))
    with Root.at(place) as root:
        yield root


def account(root: Root, text: str, user_default: bool = False) -> tuple[int, int]:
    """Numbers for `--chown`: names by the stage's own files; a number alone is the group's number too, as the reference says."""
    name, _, group = text.partition(":")
    if name.isdigit() and not group and not user_default:
        text = f"{name}:{name}"
    try:
        uid, gid, _, _ = user.parse(text, _accounts(root, "etc/passwd"), _accounts(root, "etc/group"))
    except user.UserError as error:
        raise BuildError(str(error)) from None
    return uid, gid


def _accounts(root: Root, path: str) -> bytes:
    try:
        return root.read(path, MOST_ACCOUNTS)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise BuildError(f"/{path}: {error.strerror or error}") from None


def _leave() -> None:
    """Into a mount namespace of our own, from which nothing spreads."""
    process.unshare(process.CLONE_NEWNS)
    km.set_propagation("/", km.MS_REC | km.MS_PRIVATE)


class StageTree:
    """The files of a mounted stage. Its layers are finished, so nothing in it changes meanwhile."""

    def __init__(self, root: Root, with_digests: bool) -> None:
        self.root = root
        self.with_digests = with_digests

    def entry(self, path: str) -> Optional[Entry]:
        try:
            found = self.root.status(path or ".", follow=not path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        kind = KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None or (kind == "character" and found.st_rdev == 0):
            return None  # a socket, on which nobody listens any more; a whiteout, where one layer is read alone
        is_file = kind == "file"
        fields: dict[str, Any] = {"size": found.st_size} if is_file else {}
        if kind == "link":
            with self.root.parent(path) as (folder, name):
                fields["link"] = os.readlink(name, dir_fd=folder)
        elif kind in ("character", "block"):
            fields["device"] = found.st_rdev
        elif kind in ("file", "folder"):
            fields.update(self._opened(path, is_file))
        if is_file and found.st_nlink > 1:
            fields["twin"] = f"{found.st_dev}:{found.st_ino}"
        mode = stat.S_IMODE(found.st_mode)
        return Entry(path, kind, mode, found.st_uid, found.st_gid, found.st_mtime_ns, **fields)

    def names(self, folder: str) -> Sequence[str]:
        descriptor = self.root.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            return sorted(os.listdir(descriptor), key=os.fsencode)
        finally:
            os.close(descriptor)

    def content(self, entry: Entry) -> tuple[int, int]:
        return self.root.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW), 0

    def _opened(self, path: str, is_file: bool) -> dict[str, Any]:
        descriptor = self.root.open(path or ".", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            names = [name for name in sorted(os.listxattr(descriptor)) if is_copied(name)]
            fields: dict[str, Any] = {"attributes": tuple((name, os.getxattr(descriptor, name).hex()) for name in names)}
            if is_file and self.with_digests:
                content = hashlib.sha256()
                while piece := os.read(descriptor, PIECE):
                    content.update(piece)
                fields["digest"] = content.hexdigest()
        finally:
            os.close(descriptor)
        return fields
