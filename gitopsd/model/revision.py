"""A commit, as the rooms see it: immutable paths to bytes, read from Git's objects when asked.  [pure]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Tree(Protocol):
    """The files of one commit. Paths are relative, with `/`; a symlink is never followed.

    Every method raises GitopsdError `no-such-file` for a path that is not there, `not-a-file` for one that is something else.
    """

    def read(self, path: str) -> bytes:
        """The bytes of a file; of a symlink, its target."""
        ...

    def size(self, path: str) -> int:
        """How many bytes `read` would give, without reading them."""
        ...

    def paths(self, under: str = "") -> tuple[str, ...]:
        """All files below `under`, sorted."""
        ...

    def tree_id(self, path: str) -> str:
        """Git's tree id of a folder; `""` is the root."""
        ...

    def blob_id(self, path: str) -> str: ...

    def mode(self, path: str) -> int:
        """0o100644, 0o100755 or 0o120000 (a symlink, whose bytes are its target)."""
        ...

    def touched_at(self, path: str) -> int:
        """Seconds since the epoch of the last commit that touched `path`."""
        ...


def short(reference: str, commit: str) -> str:
    """`main@3f2a9c1`, or the reference alone of what is in no commit."""
    return f"{reference}@{commit[:7]}" if commit.strip("0") else reference


@dataclass(frozen=True)
class Revision:
    """Where a commit came from and what it is; `commit` is 40 hexadecimal digits."""

    repository: str
    reference: str
    commit: str
    subject: str
    author: str
    committed_at: int
    tree: Tree

    @property
    def short(self) -> str:
        """`main@3f2a9c1`, the way a person reads it."""
        return short(self.reference, self.commit)


@dataclass(frozen=True)
class RevisionName:
    """A revision without its files: what a plan, a status or a history entry keeps."""

    repository: str
    reference: str
    commit: str
    subject: str

    @classmethod
    def of(cls, revision: Revision) -> RevisionName:
        return cls(revision.repository, revision.reference, revision.commit, revision.subject)

    @property
    def short(self) -> str:
        return short(self.reference, self.commit)
