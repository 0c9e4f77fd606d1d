"""A tree of files that COPY takes from, and which of them it takes.  [pure]

In: a `Tree`, the sources as written.  Out: `Taken` for each source that was found; the digest of all, for the cache.

Rule 1: a source is a path inside the tree: `..` stops at its root, and links are followed inside it, absolute ones from its root.
Rule 2: `*`, `?` and `[…]` match within one name, and do not pass through links to folders. What they match nothing with is nothing; a
source without them has to be there.
Rule 3: a link named as a source is followed, and what it leads to has the link's name; a link below a folder is copied as a link.
Rule 4: the digest covers names, kinds, modes, owners, content and the attributes that are copied, and no times.

These are BuildKit's rules for COPY.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Optional, Protocol

from gitopsd.dockerfile.ignore import name_pattern
from gitopsd.engine.builder.errors import BuildError

Kind = Literal["file", "folder", "link", "fifo", "character", "block"]
MOST_LINKS = 40
WILD = "*?["


class Entry(NamedTuple):
    """One thing in a tree. `path` is its place there, without a slash at either end; the root's is empty.

    A tuple, because a context has tens of thousands and they cross between processes as JSON lists in this order.
    """

    path: str
    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    link: str = ""
    device: int = 0
    digest: str = ""
    """SHA-256 of a file's content in hexadecimal."""
    offset: int = 0
    """Where its content begins, in the file that holds the contents of an uploaded context."""
    attributes: Sequence[Sequence[str]] = ()
    """Extended attributes, values in hexadecimal."""
    twin: str = ""
    """The same for all names of one file, empty for a file with one name."""

    @property
    def name(self) -> str:
        return posixpath.basename(self.path)


class Tree(Protocol):
    def entry(self, path: str) -> Optional[Entry]:
        """What is at this path, whose last name is not followed if it is a link; None if there is nothing."""
        ...

    def names(self, folder: str) -> Sequence[str]:
        """The names in a folder, in byte order."""
        ...


@dataclass(frozen=True)
class Taken:
    """A source that was found. Of a folder its content is copied, not itself."""

    name: str
    """Its last name, which it keeps when it is put into a folder."""
    entry: Entry
    below: tuple[tuple[str, Entry], ...] = ()
    """Of a folder: what is in it, by the path from it, a folder before its content."""


def select(tree: Tree, sources: Sequence[str]) -> tuple[Taken, ...]:
    """What these sources name; raises BuildError for one that is not there."""
    taken: list[Taken] = []
    for source in sources:
        path = posixpath.normpath("/" + source).lstrip("/")
        if any(character in path for character in WILD):
            matched = sorted(_matching(tree, "", path.split("/")), key=_bytes)
        else:
            matched = [path]
        for match in matched:
            entry = resolve(tree, match)
            if entry is None:
                raise BuildError(f"not found: {source}")
            below = tuple(_below(tree, entry.path, "")) if entry.kind == "folder" else ()
            taken.append(Taken(posixpath.basename(match), entry, below))
    return tuple(taken)


def digest_of(taken: Sequence[Taken], with_owners: bool) -> str:
    """The digest of all that was taken. Owners count only where they are copied."""
    found = hashlib.sha256()
    for source in taken:
        is_folder = source.entry.kind == "folder"
        found.update(_line("" if is_folder else source.name, source.entry, with_owners))
        for path, entry in source.below:
            found.update(_line(path, entry, with_owners))
        found.update(b"\n")
    return found.hexdigest()


def resolve(tree: Tree, path: str) -> Optional[Entry]:
    """What is at a path once all links are followed inside the tree; None if there is nothing, also at the end of a broken link."""
    left = [name for name in reversed(path.split("/")) if name]
    here = tree.entry("")
    links = 0
    while left and here is not None:
        name = left.pop()
        if here.kind != "folder":
            return None
        if name == ".":
            continue
        if name == "..":
            here = tree.entry(posixpath.dirname(here.path))
            continue
        found = tree.entry(posixpath.join(here.path, name))
        if found is not None and found.kind == "link":
            links += 1
            if links > MOST_LINKS:
                raise BuildError(f"{path}: more than {MOST_LINKS} symbolic links on the way")
            left.extend(part for part in reversed(found.link.split("/")) if part)
            here = tree.entry("") if found.link.startswith("/") else here
            continue
        here = found
    return here


def _matching(tree: Tree, folder: str, pattern: list[str]) -> Iterator[str]:
    """Paths that the pattern matches from here on; links to folders end it."""
    first, rest = pattern[0], pattern[1:]
    if any(character in first for character in WILD):
        regex = name_pattern(first)
        names = [name for name in tree.names(folder) if regex.match(name)]
    else:
        names = [first]
    for name in names:
        path = posixpath.join(folder, name)
        entry = tree.entry(path)
        if entry is None:
            continue
        if not rest:
            yield path
        elif entry.kind == "folder":
            yield from _matching(tree, path, rest)
        elif entry.kind == "link" and first == name and not any(character in first for character in WILD):
            real = resolve(tree, path)
            if real and real.kind == "folder":
                yield from _matching(tree, real.path, rest)


def _below(tree: Tree, folder: str, prefix: str) -> Iterator[tuple[str, Entry]]:
    waiting = [(folder, prefix)]
    while waiting:
        here, relative = waiting.pop()
        folders: list[tuple[str, str]] = []
        for name in tree.names(here):
            entry = tree.entry(posixpath.join(here, name))
            if entry is None:
                continue
            path = posixpath.join(relative, name)
            yield path, entry
            if entry.kind == "folder":
                folders.append((entry.path, path))
        waiting.extend(reversed(folders))


def _line(path: str, entry: Entry, with_owners: bool) -> bytes:
    """What counts of an entry. No part can hold a zero byte, so no two entries give the same line."""
    owner = f"{entry.uid}:{entry.gid}" if with_owners else ""
    parts = [path, entry.kind, f"{entry.mode:o}", owner, entry.link, str(entry.device), entry.digest]
    parts += [part for attribute in entry.attributes for part in attribute]
    return _bytes("\0".join(parts)) + b"\0\n"


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
