"""A directory, and what can be done to paths inside it.

In: a descriptor of the directory, paths that strangers wrote.  Out: descriptors, and changes inside the directory alone.

Rule 1: nothing here leaves the root, whatever links, `..` and races there are (resolve.py).
Rule 2: what makes something at a path replaces what is there and never follows it: links in the folders above are
followed inside the root, the last component never is.
Rule 3: names are str by os.fsdecode, so that any bytes come back as they were.

Advisories that end here: CVE-2014-9357, CVE-2018-15664, CVE-2024-45310, CVE-2023-0778, CVE-2026-17106.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Callable, NamedTuple, Optional

from gitopsd.engine.paths.resolve import open_in_root

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
# How deep removal goes before it moves a folder up instead: a tree may be deeper than we may have files open.
_DEEPEST = 64
_PATIENCE_S = 5
MOVED_UP = ".gone-"
"""How a folder begins that a removal moved up, and may leave when it is broken off."""


class Found(NamedTuple):
    """Something met on a walk: its path from where the walk began, and what lstat says."""

    path: str
    name: str
    folder: int
    status: os.stat_result


class Root:
    """Owns `descriptor`, a directory, until closed. Safe in threads as long as nobody closes it meanwhile."""

    def __init__(self, descriptor: int, open_inside: Callable[[int, str, int, int], int] = open_in_root) -> None:
        self.descriptor = descriptor
        self._open_inside = open_inside

    @classmethod
    def at(cls, path: str) -> Root:
        """The directory at a path that we ourselves chose."""
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def __enter__(self) -> Root:  # noqa: PYI034  Self came after 3.9
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
        """What is at `path`, links followed inside the root; O_NOFOLLOW for the last component alone."""
        _check(path)
        return self._open_inside(self.descriptor, path, flags, mode)

    def read(self, path: str, most: int) -> bytes:
        """The content of a regular file of at most `most` bytes; a FIFO or device neither blocks nor is read (CVE-2026-47262)."""
        descriptor = self.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            data = file.read(most + 1)
        if len(data) > most:
            raise OSError(errno.EFBIG, f"larger than {most} bytes", path)
        return data

    def status(self, path: str, follow: bool = True) -> os.stat_result:
        """stat, or lstat of the last component with `follow` false."""
        descriptor = self.open(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def subroot(self, path: str) -> Root:
        """The folder at `path` as a root of its own: nothing above it can be reached through it."""
        return Root(self.open(path, os.O_RDONLY | os.O_DIRECTORY), self._open_inside)

    @contextmanager
    def parent(self, path: str) -> Generator[tuple[int, str], None, None]:
        """Descriptor (O_PATH) of the folder that holds the last component, and that component's name."""
        _check(path)
        above, name = _split(path)
        folder = self._open_inside(self.descriptor, above, _DIRECTORY, 0)
        try:
            yield folder, name
        finally:
            os.close(folder)

    def make_directories(self, path: str, mode: int = 0o755, made: Optional[Callable[[int, str], None]] = None) -> int:
        """mkdir -p inside the root; a descriptor (O_PATH) of the last. `made(descriptor, path)` is told of each new one."""
        _check(path)
        try:
            return self._open_inside(self.descriptor, path, _DIRECTORY, 0)
        except FileNotFoundError:
            pass
        parts = [part for part in path.split("/") if part not in ("", ".")]
        current = self._open_inside(self.descriptor, ".", _DIRECTORY, 0)
        try:
            for count, part in enumerate(parts, 1):
                so_far = "/".join(parts[:count])
                try:
                    following = self._open_inside(self.descriptor, so_far, _DIRECTORY, 0)
                except FileNotFoundError:
                    if ".." in parts[count - 1 :]:
                        raise
                    following = self._make_one(current, part, mode, so_far, made)
                os.close(current)
                current = following
        except BaseException:
            os.close(current)
            raise
        return current

    def create(self, path: str, mode: int = 0o600) -> int:
        """A new empty file at `path`, open for writing, in place of whatever file or link was there."""
        with self.parent(path) as (folder, name):
            clear(folder, name)
            return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)

    def link(self, target: str, path: str) -> None:
        """A hard link at `path` to what is at `target`; a symbolic link there is linked itself, never followed."""
        with self.parent(target) as (source, source_name), self.parent(path) as (folder, name):
            if os.path.samestat(os.fstat(source), os.fstat(folder)) and source_name == name:
                return
            clear(folder, name)
            os.link(source_name, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)

    def symlink(self, text: str, path: str) -> None:
        """A symbolic link at `path`. Its text is not looked at: it means something only to who resolves it."""
        with self.parent(path) as (folder, name):
            clear(folder, name)
            os.symlink(text, name, dir_fd=folder)

    def mknod(self, path: str, mode: int, device: int = 0) -> None:
        """A FIFO, socket or device at `path`."""
        with self.parent(path) as (folder, name):
            clear(folder, name)
            os.mknod(name, mode, device, dir_fd=folder)

    def rename(self, old: str, new: str) -> None:
        with self.parent(old) as (source, source_name), self.parent(new) as (folder, name):
            os.rename(source_name, name, src_dir_fd=source, dst_dir_fd=folder)

    def remove(self, path: str, missing_ok: bool = False) -> None:
        """Remove what is at `path`, a folder with all in it."""
        try:
            with self.parent(path) as (folder, name):
                remove_tree(folder, name)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def empty(self) -> None:
        """Remove everything in the root, and keep the root."""
        for name in os.listdir(self.descriptor):
            remove_tree(self.descriptor, name)

    def walk(self, path: str = "") -> Iterator[Found]:
        """Everything below `path`, a folder before what is in it, names in byte order; links are met, not followed.

        `Found.folder` is open until the walk goes on. What vanishes meanwhile is left out.
        """
        waiting = [path.strip("/")]
        while waiting:
            here = waiting.pop()
            try:
                folder = self._open_inside(
                    self.descriptor, here, os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if here else 0), 0
                )
            except (FileNotFoundError, NotADirectoryError):
                if here == path.strip("/"):
                    raise
                continue
            try:
                below: list[str] = []
                for name in sorted(os.listdir(folder), key=os.fsencode):
                    try:
                        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    inner = f"{here}/{name}" if here else name
                    yield Found(inner, name, folder, status)
                    if stat.S_ISDIR(status.st_mode):
                        below.append(inner)
                waiting.extend(reversed(below))
            finally:
                os.close(folder)

    def _make_one(self, folder: int, name: str, mode: int, path: str, made: Optional[Callable[[int, str], None]]) -> int:
        is_new = True
        try:
            os.mkdir(name, mode, dir_fd=folder)
        except FileExistsError:  # made meanwhile, or a link to nowhere: opening tells
            is_new = False
        descriptor = os.open(name, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        if is_new and made:
            made(descriptor, path)
        return descriptor


def disk_usage(path: str) -> int:
    """Bytes of the files below a directory that we ourselves chose, one with several names once; without what cannot be opened: it
    vanishes meanwhile, or lies deeper than a path may be long."""
    size, seen, waiting = 0, set[int](), [""]
    with Root.at(path) as root:
        while waiting:
            here = waiting.pop()
            try:
                folder = root.open(here, os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if here else 0))
            except OSError:
                continue
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        with suppress(FileNotFoundError):
                            status = entry.stat(follow_symlinks=False)
                            if stat.S_ISDIR(status.st_mode):
                                waiting.append(f"{here}/{entry.name}" if here else entry.name)
                            elif status.st_nlink == 1 or status.st_ino not in seen:
                                size += status.st_size
                                if status.st_nlink > 1:
                                    seen.add(status.st_ino)
            finally:
                os.close(folder)
    return size


def clear(folder: int, name: str) -> None:
    """Make room at a name: a file or link there goes; a folder stays and is an error of whoever wants its place."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def remove_at(path: str) -> None:
    """`remove_tree` at a path that we ourselves chose; no error when nothing is there.

    Not shutil.rmtree: before Python 3.13 that recurses, and a container can make folders deeper than Python goes.
    """
    with suppress(FileNotFoundError), Root.at(os.path.dirname(path)) as above:
        remove_tree(above.descriptor, os.path.basename(path))


def remove_tree(folder: int, name: str) -> None:
    """Remove `name` in an open folder, with all below if it is a directory. Never follows a link; any depth.

    Somebody who is still writing into it is outrun for a while (a worker whose daemon was killed lives a moment longer).
    """
    try:
        os.unlink(name, dir_fd=folder)
        return
    except IsADirectoryError:
        pass
    deep: list[str] = [name]
    patience = time.monotonic() + _PATIENCE_S
    while deep:
        top = deep[-1]
        moved = _empty_to_depth(folder, top, f"{MOVED_UP}{os.urandom(8).hex()}", _DEEPEST)
        if moved:
            deep.append(moved)
            continue
        try:
            os.rmdir(top, dir_fd=folder)
            deep.pop()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or time.monotonic() > patience:
                raise


def _empty_to_depth(folder: int, name: str, spare: str, depth: int, top: Optional[int] = None) -> Optional[str]:
    """Empty a directory; a folder that is too deep moves up to `spare` beside the top, whose name is then returned."""
    top = folder if top is None else top
    here = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        for entry in os.listdir(here):
            try:
                os.unlink(entry, dir_fd=here)
                continue
            except FileNotFoundError:
                continue
            except IsADirectoryError:
                pass
            if depth == 0:
                os.rename(entry, spare, src_dir_fd=here, dst_dir_fd=top)
                return spare
            moved = _empty_to_depth(here, entry, spare, depth - 1, top)
            if moved:
                return moved
            try:
                os.rmdir(entry, dir_fd=here)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # something came in meanwhile: the next pass takes it
                    raise
    finally:
        os.close(here)
    return None


def _check(path: str) -> None:
    if "\0" in path:
        raise OSError(errno.EINVAL, "a path cannot hold a zero byte", path.replace("\0", "\\0"))


def _split(path: str) -> tuple[str, str]:
    """The folders above, and the last component, which must be a name."""
    above, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise OSError(errno.EINVAL, "not a path to something inside the root", path)
    return above, name
