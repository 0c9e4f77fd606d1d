"""The files of a commit that never was."""

from __future__ import annotations

import hashlib

from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.revision import Revision


class MemoryTree:
    """Paths to bytes; a name that ends in `*` is executable, a `str` is a symlink's target."""

    def __init__(self, files: dict[str, bytes | str], touched_at: int = 1_700_000_000) -> None:
        self._files = {path.rstrip("*"): data for path, data in files.items()}
        self._executable = {path.rstrip("*") for path in files if path.endswith("*")}
        self._touched_at = touched_at

    def read(self, path: str) -> bytes:
        if path not in self._files:
            raise GitopsdError("no-such-file", "is not there", Where(file=path))
        data = self._files[path]
        return data.encode() if isinstance(data, str) else data

    def size(self, path: str) -> int:
        return len(self.read(path))

    def paths(self, under: str = "") -> tuple[str, ...]:
        return tuple(sorted(path for path in self._files if not under or path.startswith(f"{under}/")))

    def tree_id(self, path: str) -> str:
        found = "".join(f"{name} {self.blob_id(name)}" for name in self.paths(path))
        return hashlib.sha1(found.encode()).hexdigest()

    def blob_id(self, path: str) -> str:
        return hashlib.sha1(self.read(path)).hexdigest()

    def mode(self, path: str) -> int:
        if isinstance(self._files[path], str):
            return 0o120000
        return 0o100755 if path in self._executable else 0o100644

    def touched_at(self, path: str) -> int:
        return self._touched_at


def a_revision(files: dict[str, bytes | str], commit: str = "3f2a9c1" + "0" * 33, subject: str = "fix the cart") -> Revision:
    return Revision("shop.git", "main", commit, subject, "somebody", 1_700_000_000, MemoryTree(files))
