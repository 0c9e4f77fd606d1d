"""1. source: a commit, as an immutable tree of bytes.

`Repository.fetch` and `.revision` are the verbs; `Watcher` says when to ask; `folder_revision` is for files not committed yet.
"""

from __future__ import annotations

from gitopsd.source.folder import folder_revision
from gitopsd.source.git import Ssh
from gitopsd.source.repository import Repository
from gitopsd.source.watch import Watcher

__all__ = ["Repository", "Ssh", "Watcher", "folder_revision"]
