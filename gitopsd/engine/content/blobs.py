"""Blobs: content in files named by the SHA-256 of their bytes.

In: bytes that somebody says have this digest.  Out: the blob, once they do.

Rule 1: nothing is visible under its digest before all its bytes were hashed, equal to it, and on disk (fsync, rename, fsync).
Rule 2: what arrived stays in `partial/` when an ingest breaks off, and the next one goes on from there; a partial that
turns out wrong is thrown away whole.
Rule 3: one ingest at a time appends to a partial (flock); a second one waits, or keeps its bytes to itself.
Rule 4: who relies on a blob that is there holds it (`keep`): the collector removes nothing that is held.

Several processes share one store: the locks are on the files, and go when a process dies.
Not here: who needs a blob (roots.py), removal of what nobody needs (gc.py).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Callable, Optional, Union

from gitopsd.engine.kernel.files import RENAME_NOREPLACE, renameat2
from gitopsd.engine.paths.records import make_directories_durably, sync_directory
from gitopsd.oci.digest import Digest, InvalidDigest

_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
Bytes = Union[bytes, bytearray, memoryview]


class BlobMissing(LookupError):  # noqa: N818
    """The store has no blob of this digest."""


class DigestMismatch(ValueError):  # noqa: N818
    """The bytes that came are not those that were announced."""


class Ingest:
    """A blob on its way in. Bytes are written in order from `offset` on, then `commit`; `close` keeps the partial.

    Not for use by several threads at once. Without `digest` it is whatever the bytes turn out to be.
    """

    def __init__(
        self, store: Blobs, path: str, digest: Optional[Digest], size: Optional[int], keeps: bool, descriptor: int
    ) -> None:
        self._store, self._path, self._digest, self._size, self._keeps = store, path, digest, size, keeps
        self._descriptor = descriptor
        self._hash = hashlib.sha256()
        self.offset = 0
        self._resume()

    @property
    def digest(self) -> Digest:
        """Of the bytes so far."""
        return Digest.from_hex(self._hash.hexdigest())

    def write(self, data: Bytes) -> None:
        """Take the next bytes. More than were announced is an error, and so is a full disk: both drop the partial."""
        if self._size is not None and self.offset + len(data) > self._size:
            self.abort()
            raise DigestMismatch(f"blob {self._digest}: more than {self._size} bytes came")
        try:
            view = memoryview(data)
            while view:
                written = os.write(self._descriptor, view)
                self._hash.update(view[:written])
                self.offset += written
                view = view[written:]
        except OSError as error:
            if error.errno in _FULL:
                self.abort()
            raise

    def commit(self) -> Digest:
        """Make the blob visible; returns its digest. Wrong bytes leave nothing behind; missing ones keep the partial."""
        found = self.digest
        if self._size is not None and self.offset < self._size and found != self._digest:
            self.close()
            raise DigestMismatch(f"blob {self._digest}: {self._size} bytes expected, {self.offset} came")
        if self._digest is not None and found != self._digest:
            self.abort()
            raise DigestMismatch(f"blob {self._digest}: the bytes that came have digest {found}")
        try:
            os.fsync(self._descriptor)
            os.utime(self._descriptor)
            self._publish(found)
        except OSError as error:
            if error.errno in _FULL:
                self.abort()
            raise
        sync_directory(self._store.folder)
        self._release()
        return found

    def close(self) -> None:
        """Let go. What has come stays for the next ingest of this digest, unless it was private."""
        if self._descriptor < 0:
            return
        if self._keeps and (self.offset or self._digest is None):
            self._release()
        else:
            self.abort()

    def abort(self) -> None:
        """Let go and throw away what has come."""
        if self._descriptor >= 0:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
            self._release()

    def __enter__(self) -> Ingest:  # noqa: PYI034  Self came after 3.9
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def restart(self) -> None:
        """Throw away what has come and begin at byte 0, still holding the partial."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.offset = 0

    def fill(self, write: Callable[[int], None]) -> None:
        """Let somebody else, a worker, write all of it by a descriptor; what is then there is hashed here."""
        self.restart()
        write(self._descriptor)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._resume()

    def _publish(self, found: Digest) -> None:
        """One that is there already is not replaced: somebody may hold it."""
        try:
            renameat2(-1, self._path, -1, self._store.path(found), RENAME_NOREPLACE)
        except FileExistsError:
            with self._store.lease() as lease:
                if lease.keep(found):
                    os.unlink(self._path)
                else:
                    os.rename(self._path, self._store.path(found))

    def _resume(self) -> None:
        """Hash what an earlier ingest left: the running digest must cover it."""
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            while True:
                data = file.read(_CHUNK)
                if not data:
                    break
                self._hash.update(data)
                self.offset += len(data)
        if self._size is not None and self.offset > self._size:
            self.restart()

    def _release(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


class Blobs:
    """The store at `<data root>/blobs`. All methods are safe in threads and in several processes."""

    def __init__(self, data_root: str) -> None:
        self.folder = os.path.join(data_root, "blobs", "sha256")
        self._partial = os.path.join(data_root, "blobs", "partial")
        make_directories_durably(self.folder)
        make_directories_durably(self._partial)

    def path(self, digest: Digest) -> str:
        """Where the blob is, or would be."""
        return os.path.join(self.folder, digest.hex)

    def has(self, digest: Digest) -> bool:
        return os.path.exists(self.path(digest))

    def size(self, digest: Digest) -> int:
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            raise BlobMissing(f"blob {digest} is not in the store") from None

    def open(self, digest: Digest) -> BinaryIO:
        """The blob for reading; it can be read to its end even if it is removed meanwhile."""
        try:
            return open(self.path(digest), "rb")
        except FileNotFoundError:
            raise BlobMissing(f"blob {digest} is not in the store") from None

    def read(self, digest: Digest, most: int) -> bytes:
        """A small blob whole, hashed again, so that a document is never read from a damaged file."""
        with self.open(digest) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise ValueError(f"blob {digest} is larger than {most} bytes")
        if Digest.of(data) != digest:
            raise DigestMismatch(f"blob {digest} is damaged on disk")
        return data

    def put(self, data: bytes) -> Digest:
        """Store these bytes; doing it again changes nothing but the blob's age."""
        digest = Digest.of(data)
        with self.lease() as lease:
            if lease.keep(digest):
                return digest
        with self.ingest(digest, len(data), wait=False) as ingest:
            ingest.restart()
            ingest.write(data)
            return ingest.commit()

    def ingest(self, digest: Digest, size: Optional[int] = None, wait: bool = True) -> Ingest:
        """Begin or go on with a blob. While another ingest has its partial: wait for it, or get one that cannot be resumed."""
        path = os.path.join(self._partial, digest.hex)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(descriptor)
                return self._private(digest, size)
            if _is_at(descriptor, path):
                return Ingest(self, path, digest, size, True, descriptor)
            os.close(descriptor)  # the other has finished or given up: look anew

    def ingest_unnamed(self) -> Ingest:
        """Begin a blob whose digest is known only when it is whole."""
        return self._private(None, None)

    def ingest_file(self, path: str, create: bool) -> Ingest:
        """Begin or go on with a blob whose bytes are collected in a file of the caller's, on the same file system.

        `close` keeps the file, `commit` makes it the blob of its digest. FileNotFoundError where it is not there and not to be made.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
        return Ingest(self, path, None, None, True, descriptor)

    def partials(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        """How many bytes of these blobs have arrived, of those that are still partial."""
        found: dict[Digest, int] = {}
        for digest in digests:
            with suppress(FileNotFoundError):
                size = os.stat(os.path.join(self._partial, digest.hex)).st_size
                if size:
                    found[digest] = size
        return found

    def verify(self, digest: Digest) -> bool:
        """Read the whole blob and compare."""
        computed = hashlib.sha256()
        with self.open(digest) as file:
            while True:
                data = file.read(_CHUNK)
                if not data:
                    return Digest.from_hex(computed.hexdigest()) == digest
                computed.update(data)

    def __iter__(self) -> Iterator[Digest]:
        """Every blob, in no order."""
        for name in os.listdir(self.folder):
            with suppress(InvalidDigest):
                yield Digest.from_hex(name)

    @contextmanager
    def _locked(self, digest: Digest) -> Generator[Optional[int], None, None]:
        """The blob's descriptor if nobody holds it, None else."""
        descriptor = -1
        try:
            try:
                descriptor = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (FileNotFoundError, BlockingIOError):
                yield None
            else:
                yield descriptor
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def remove(self, digest: Digest, older_than_s: float = 0.0) -> int:
        """Remove a blob that nobody holds and nobody relied on for so long; returns the bytes freed."""
        with self._locked(digest) as descriptor:
            if descriptor is None:
                return 0
            status = os.fstat(descriptor)
            if status.st_nlink == 0 or _age_s(status) < older_than_s:
                return 0
            os.unlink(self.path(digest))
            return status.st_size

    def discard(self, digest: Digest) -> None:
        """Remove a blob that is damaged, whoever holds it: nobody can use it."""
        with suppress(FileNotFoundError):
            os.unlink(self.path(digest))
        sync_directory(self.folder)

    def remove_partials(self, older_than_s: float) -> int:
        """Remove partials that nobody appends to and that did not grow for so long; returns the bytes freed."""
        freed = 0
        for name in os.listdir(self._partial):
            path = os.path.join(self._partial, name)
            with suppress(FileNotFoundError, BlockingIOError):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    status = os.fstat(descriptor)
                    if _age_s(status) >= older_than_s and _is_at(descriptor, path):
                        os.unlink(path)
                        freed += status.st_size
                finally:
                    os.close(descriptor)
        return freed

    def lease(self) -> Lease:
        """Hold blobs for a while."""
        return Lease(self)

    def _private(self, digest: Optional[Digest], size: Optional[int]) -> Ingest:
        path = os.path.join(self._partial, f"private-{os.getpid()}-{os.urandom(8).hex()}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return Ingest(self, path, digest, size, False, descriptor)


class Lease:
    """Blobs that stay while this is open: each is held by a shared lock on its file, which a crash lets go. Safe in threads."""

    def __init__(self, store: Blobs) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._held: dict[Digest, int] = {}

    def keep(self, digest: Digest) -> bool:
        """Whether the blob is there; if so it stays, and its age begins anew."""
        if digest in self._held:
            return True
        while True:
            try:
                descriptor = os.open(self._store.path(digest), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            fcntl.flock(descriptor, fcntl.LOCK_SH)  # a collector holds it for an instant only
            if os.fstat(descriptor).st_nlink:
                os.utime(descriptor)
                with self._lock:
                    kept = self._held.setdefault(digest, descriptor)
                if kept != descriptor:
                    os.close(descriptor)
                return True
            os.close(descriptor)

    def close(self) -> None:
        with self._lock:
            while self._held:
                os.close(self._held.popitem()[1])

    def __enter__(self) -> Lease:  # noqa: PYI034  Self came after 3.9
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_at(descriptor: int, path: str) -> bool:
    """Whether the file is still the one under this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _age_s(status: os.stat_result) -> float:
    """How long ago a file was made or relied on. A clock set back makes it young, which keeps it."""
    return (time.time_ns() - status.st_mtime_ns) / 1e9
