"""Which revision a command is about."""

from __future__ import annotations

from pathlib import Path

from gitopsd.control.wiring import Wiring
from gitopsd.model.errors import GitopsdError
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
