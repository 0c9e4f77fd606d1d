"""A folder on this machine as a revision: what `validate` checks before there is a commit.

In: the folder.  Out: a `Revision` whose `commit` is all zeros and whose tree reads files as they are now.

Rule: as in a commit, a symlink is a file of its own and never followed, and `.git` is not there. Ids are those of Git.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from gitopsd.model.revision import Revision
from gitopsd.source.tree import FOLDER, SYMLINK, Entry, files_under, find, find_file, find_folder

_WHERE = "this folder"


class FolderTree:
    """A `Tree` over a folder. Nothing is kept: each call looks again."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> bytes:
        entry = find_file(self._get, path, _WHERE)
        full = self._root / path
        return os.fsencode(full.readlink()) if entry.mode == SYMLINK else full.read_bytes()

    def size(self, path: str) -> int:
        find_file(self._get, path, _WHERE)
        return (self._root / path).lstat().st_size

    def paths(self, under: str = "") -> tuple[str, ...]:
        if under:
            find_folder(self._get, under, _WHERE)
        return files_under(self._below(under), under)

    def tree_id(self, path: str) -> str:
        if path:
            find_folder(self._get, path, _WHERE)
        return self._tree_id(path)

    def blob_id(self, path: str) -> str:
        return _object_id("blob", self.read(path))

    def mode(self, path: str) -> int:
        return find_file(self._get, path, _WHERE).mode

    def touched_at(self, path: str) -> int:
        """When the youngest file under `path` was written."""
        if path:
            find(self._get, path, _WHERE)
        files = [path] if path and (self._root / path).is_file() else self.paths(path)
        return max((int((self._root / file).lstat().st_mtime) for file in files), default=0)

    def _get(self, path: str) -> Entry | None:
        parts = path.split("/")
        if "" in parts or "." in parts or ".." in parts or "\0" in path or parts[0] == ".git":
            return None
        try:
            for depth in range(1, len(parts)):
                if not stat.S_ISDIR((self._root / "/".join(parts[:depth])).lstat().st_mode):
                    return None
            mode = (self._root / path).lstat().st_mode
        except OSError:
            return None
        return _entry(mode)

    def _below(self, under: str) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for name, entry in self._children(under).items():
            path = f"{under}/{name}" if under else name
            found[path] = entry
            if entry.mode == FOLDER:
                found.update(self._below(path))
        return found

    def _children(self, under: str) -> dict[str, Entry]:
        with os.scandir(self._root / under) as items:
            entries = {item.name: _entry(item.stat(follow_symlinks=False).st_mode) for item in items}
        return {name: entry for name, entry in entries.items() if entry and (under or name != ".git")}

    def _tree_id(self, path: str) -> str:
        rows: list[tuple[bytes, bytes]] = []
        for name, entry in self._children(path).items():
            full = f"{path}/{name}" if path else name
            if entry.mode == FOLDER and not self.paths(full):
                continue  # Git knows no empty folders
            object_id = self._tree_id(full) if entry.mode == FOLDER else self.blob_id(full)
            encoded = os.fsencode(name)
            order = encoded + b"/" if entry.mode == FOLDER else encoded
            rows.append((order, f"{entry.mode:o} ".encode() + encoded + b"\0" + bytes.fromhex(object_id)))
        return _object_id("tree", b"".join(row for _, row in sorted(rows)))


def folder_revision(folder: Path) -> Revision:
    """What lies in `folder` now, as if it were committed."""
    return Revision(str(folder), "working tree", "0" * 40, "not committed", "", 0, FolderTree(folder))


def _entry(mode: int) -> Entry | None:
    if stat.S_ISLNK(mode):
        return Entry(SYMLINK, "")
    if stat.S_ISDIR(mode):
        return Entry(FOLDER, "")
    if stat.S_ISREG(mode):
        return Entry(0o100755 if mode & stat.S_IXUSR else 0o100644, "")
    return None


def _object_id(kind: str, data: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
