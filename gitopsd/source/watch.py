"""Notice that a repository may have moved.

In: a `Repository` and what to call.  Out: a `Watcher` that calls it; whether anything did move is for `fetch` to say.

A repository on this machine is watched by inotify, where its references lie: loose ones, packed ones, and those of worktrees.
Every repository is polled besides, a remote one because nothing else is possible, a local one in case an event was lost.
Polls are spread by a fifth, so that many controllers do not ask at once. A remote that does not answer is worth a look as well:
the call wakes the loop, whose fetch then fails and is reported.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from gitopsd.model.errors import GitopsdError
from gitopsd.source.git import git_folders
from gitopsd.source.repository import Repository

_QUIET_S = 0.05  # Git writes several files for one push; the first event of a burst is not its end
_LONGEST_BURST = 20


class Watcher:
    """Calls `wake` from a thread of its own until closed. Several events in a row are one call."""

    def __init__(self, repository: Repository, wake: Callable[[], object], interval_s: float = 30.0, spread: float = 0.2) -> None:
        self._repository = repository
        self._wake = wake
        self._interval_s = interval_s
        self._spread = spread
        self._nudged = threading.Event()
        self._closed = threading.Event()
        self._observer: Any = self._observe() if repository.address.kind == "local" else None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops; a call to `wake` that is under way is waited for."""
        self._closed.set()
        self._nudged.set()
        if self._observer:
            self._observer.stop()
            self._observer.join()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            pause = self._interval_s * random.uniform(1 - self._spread, 1 + self._spread)  # noqa: S311  no secret
            was_nudged = self._nudged.wait(pause)
            if was_nudged:
                self._wait_for_quiet()
            if not self._closed.is_set() and (was_nudged or self._is_worth_a_look()):
                self._wake()

    def _wait_for_quiet(self) -> None:
        for _ in range(_LONGEST_BURST):
            self._nudged.clear()
            if self._closed.wait(_QUIET_S) or not self._nudged.is_set():
                return
        self._nudged.clear()

    def _is_worth_a_look(self) -> bool:
        try:
            return self._repository.has_moved()
        except GitopsdError:
            return True

    def _observe(self) -> Any:
        """Watches the folders that hold references; one that is not a repository yet is left to polling."""
        observer = Observer()
        handler = _References(self._nudged)
        for folder in map(Path, git_folders(self._repository.address.text)):
            observer.schedule(handler, str(folder), recursive=False)
            for below in ("refs", "reftable"):
                if (folder / below).is_dir():
                    observer.schedule(handler, str(folder / below), recursive=True)
        observer.start()
        return observer


class _References(FileSystemEventHandler):
    """Sets an event for what changes a reference: not for lock files, the index or objects."""

    def __init__(self, nudged: threading.Event) -> None:
        self._nudged = nudged

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in ("opened", "closed_no_write"):
            return
        for path in (str(event.src_path), str(event.dest_path)):
            name = path.rsplit("/", 1)[-1]
            is_reference = "/refs/" in path or "/reftable/" in path or name in ("HEAD", "packed-refs")
            if is_reference and not name.endswith(".lock"):
                self._nudged.set()
