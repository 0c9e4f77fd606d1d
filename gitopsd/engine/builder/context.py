"""The files that came along with a build.

In: a file that holds an uploaded tar, compressed or not.  Out: `Context`, a tree of them, and their content by offset.

Rule 1: nothing is unpacked. A worker reads through the archive once and makes an index of it; links, `..` and names that would
lead elsewhere on a disk are entries in a dictionary here, and the content stays in one file. So there is nothing that an
archive could be unpacked over, and 10,000 files cost no 10,000 files.
Rule 2: everything belongs to root, as BuildKit has it: who packed a context is nobody in the image.
Rule 3: .dockerignore counts here too, although clients look at it: what was left out by it cannot be copied.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from typing import Optional

from gitopsd.dockerfile.ignore import Ignore, names_for, parse_ignore
from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.needs import RunWorker
from gitopsd.engine.builder.tree import Entry, resolve

INDEX_JOB = "gitopsd.engine.builder.archive:index"
MOST_READ = 1 << 20
ROOT = Entry("", "folder", 0o755)


class Context:
    """The tree of an uploaded context. Owns the file with the contents until closed."""

    def __init__(self, content: int, entries: Sequence[Entry], ignore: Optional[Ignore] = None) -> None:
        self.content = content
        self._all = {"": ROOT, **{entry.path: entry for entry in entries}}
        self._entries = self._all
        self._names = _names(self._all)
        if ignore:
            self._leave_out(ignore)

    @classmethod
    def open(cls, archive: int, spool: str, run_worker: RunWorker) -> Context:
        """Index an archive. The descriptor stays the caller's; `spool` is a folder for a nameless file beside it."""
        unpacked = os.open(spool, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        try:
            found = run_worker(INDEX_JOB, {}, [archive, unpacked])
            content = os.dup(unpacked if found["is_unpacked"] else archive)
        finally:
            os.close(unpacked)
        return cls(content, [Entry._make(fields) for fields in found["entries"]])

    def close(self) -> None:
        os.close(self.content)

    def read(self, path: str) -> Optional[bytes]:
        """A small file, whether or not .dockerignore leaves it out; None if there is none."""
        entry = resolve(_Everything(self._all), path)
        if entry is None or entry.kind != "file":
            return None
        if entry.size > MOST_READ:
            raise BuildError(f"{path}: expected at most {MOST_READ} bytes, found {entry.size}")
        return os.pread(self.content, entry.size, entry.offset)

    def ignoring(self, dockerfile: str) -> Context:
        """The same without what .dockerignore leaves out; the descriptor is shared."""
        for name in names_for(dockerfile):
            patterns = self.read(name)
            if patterns is not None:
                return Context(self.content, list(self._all.values()), parse_ignore(patterns))
        return self

    def entry(self, path: str) -> Optional[Entry]:
        return self._entries.get(path)

    def names(self, folder: str) -> Sequence[str]:
        return self._names.get(folder, ())

    def _leave_out(self, ignore: Ignore) -> None:
        kept = {path: entry for path, entry in self._all.items() if not path or not ignore.leaves_out(path)}
        for path in list(kept):
            above = posixpath.dirname(path)
            while above not in kept:
                kept[above] = self._all[above]
                above = posixpath.dirname(above)
        self._entries = kept
        self._names = _names(kept)


class _Everything:
    """What `resolve` needs of a tree, .dockerignore or not."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries

    def entry(self, path: str) -> Optional[Entry]:
        return self._entries.get(path)

    def names(self, folder: str) -> Sequence[str]:
        return ()


def _names(entries: Mapping[str, Entry]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for path in entries:
        if path:
            folder, _, name = path.rpartition("/")
            names.setdefault(folder, []).append(name)
    for below in names.values():
        below.sort(key=os.fsencode)
    return names
