"""The worker's job that makes a layer of an overlay's upper folder.

In: the upper folder, a latest time.  Out: an uncompressed tar on a descriptor: the same folder gives the same bytes. The folder
itself is left as the tar would unpack, so that it can become the layer's own: times, attributes, no sockets.

Overlay's whiteouts become the image format's, its opaque folders too; its own attributes stay behind. Sockets are left out, as
tar has no word for them. Names are in byte order, a folder before what is in it.

The overlay must have been mounted without `redirect_dir` and `metacopy`: with them a folder's content is not all in the upper one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any, Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.images.extract import OPAQUE, OPAQUE_ATTRIBUTE, WHITEOUT, is_kept_xattr
from gitopsd.engine.images.tar.entry import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Entry
from gitopsd.engine.images.tar.writer import Writer
from gitopsd.engine.paths.root import Found, Root

JOB = "gitopsd.engine.images.diff:diff_layer"
_PIECE = 1 << 20
_KINDS = {
    stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK, stat.S_IFCHR: CHARACTER, stat.S_IFBLK: BLOCK, stat.S_IFIFO: FIFO,
}  # fmt: skip
_ELSEWHERE = ("trusted.overlay.redirect", "trusted.overlay.metacopy")


def diff_layer(arguments: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    """`arguments`: `epoch` in seconds or None. `descriptors`: the upper folder, the file to write."""
    epoch: Optional[int] = arguments["epoch"]
    upper, out = descriptors
    count = size = 0
    latest_ns = None if epoch is None else epoch * 1_000_000_000
    with os.fdopen(os.dup(out), "wb", _PIECE) as file:
        writer = Writer(file.write)
        links: dict[tuple[int, int], str] = {}
        for found in Root(upper).walk():
            for entry in _entries(found, links):
                if latest_ns is not None:
                    entry.mtime_ns = min(entry.mtime_ns, latest_ns)
                writer.add(entry, _data(found) if entry.kind == FILE and entry.size else ())
                count += 1
                size += entry.size
            _settle(found, latest_ns)
        writer.finish()
    return {"entries": count, "size_bytes": size}


def _settle(found: Found, latest_ns: Optional[int]) -> None:
    """Make what is in the folder as it is in the tar. What else stands in the same folder keeps its time."""
    here = f"/proc/self/fd/{found.folder}/{found.name}"
    kind = stat.S_IFMT(found.status.st_mode)
    if kind not in _KINDS:
        above = os.fstat(found.folder)
        os.unlink(found.name, dir_fd=found.folder)
        os.utime(found.folder, ns=(above.st_atime_ns, above.st_mtime_ns))
        return
    for name in os.listxattr(here, follow_symlinks=False):
        if not is_kept_xattr(name) and name != OPAQUE_ATTRIBUTE:
            os.removexattr(here, name, follow_symlinks=False)
    if latest_ns is not None and found.status.st_mtime_ns > latest_ns:
        os.utime(found.name, ns=(latest_ns, latest_ns), dir_fd=found.folder, follow_symlinks=False)


def _entries(found: Found, links: dict[tuple[int, int], str]) -> Iterator[Entry]:
    status = found.status
    above = found.path[: -len(found.name)]
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        yield Entry(f"{above}{WHITEOUT}{found.name}", FILE, 0o644, 0, 0, 0, status.st_mtime_ns)
        return
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return
    if found.name.startswith(WHITEOUT):
        raise ApiError(400, f"make a layer: {found.path!r} has a name that means a deletion in layers")
    here = f"/proc/self/fd/{found.folder}/{found.name}"
    xattrs = {name: os.getxattr(here, name, follow_symlinks=False) for name in os.listxattr(here, follow_symlinks=False)}
    if any(name in xattrs for name in _ELSEWHERE):
        raise ApiError(
            500, f"make a layer: the overlay was mounted with redirect_dir or metacopy, so {found.path!r} is not all here"
        )
    identity = (status.st_dev, status.st_ino)
    if kind != DIRECTORY and status.st_nlink > 1:
        if identity in links:
            yield Entry(
                found.path,
                LINK,
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                0,
                status.st_mtime_ns,
                links[identity],
            )
            return
        links[identity] = found.path
    is_device = kind in (CHARACTER, BLOCK)
    yield Entry(
        found.path, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_size if kind == FILE else 0, status.st_mtime_ns,
        os.readlink(found.name, dir_fd=found.folder) if kind == SYMLINK else "",
        os.major(status.st_rdev) if is_device else 0, os.minor(status.st_rdev) if is_device else 0,
        {name: value for name, value in xattrs.items() if is_kept_xattr(name)},
    )  # fmt: skip
    if kind == DIRECTORY and xattrs.get(OPAQUE_ATTRIBUTE) == b"y":
        yield Entry(f"{found.path}/{OPAQUE}", FILE, 0o644, 0, 0, 0, status.st_mtime_ns)


def _data(found: Found) -> Iterator[bytes]:
    descriptor = os.open(found.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=found.folder)
    try:
        while True:
            piece = os.read(descriptor, _PIECE)
            if not piece:
                return
            yield piece
    finally:
        os.close(descriptor)
