"""Which revision a command is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gitopsd.control.wiring import Wiring
from gitopsd.model.errors import Errors, GitopsdError
from gitopsd.model.revision import Revision
from gitopsd.source import folder_revision


def find_revision(work: Wiring, name: str | None = None) -> Revision:
    """A branch, tag or commit, fetched first; `-` is the folder as it is now; None is what the settings say."""
    if name == "-":
        folder = Path(work.settings.repository)
        if not folder.is_dir():
            raise GitopsdError("no-folder", f"{work.settings.repository} is not a folder on this machine")
        return folder_revision(folder)
    work.repository.fetch()
    return work.repository.revision(name or work.settings.reference)


def find_good_revision(work: Wiring) -> tuple[Revision, str]:
    """What the fleet is held at, for who only looks: what Git says now or, while that cannot be read, what was applied last; then with the
    error."""
    try:
        revision = find_revision(work)
        work.renderer.render_fleet(revision.tree)
    except (GitopsdError, Errors) as error:
        newest = max(work.store.applied().values(), key=lambda applied: applied.at, default=None)
        if newest is None:
            raise
        try:
            revision = work.repository.revision(newest.revision.commit)
            work.renderer.render_fleet(revision.tree)
        except (GitopsdError, Errors):
            raise error from None
        return replace(revision, reference=newest.revision.reference), str(error)
    return revision, ""
