"""Files that somebody has edited and not committed, since a plan of the commit is silent about them.

In: a view of the commit that is checked out.  Out: which of the files that it was made from are other ones in the folder now.

Compared by Git's ids, without running Git in a folder that may be somebody else's: its configuration could name programs to run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gitopsd.control.settings import checked_out
from gitopsd.control.sync import View
from gitopsd.control.wiring import Wiring
from gitopsd.model.errors import GitopsdError
from gitopsd.model.revision import Tree
from gitopsd.source import folder_revision

_LARGEST_BYTES = 4 << 20
"""Of a larger file only the size is compared."""


def uncommitted(work: Wiring, view: View) -> tuple[str, ...]:
    folder = Path(work.settings.repository)
    if not (folder / ".git").exists() or view.revision.reference != checked_out(folder):
        return ()
    tree, here = view.revision.tree, folder_revision(folder).tree
    return tuple(path for path in sorted(set(_files(view))) if _differs(tree, here, path))


def uncommitted_line(work: Wiring, view: View) -> str:
    """One sentence for a person; empty when all is committed."""
    paths = uncommitted(work, view)
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return f"not committed: {', '.join(paths[:5])}{more}; to plan them: gitopsd plan --revision -" if paths else ""


def _files(view: View) -> Iterator[str]:
    tree = view.revision.tree
    yield "gitopsd.yaml"
    for entry in view.rendered.fleet.stacks:
        yield entry.file
    for stack in view.rendered.stacks:
        yield from stack.read
        for service in stack.services:
            if service.build:
                yield service.build.dockerfile
                try:
                    yield from tree.paths(service.build.context)
                except GitopsdError:  # it is not there, which the plan says
                    continue


def _differs(tree: Tree, here: Tree, path: str) -> bool:
    size = _size(tree, path)
    if size != _size(here, path):
        return True
    return 0 <= size <= _LARGEST_BYTES and tree.blob_id(path) != here.blob_id(path)


def _size(tree: Tree, path: str) -> int:
    """-1: there is no such file."""
    try:
        return tree.size(path)
    except GitopsdError:
        return -1
