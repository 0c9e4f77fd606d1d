"""Files of the revision, as text, and the errors of one file together.  [pure, but for reading the tree]

In: a `Tree` and a path that somebody wrote.  Out: text, and a record of every file that was read.

Rule: a path is judged by what stands in the tree alone. A symlink is refused, by its name only: what it points to is never looked at
(CVE-2022-24904, CVE-2022-31036, CVE-2026-44881).
"""

from __future__ import annotations

import posixpath

from gitopsd.model.errors import Errors, GitopsdError, Where
from gitopsd.model.revision import Tree
from gitopsd.render.locate import LARGEST_BYTES, Node
from gitopsd.render.schema.form import Path, spell

_SYMLINK = 0o120000


class Reader:
    """Reads files of one revision and remembers which."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._read: set[str] = set()

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(sorted(self._read))

    def text(self, path: str) -> str:
        """The text of a file of at most 1 MiB; GitopsdError says what is wrong with it, at its path."""
        try:
            return self.data(path).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise GitopsdError("bad-text", f"is not UTF-8, from byte {error.start} on", Where(file=path)) from None

    def data(self, path: str) -> bytes:
        """The bytes of a file of at most 1 MiB."""
        self.check_file(path)
        size = self.tree.size(path)
        if size > LARGEST_BYTES:
            raise GitopsdError("too-large", f"is {size} bytes long; at most {LARGEST_BYTES} are read", Where(file=path))
        return self.tree.read(path)

    def check_file(self, path: str) -> None:
        """Refuses what is no plain file, and remembers that rendering depends on it."""
        self._read.add(path)
        if self.tree.mode(path) == _SYMLINK:
            raise GitopsdError("symlink", f"{path} is a symlink, and symlinks are not followed", Where(file=path))


class Place:
    """A file's nodes, and the errors found in them so far."""

    def __init__(self, file: str, node: Node) -> None:
        self.file = file
        self.node = node
        self.errors: list[GitopsdError] = []

    def where(self, *path: str | int) -> Where:
        return Where(self.file, self.node.line_of(path), spell(path) or None)

    def say(self, path: Path, code: str, message: str, hint: str | None = None) -> None:
        """Adds an error."""
        self.errors.append(GitopsdError(code, message, self.where(*path), hint))

    def pass_on(self, path: Path, error: GitopsdError) -> None:
        """Adds an error of a deeper place, at the key that led there."""
        self.errors.append(GitopsdError(error.code, error.message, self.where(*path), error.hint))

    def all_errors(self) -> Errors:
        """All errors, in the order of the file; those of files that it leads to come after."""
        return Errors(
            sorted(self.errors, key=lambda each: (each.where.file != self.file, each.where.file or "", each.where.line or 0))
        )


def path_within(base: str, written: str) -> str:
    """A path as somebody wrote it, from folder `base` on, as one from the repository's root; ValueError if it leads out."""
    if not written or "\0" in written or "\\" in written:
        raise ValueError("is no path")
    if written.startswith(("/", "~")):
        raise ValueError("is not inside of the repository; expected a relative path")
    path = posixpath.normpath(posixpath.join(base, written))
    if path == ".." or path.startswith("../"):
        raise ValueError("leads out of the repository")
    return "" if path == "." else path
