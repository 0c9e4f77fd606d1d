"""Uploads that go on: one file for each session, which survive the registry's restart.

In: bytes in order.  Out: a blob. A session's name is 32 random digits, so nobody guesses another's; it belongs to one repository.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from contextlib import suppress
from typing import Optional

from gitopsd.engine.content.blobs import Blobs, Ingest
from gitopsd.engine.paths.records import make_directories_durably, remove_durably, write_durably
from gitopsd.engine.registry.repositories import Refused
from gitopsd.oci import distribution as d

_MOST_OPEN = 256
MOST_SESSIONS = 10_000


class Upload:
    """One session. Whoever uses it holds `lock`; `ingest` is None while nobody has for long."""

    def __init__(self, session: str, repository: str) -> None:
        self.session, self.repository = session, repository
        self.ingest: Optional[Ingest] = None
        self._lock: Optional[asyncio.Lock] = None

    @property
    def lock(self) -> asyncio.Lock:
        """Asked for on the loop: before Python 3.10 a lock belongs to the loop it is made on."""
        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock

    @property
    def is_busy(self) -> bool:
        return self._lock is not None and self._lock.locked()


class Uploads:
    """The sessions of a data root. `begin` and `open` do file work: call them in a thread, one at a time for a session."""

    def __init__(self, data_root: str, blobs: Blobs) -> None:
        self._folder = os.path.join(data_root, "registry", "uploads")
        self._blobs = blobs
        self._known: dict[str, Upload] = {}
        make_directories_durably(self._folder)

    def begin(self, repository: str) -> Upload:
        if len(os.listdir(self._folder)) >= 2 * MOST_SESSIONS:
            raise Refused(429, d.UNSUPPORTED, f"{MOST_SESSIONS} uploads are open")
        session = secrets.token_hex(16)
        write_durably(self._path(session, "repository"), repository.encode())
        upload = Upload(session, repository)
        upload.ingest = self._blobs.ingest_file(self._path(session, "data"), create=True)
        self._remember(upload)
        return upload

    def find(self, session: str, repository: str) -> Upload:
        """A session of this repository; Refused when it has none of that name."""
        upload = self._known.get(session)
        if upload is None:
            try:
                with open(self._path(session, "repository"), encoding="ascii") as file:
                    upload = Upload(session, file.read())
            except FileNotFoundError:
                raise self._unknown(session) from None
        if upload.repository != repository:
            raise self._unknown(session)
        self._remember(upload)
        return upload

    def open(self, upload: Upload) -> Ingest:
        """What the session has; after a restart that is hashed again."""
        if upload.ingest is None:
            try:
                upload.ingest = self._blobs.ingest_file(self._path(upload.session, "data"), create=False)
            except FileNotFoundError:
                raise self._unknown(upload.session) from None
        return upload.ingest

    def end(self, upload: Upload) -> None:
        """The session is over, its blob made or not."""
        if upload.ingest is not None:
            upload.ingest.abort()
            upload.ingest = None
        self._known.pop(upload.session, None)
        for part in ("data", "repository"):
            with suppress(FileNotFoundError):
                os.unlink(self._path(upload.session, part))

    def close_idle(self, upload: Upload) -> None:
        """Let go of the file; the session stays."""
        if upload.ingest is not None:
            upload.ingest.close()
            upload.ingest = None

    def prune(self, older_than_s: float) -> int:
        """End the sessions that nobody has used for so long; how many."""
        ended = 0
        for name in os.listdir(self._folder):
            session = name.split(".")[0]
            upload = self._known.get(session)
            if upload is not None and upload.is_busy:
                continue
            with suppress(FileNotFoundError):
                path = os.path.join(self._folder, name)
                newest = max(self._age_stamp(session), os.stat(path).st_mtime_ns)
                if time.time_ns() - newest >= older_than_s * 1e9:
                    self.end(upload or Upload(session, ""))
                    remove_durably(path)
                    ended += 1
        return ended

    def close(self) -> None:
        for upload in list(self._known.values()):
            self.close_idle(upload)

    def _remember(self, upload: Upload) -> None:
        self._known.pop(upload.session, None)
        self._known[upload.session] = upload
        if len(self._known) > _MOST_OPEN:
            for other in list(self._known.values()):
                if not other.is_busy and other is not upload:
                    self.close_idle(other)
                    del self._known[other.session]
                    return

    def _age_stamp(self, session: str) -> int:
        try:
            return os.stat(self._path(session, "data")).st_mtime_ns
        except FileNotFoundError:
            return 0

    def _path(self, session: str, part: str) -> str:
        return os.path.join(self._folder, f"{session}.{part}")

    def _unknown(self, session: str) -> Refused:
        return Refused(404, d.BLOB_UPLOAD_UNKNOWN, f"upload {session} is not known here")
