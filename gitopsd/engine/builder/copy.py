"""COPY and WORKDIR: write into the upper folder of an overlay, so that what is new there is the layer.

Jobs of a worker. In: layers by their short ids, what to copy and where to.  Out: files in `upper`.

Rule 1: the stage is mounted as an overlay and written to from above, so the kernel takes the metadata of folders on the way
from the layers below, follows nothing out of the root (engine/paths), and leaves in `upper` what the copy made and nothing else.
Rule 2: a destination that ends in a slash, or is a folder already, is copied into; otherwise it is the copy's own name.
Rule 3: of a folder its content is copied. A folder that is there keeps its mode and owner if it is the destination itself, and takes
those of its source if it is below it. Folders on the way to the destination are made with 0755.
Rule 4: a file or link in the way of a file is replaced, never followed; a folder in the way of a file, or anything else in the
way of a folder, is an error.
Rule 5: owners are root's, from a stage those of the source; `--chown` changes both. What is copied keeps its time.

These are BuildKit's rules. Not here: which files (tree.py), times in the layer (images/).
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.mode import ModeChange
from gitopsd.engine.builder.stage import FORMATS, StageTree, account, read_stage, written_stage
from gitopsd.engine.builder.tree import Entry, Taken, digest_of, select
from gitopsd.engine.paths.root import Root

CONTEXT_JOB = "gitopsd.engine.builder.copy:copy_from_context"
STAGE_JOB = "gitopsd.engine.builder.copy:copy_from_stage"
DIGEST_JOB = "gitopsd.engine.builder.copy:digest"
FOLDER_JOB = "gitopsd.engine.builder.copy:make_folder"
PIECE = 16 << 20


def copy_from_context(arguments: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Copy what was taken from the build's context, whose content is the one descriptor, and files of the Dockerfile itself."""
    (content,) = descriptors
    taken = [
        Taken(name, Entry._make(entry), tuple((path, Entry._make(inner)) for path, inner in below))
        for name, entry, below in arguments["taken"]
    ]
    for entry in (entry for source in taken for entry in (source.entry, *(inner for _, inner in source.below))):
        if entry.kind in ("character", "block"):
            raise BuildError(f"{entry.path}: a device is not taken from a build context")
    with written_stage(arguments) as root:
        writer = _Writer(root, arguments["chown"], arguments["chmod"])
        writer.copy(taken, arguments["destination"], lambda entry: (os.dup(content), entry.offset), len(arguments["files"]))
        for name, text in arguments["files"]:
            writer.write(name, text.encode(), arguments["destination"])


def copy_from_stage(arguments: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Copy what the sources name in another stage."""
    del descriptors
    with written_stage(arguments) as root, read_stage(arguments) as source:
        tree = StageTree(source, with_digests=False)
        writer = _Writer(root, arguments["chown"], arguments["chmod"])
        writer.copy(select(tree, arguments["sources"]), arguments["destination"], tree.content)


def digest(arguments: Mapping[str, Any], descriptors: Sequence[int]) -> str:
    """The digest of what these sources are in a stage, for the cache."""
    del descriptors
    with read_stage(arguments) as source:
        return digest_of(select(StageTree(source, with_digests=True), arguments["sources"]), with_owners=True)


def make_folder(arguments: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """WORKDIR: the folder is made if it is not there, and belongs to `user`."""
    del descriptors
    with written_stage(arguments) as root:
        uid, gid = account(root, arguments["user"], user_default=True) if arguments["user"] else (0, 0)
        os.close(_worded(lambda: root.make_directories(arguments["path"], 0o755, _owned(uid, gid)), arguments["path"]))


Content = Callable[[Entry], "tuple[int, int]"]
"""A descriptor, which the caller closes, and where a file's content begins in it."""


class _Writer:
    """Writes what was taken into a stage."""

    def __init__(self, root: Root, chown: str, chmod: str) -> None:
        self.root = root
        self.owner = account(root, chown) if chown else None
        self.mode = ModeChange(chmod) if chmod else None
        self.folders: list[tuple[str, Entry]] = []
        self.twins: dict[str, str] = {}

    def copy(self, taken: Sequence[Taken], destination: str, content: Content, others: int = 0) -> None:
        if len(taken) + others > 1 and not destination.endswith("/"):
            raise BuildError(f"several sources for {destination}: expected a folder with a slash at its end")
        for source in taken:
            if source.entry.kind == "folder":
                self._copy_folder(source, destination, content)
            else:
                self._put(self._place(source.name, destination), source.entry, content)
        for path, entry in self.folders:
            descriptor = self.root.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            self._describe(descriptor, entry)
            os.close(descriptor)

    def write(self, name: str, data: bytes, destination: str) -> None:
        """A file whose content stood in the Dockerfile."""
        path = self._place(name, destination)
        with os.fdopen(_worded(lambda: self.root.create(path), path), "wb") as file:
            file.write(data)
            file.flush()
            os.fchown(file.fileno(), *(self.owner or (0, 0)))
            os.fchmod(file.fileno(), self.mode.apply(0o644, is_folder=False) if self.mode else 0o644)

    def _place(self, name: str, destination: str) -> str:
        """Where a file goes, its folders made."""
        into = destination.rstrip("/") or "/"
        if destination.endswith("/") or self._is_folder(destination):
            self._make_folders(into)
            return posixpath.join(into, name)
        self._make_folders(posixpath.dirname(into))
        return self._followed(into)

    def _followed(self, path: str) -> str:
        """A destination that is a link leads to where it points, inside the root."""
        for _ in range(40):
            try:
                with self.root.parent(path) as (folder, name):
                    text = os.readlink(name, dir_fd=folder)
            except OSError:
                return path
            path = posixpath.join(posixpath.dirname(path), text)
        raise BuildError(f"{path}: more than 40 symbolic links on the way")

    def _copy_folder(self, source: Taken, destination: str, content: Content) -> None:
        into = destination.rstrip("/") or "/"
        is_there = self._is_folder(into)
        if destination.endswith("/") and not is_there:
            self._make_folders(into)
        elif not is_there:
            self._make_folders(posixpath.dirname(into))
            into = self._followed(into)
            self._make(into, source.entry)
        for path, entry in source.below:
            place = posixpath.join(into, path)
            if entry.kind == "folder":
                self._make(place, entry)
            else:
                self._put(place, entry, content)

    def _is_folder(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(self.root.status(path).st_mode)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise BuildError(f"{path}: {os.strerror(error.errno or 0).lower()}") from None

    def _make_folders(self, path: str) -> None:
        os.close(_worded(lambda: self.root.make_directories(path, 0o755, _owned(*(self.owner or (0, 0)))), path))

    def _make(self, path: str, entry: Entry) -> None:
        """A folder that is copied: made, or there already; its metadata comes last, when nothing is put into it any more."""
        with self.root.parent(path) as (folder, name):
            try:
                os.mkdir(name, 0o700, dir_fd=folder)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    raise BuildError(f"{path}: cannot copy a folder onto something that is none") from None
        self.folders.append((path, entry))

    def _put(self, path: str, entry: Entry, content: Content) -> None:
        """Anything but a folder."""
        if entry.twin in self.twins:
            _worded(lambda: self.root.link(self.twins[entry.twin], path), path)
            return
        if entry.kind == "file":
            out = _worded(lambda: self.root.create(path), path)
            try:
                _send(content(entry), out, entry)
                self._describe(out, entry)
            finally:
                os.close(out)
            if entry.twin:
                self.twins[entry.twin] = path
            return
        if entry.kind == "link":
            _worded(lambda: self.root.symlink(entry.link, path), path)
        else:
            _worded(lambda: self.root.mknod(path, FORMATS[entry.kind] | 0o600, entry.device), path)
        with self.root.parent(path) as (folder, name):
            os.chown(name, *self._owner(entry), dir_fd=folder, follow_symlinks=False)
            if entry.kind != "link":
                os.chmod(name, self._mode(entry), dir_fd=folder)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=folder, follow_symlinks=False)

    def _describe(self, descriptor: int, entry: Entry) -> None:
        """Owner first, since a change of it takes setuid and capabilities away."""
        os.fchown(descriptor, *self._owner(entry))
        os.fchmod(descriptor, self._mode(entry))
        for name, value in entry.attributes:
            os.setxattr(descriptor, name, bytes.fromhex(value))
        os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))

    def _owner(self, entry: Entry) -> tuple[int, int]:
        return self.owner or (entry.uid, entry.gid)

    def _mode(self, entry: Entry) -> int:
        return self.mode.apply(entry.mode, entry.kind == "folder") if self.mode else entry.mode


def _owned(uid: int, gid: int) -> Callable[[int, str], None]:
    """For folders on the way: a new one gets its owner."""

    def made(descriptor: int, path: str) -> None:
        del path
        os.chown(f"/proc/self/fd/{descriptor}", uid, gid)

    return made


def _send(source: tuple[int, int], out: int, entry: Entry) -> None:
    descriptor, offset = source
    try:
        end = offset + entry.size
        while offset < end:
            sent = os.sendfile(out, descriptor, offset, min(end - offset, PIECE))
            if sent == 0:
                raise BuildError(f"{entry.path}: its content ends too early")
            offset += sent
    finally:
        os.close(descriptor)


def _worded(action: Callable[[], Any], path: str) -> Any:
    """What can be wrong with a destination, in words."""
    try:
        return action()
    except IsADirectoryError:
        raise BuildError(f"{path}: cannot replace a folder with a file") from None
    except (FileExistsError, NotADirectoryError):
        raise BuildError(f"{path}: something on the way is no folder") from None
    except FileNotFoundError:
        raise BuildError(f"{path}: a symbolic link on the way leads to nothing") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL):
            raise BuildError(f"{path}: {(error.strerror or str(error)).lower()}") from None
        raise
