"""The files of a commit, out of Git's objects.

In: a listing by `git ls-tree -r -t -z`, read once, when first needed.  Out: `model.revision.Tree`.

Rule: nothing is looked up but in that listing. A path with `..`, a path through a symlink and a path outside do not stand in it,
so they cannot be read, whoever wrote them (CVE-2022-24904, CVE-2026-44881); the error says what stood in the way, never content.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from gitopsd.model.errors import GitopsdError, Where

SYMLINK = 0o120000
SUBMODULE = 0o160000
FOLDER = 0o040000
COMMIT = "this commit"


@dataclass(frozen=True)
class Entry:
    mode: int
    id: str


class Objects(Protocol):
    """Where the listing and the bytes come from."""

    def read_blob(self, blob: str) -> bytes: ...
    def blob_size(self, blob: str) -> int: ...
    def list_tree(self, commit: str) -> bytes: ...
    def root_tree(self, commit: str) -> str: ...
    def touched_at(self, commit: str, path: str) -> int: ...


class GitTree:
    """A `Tree` over a mirror. Safe to use from several threads, as the mirror has a lock."""

    def __init__(self, objects: Objects, commit: str) -> None:
        self._objects = objects
        self._commit = commit

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        return parse_listing(self._objects.list_tree(self._commit))

    def read(self, path: str) -> bytes:
        return self._objects.read_blob(find_file(self._entries.get, path).id)

    def size(self, path: str) -> int:
        return self._objects.blob_size(find_file(self._entries.get, path).id)

    def paths(self, under: str = "") -> tuple[str, ...]:
        if under:
            find_folder(self._entries.get, under)
        return files_under(self._entries, under)

    def tree_id(self, path: str) -> str:
        return find_folder(self._entries.get, path).id if path else self._objects.root_tree(self._commit)

    def blob_id(self, path: str) -> str:
        return find_file(self._entries.get, path).id

    def mode(self, path: str) -> int:
        return find_file(self._entries.get, path).mode

    def touched_at(self, path: str) -> int:
        if path:
            find(self._entries.get, path)
        return self._objects.touched_at(self._commit, path)


def parse_listing(listing: bytes) -> dict[str, Entry]:
    """Paths of `git ls-tree -r -t -z` to what they are, in Git's order."""
    entries: dict[str, Entry] = {}
    for record in listing.split(b"\0"):
        if record:
            said, _, name = record.partition(b"\t")
            mode, _, object_id = said.decode("ascii").split(" ")
            entries[name.decode(errors="surrogateescape")] = Entry(int(mode, 8), object_id)
    return entries


def files_under(entries: dict[str, Entry], under: str) -> tuple[str, ...]:
    """Files and symlinks below a folder, sorted; a submodule among them is refused, as its files are not here."""
    below = [(path, entry) for path, entry in entries.items() if not under or path.startswith(under + "/")]
    for path, entry in below:
        if entry.mode == SUBMODULE:
            raise GitopsdError("not-there-yet", f"{path} is a submodule, and submodules are not there yet", Where(file=path))
    return tuple(sorted(path for path, entry in below if entry.mode != FOLDER))


Lookup = Callable[[str], Entry | None]


def find(get: Lookup, path: str, where: str = COMMIT) -> Entry:
    """What stands at `path`; `no-such-file`, or `symlink` when one stands on the way to it."""
    entry = get(path)
    if entry:
        return entry
    parts = path.split("/")
    for depth in range(1, len(parts)):
        parent = "/".join(parts[:depth])
        above = get(parent)
        if above and above.mode == SYMLINK:
            raise GitopsdError("symlink", f"{parent} is a symlink, and symlinks are not followed", Where(file=path))
        if above and above.mode == SUBMODULE:
            raise GitopsdError("not-there-yet", f"{parent} is a submodule, and submodules are not there yet", Where(file=path))
    raise GitopsdError("no-such-file", f"there is no {path} in {where}", Where(file=path))


def find_file(get: Lookup, path: str, where: str = COMMIT) -> Entry:
    entry = find(get, path, where)
    if entry.mode in (FOLDER, SUBMODULE):
        kind = "folder" if entry.mode == FOLDER else "submodule"
        raise GitopsdError("not-a-file", f"{path} is a {kind}, not a file", Where(file=path))
    return entry


def find_folder(get: Lookup, path: str, where: str = COMMIT) -> Entry:
    entry = find(get, path, where)
    if entry.mode == SYMLINK:
        raise GitopsdError("symlink", f"{path} is a symlink, and symlinks are not followed", Where(file=path))
    if entry.mode != FOLDER:
        kind = "submodule" if entry.mode == SUBMODULE else "file"
        raise GitopsdError("not-a-folder", f"{path} is a {kind}, not a folder", Where(file=path))
    return entry
