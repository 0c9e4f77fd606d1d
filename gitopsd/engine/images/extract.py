"""Put the entries of a layer's archive into a directory, as overlay takes it.

In: a `Reader`, a `Root` that nobody else writes to meanwhile.  Out: files in it.

Rule 1: a name means a path inside the root: `..` is taken away first, links in the folders above are followed inside the root
(as Docker and containerd do), the last component replaces what is there and is never followed.
Rule 2: `.wh.` names are whiteouts for what lies below, and never files.
Rule 3: extended attributes that mean something to overlay or to the host's kernel do not come from an archive.

Specification: image-spec, layer.md; kernel, Documentation/filesystems/overlayfs.rst. CVE-2014-9357, CVE-2026-17106 end here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from gitopsd.engine.images.stream import BadArchive
from gitopsd.engine.images.tar.entry import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Entry
from gitopsd.engine.images.tar.reader import Reader
from gitopsd.engine.paths.root import Root, remove_tree

WHITEOUT = ".wh."
_META = ".wh..wh."
OPAQUE = ".wh..wh..opq"
OPAQUE_ATTRIBUTE = "trusted.overlay.opaque"
_XATTRS = ("user.", "security.capability", "system.posix_acl_access", "system.posix_acl_default")
_NOT_THESE = "user.overlay."
_OPEN_FOLDERS = 64
_LATEST_NS = 1 << 62
# What an archive is to blame for; anything else (a full disk, a failing one) is ours.
_ITS_FAULT = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.ENOENT, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.EPERM,
              errno.EMLINK, errno.EXDEV, errno.EFBIG)  # fmt: skip


@dataclass(frozen=True)
class Extracted:
    """How much came out."""

    entries: int
    size_bytes: int


class Extractor:
    """Extracts one archive. `implied` are the folders that it uses without bringing them (see `take_looks`)."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self.implied: list[str] = []
        self._folders: dict[str, int] = {}
        self._times: dict[str, int] = {}
        self._whiteouts: set[str] = set()
        self._size = 0
        self._is_stale = False

    def extract(self, reader: Reader) -> Extracted:
        """All of it. The process's umask must be 0."""
        count = 0
        try:
            for entry in reader:
                count += 1
                try:
                    self._one(entry, reader)
                except OSError as error:
                    if error.errno in _ITS_FAULT:
                        raise BadArchive(f"entry {entry.name[:200]!r}: {error.strerror}") from None
                    raise
            self._set_times()
        finally:
            self._forget_folders()
        return Extracted(count, self._size)

    def _one(self, entry: Entry, reader: Reader) -> None:
        if self._is_stale:
            self._forget_folders()
        path = clean(entry.name)
        above, _, name = path.rpartition("/")
        if WHITEOUT in path:
            if name != OPAQUE and any(part.startswith(_META) for part in path.split("/")):
                return  # what aufs kept for itself
            if any(part.startswith(WHITEOUT) for part in above.split("/")):
                raise BadArchive(f"entry {entry.name[:200]!r} lies inside a whiteout")
            if name.startswith(WHITEOUT):
                self._whiteout(above, name)
                return
        if not path:
            if entry.kind != DIRECTORY:
                raise BadArchive(f"entry {entry.name[:200]!r} would replace the root")
            self._describe_folder(self._root.descriptor, "", entry)
            return
        folder = self._folder(above)
        if entry.kind == FILE:
            self._file(folder, name, path, entry, reader)
        elif entry.kind == DIRECTORY:
            self._directory(folder, name, path, entry)
        elif entry.kind == LINK:
            self._link(folder, name, path, entry)
        else:
            self._special(folder, name, path, entry)

    def _file(self, folder: int, name: str, path: str, entry: Entry, reader: Reader) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, entry.mode & 0o777, dir_fd=folder)
        except FileExistsError:
            self._clear(folder, name, path)
            descriptor = os.open(name, flags, entry.mode & 0o777, dir_fd=folder)
        try:
            if entry.sparse is None:
                for piece in reader.pieces():
                    while piece:
                        piece = piece[os.write(descriptor, piece) :]
                self._size += entry.size
            else:
                self._size += _write_regions(descriptor, entry, reader)
            os.fchown(descriptor, entry.uid, entry.gid)  # for 0:0 too: a folder with setgid gives its group away
            if entry.mode & 0o7000:
                os.fchmod(descriptor, entry.mode)
            if entry.xattrs:
                _set_xattrs(descriptor, entry.xattrs)
            mtime = _time(entry.mtime_ns)
            os.utime(descriptor, ns=(mtime, mtime))
        finally:
            os.close(descriptor)

    def _directory(self, folder: int, name: str, path: str, entry: Entry) -> None:
        is_opaque = path in self._whiteouts
        try:
            os.mkdir(name, 0o755, dir_fd=folder)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                self._clear(folder, name, path)
                os.mkdir(name, 0o755, dir_fd=folder)
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            self._describe_folder(descriptor, path, entry)
            if is_opaque:
                os.setxattr(descriptor, OPAQUE_ATTRIBUTE, b"y")
        finally:
            os.close(descriptor)

    def _describe_folder(self, descriptor: int, path: str, entry: Entry) -> None:
        os.fchown(descriptor, entry.uid, entry.gid)
        os.fchmod(descriptor, entry.mode)
        if entry.xattrs:
            _set_xattrs(descriptor, entry.xattrs)
        self._times[path] = entry.mtime_ns

    def _link(self, folder: int, name: str, path: str, entry: Entry) -> None:
        target = clean(entry.target)
        above, _, target_name = target.rpartition("/")
        if target_name.startswith(WHITEOUT) or target in self._whiteouts:
            raise BadArchive(f"entry {entry.name[:200]!r} links to a whiteout")
        try:
            source = self._root.open(above, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            raise BadArchive(
                f"entry {entry.name[:200]!r} links to {entry.target[:200]!r}, which is not in the archive before it"
            ) from None
        try:
            if path == target:
                return
            self._clear(folder, name, path)
            os.link(target_name, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            raise BadArchive(
                f"entry {entry.name[:200]!r} links to {entry.target[:200]!r}, which is not in the archive before it"
            ) from None
        finally:
            os.close(source)

    def _special(self, folder: int, name: str, path: str, entry: Entry) -> None:
        if entry.kind == CHARACTER and (entry.major, entry.minor) == (0, 0):
            raise BadArchive(f"entry {entry.name[:200]!r} is a character device 0:0, which overlay would take for a whiteout")
        self._clear(folder, name, path)
        if entry.kind == SYMLINK:
            os.symlink(entry.target, name, dir_fd=folder)
        elif entry.kind in (CHARACTER, BLOCK):
            kind = stat.S_IFCHR if entry.kind == CHARACTER else stat.S_IFBLK
            os.mknod(name, kind | entry.mode & 0o777, os.makedev(entry.major, entry.minor), dir_fd=folder)
        elif entry.kind == FIFO:
            os.mknod(name, stat.S_IFIFO | entry.mode & 0o777, dir_fd=folder)
        os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        if entry.kind != SYMLINK and entry.mode & 0o7000:
            os.chmod(name, entry.mode, dir_fd=folder)
        mtime = _time(entry.mtime_ns)
        os.utime(name, ns=(mtime, mtime), dir_fd=folder, follow_symlinks=False)

    def _whiteout(self, above: str, name: str) -> None:
        folder = self._folder(above)
        if name == OPAQUE:
            self._make_opaque(folder)
            return
        hidden = name[len(WHITEOUT) :]
        if hidden in ("", ".", ".."):
            raise BadArchive(f"whiteout {name!r} hides no name")
        path = f"{above}/{hidden}" if above else hidden
        try:
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=folder)
            self._whiteouts.add(path)
        except FileExistsError:  # this layer has brought it anew: only what lies below is hidden
            if stat.S_ISDIR(os.stat(hidden, dir_fd=folder, follow_symlinks=False).st_mode):
                inner = os.open(hidden, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                try:
                    self._make_opaque(inner)
                finally:
                    os.close(inner)

    def _make_opaque(self, folder: int) -> None:
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.setxattr(descriptor, OPAQUE_ATTRIBUTE, b"y")
        finally:
            os.close(descriptor)

    def _folder(self, path: str) -> int:
        """The folder at a path, made if the archive did not bring it; stays open for the entries that follow."""
        if not path:
            return self._root.descriptor
        found = self._folders.get(path)
        if found is not None:
            return found
        if len(self._folders) >= _OPEN_FOLDERS:
            self._forget_folders()
        try:
            found = self._root.open(path, os.O_PATH | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            self._take_back_whiteouts(path)
            found = self._root.make_directories(path, 0o755, self._made)
        self._folders[path] = found
        return found

    def _take_back_whiteouts(self, path: str) -> None:
        """A folder above was hidden in this layer, and now something is put in it: it is new, and hides what lies below."""
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            prefix = "/".join(parts[:count])
            if prefix in self._whiteouts:
                self._root.remove(prefix)
                self._whiteouts.discard(prefix)
                folder = self._root.make_directories(prefix)
                try:
                    self._make_opaque(folder)
                finally:
                    os.close(folder)

    def _made(self, descriptor: int, path: str) -> None:
        self._times[path] = 0
        self.implied.append(path)

    def _clear(self, folder: int, name: str, path: str) -> None:
        """Make room for an entry that is not a folder, or is one where none was."""
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            remove_tree(folder, name)
        self._whiteouts.discard(path)
        self._is_stale = True  # one of the open folders may have been reached through what is gone
        self._times.pop(path, None)

    def _forget_folders(self) -> None:
        while self._folders:
            os.close(self._folders.popitem()[1])
        self._is_stale = False

    def _set_times(self) -> None:
        """Folders last: each entry put into one changes its time."""
        for path, mtime_ns in self._times.items():
            with suppress(FileNotFoundError, NotADirectoryError):
                descriptor = self._root.open(path, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    mtime = _time(mtime_ns)
                    os.utime(descriptor, ns=(mtime, mtime))
                finally:
                    os.close(descriptor)


def clean(name: str) -> str:
    """The path that a name means: no leading slash, `.` or `..`. One that leaves the root is refused (Docker says breakout)."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                raise BadArchive(f"entry {name[:200]!r} leaves the root")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def take_looks(root: Root, paths: Sequence[str], lower: Sequence[Root]) -> None:
    """Give folders of a layer the owner, mode, attributes and time that they have in the layers below, the nearest first."""
    for path in paths:
        for below in lower:
            try:
                origin = below.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                status = os.fstat(origin)
                folder = root.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    os.fchown(folder, status.st_uid, status.st_gid)
                    os.fchmod(folder, stat.S_IMODE(status.st_mode))
                    _set_xattrs(folder, {name: os.getxattr(origin, name) for name in os.listxattr(origin)})
                    os.utime(folder, ns=(status.st_mtime_ns, status.st_mtime_ns))
                finally:
                    os.close(folder)
            finally:
                os.close(origin)
            break


def _write_regions(descriptor: int, entry: Entry, reader: Reader) -> int:
    written = 0
    regions = iter(entry.sparse or ())
    at = left = 0
    for piece in reader.pieces():
        while piece:
            if not left:
                at, left = next(regions)
            count = os.pwrite(descriptor, piece[:left], at)
            at, left, piece, written = at + count, left - count, piece[count:], written + count
    os.ftruncate(descriptor, entry.size)
    return written


def is_kept_xattr(name: str) -> bool:
    """Whether an extended attribute travels in layers."""
    return name.startswith(_XATTRS) and not name.startswith(_NOT_THESE)


def _set_xattrs(descriptor: int, xattrs: Mapping[str, bytes]) -> None:
    for name, value in xattrs.items():
        if is_kept_xattr(name):
            try:
                os.setxattr(descriptor, name, value)
            except OSError as error:
                if error.errno != errno.ENOTSUP:
                    raise


def _time(mtime_ns: int) -> int:
    return max(-_LATEST_NS, min(mtime_ns, _LATEST_NS))
