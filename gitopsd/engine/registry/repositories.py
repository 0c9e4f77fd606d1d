"""The registry's repositories on disk: which blobs and manifests each has, its tags, who refers to whom.

In: names that were checked (oci/reference.py), digests.  Out: content by name; errors of the distribution specification.

    registry/lock                                  held by the one registry on this data root
    registry/uploads/<session>/data, repository    an upload that goes on
    registry/repositories/<name>/_blobs/<hex>      empty: the repository has this blob
                                /_manifests/<hex>  the media type of a manifest it has
                                /_tags/<tag>/manifest      the digest a tag names
                                /_referrers/<hex>/<hex>    empty: the second manifest has the first as its subject

Rule 1: a manifest is taken only if the repository has all it names; its tag is written last. Each step is durable before the next.
Rule 2: what was promised to be there (a look-up that said yes) stays for the grace of the collector.

A component of a name cannot begin with an underscore, so the folders of a repository are no repository's.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Optional, Union

from gitopsd.engine.content.blobs import BlobMissing, Blobs, Lease
from gitopsd.engine.paths.records import make_directories_durably, remove_durably, sync_directory, write_durably
from gitopsd.engine.paths.root import remove_at
from gitopsd.oci import distribution as d
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import LARGEST_MANIFEST, OCI_INDEX, Descriptor, Index, Manifest, parse_manifest, render

_NAMED_WITHOUT_BLOB = ("nondistributable", "foreign.diff")


class Refused(Exception):  # noqa: N818
    """An answer of the specification's table other than success."""

    def __init__(self, status: int, code: str, message: str, headers: Optional[dict[str, str]] = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = headers or {}


@dataclass(frozen=True)
class Stored:
    """A manifest as it was pushed, byte for byte."""

    digest: Digest
    media_type: str
    data: bytes


class Repositories:
    """All repositories of a data root. Safe in threads; one process writes (server.py holds the lock), others may ask for `roots`."""

    def __init__(self, data_root: str, blobs: Blobs) -> None:
        self._top = os.path.join(data_root, "registry", "repositories")
        self._blobs = blobs
        self._lock = threading.Lock()

    # blobs

    def blob_size(self, name: str, digest: Digest) -> int:
        """The size of a blob that the repository has; it and its entry are young again, since somebody relies on them."""
        path = self._path(name, "_blobs", digest.hex)
        try:
            os.utime(path)
            with self._blobs.lease() as lease:
                if lease.keep(digest):
                    return self._blobs.size(digest)
        except (FileNotFoundError, NotADirectoryError):
            pass
        raise Refused(404, d.BLOB_UNKNOWN, f"blob {digest} is not in repository {name}")

    def link_blob(self, name: str, digest: Digest) -> None:
        """The repository has this blob from now on."""
        self._mark(self._path(name, "_blobs"), digest.hex)

    def mount(self, name: str, digest: Digest, source: str) -> bool:
        """Give the repository a blob that `source` has, or, if that is empty, any other."""
        for other in [source] if source else list(self.names()):
            with suppress(Refused):
                self.blob_size(other, digest)
                self.link_blob(name, digest)
                return True
        return False

    def delete_blob(self, name: str, digest: Digest) -> None:
        self.blob_size(name, digest)
        remove_durably(self._path(name, "_blobs", digest.hex))

    # manifests and tags

    def manifest(self, name: str, digest: Optional[Digest], tag: Optional[str]) -> Stored:
        """By digest, or by tag."""
        found = digest or self._tagged(name, tag or "")
        try:
            with open(self._path(name, "_manifests", found.hex), encoding="utf-8") as file:
                media_type = file.read().strip()
            return Stored(found, media_type, self._blobs.read(found, LARGEST_MANIFEST))
        except (FileNotFoundError, NotADirectoryError, BlobMissing):
            raise Refused(404, d.MANIFEST_UNKNOWN, f"manifest {found} is not in repository {name}") from None

    def put_manifest(
        self, name: str, digest: Optional[Digest], tag: Optional[str], data: bytes, content_type: str
    ) -> tuple[Digest, Optional[Digest]]:
        """Take a manifest; its digest, and its subject's. Durable when it returns."""
        found = Digest.of(data)
        if digest is not None and digest != found:
            raise Refused(400, d.DIGEST_INVALID, f"the manifest has digest {found}, not {digest}")
        manifest = parse_manifest(data, content_type)
        with self._blobs.lease() as lease, self._lock:
            self._check_complete(name, manifest, lease)
            self._blobs.put(data)
            lease.keep(found)
            make_directories_durably(self._path(name, "_manifests"))
            write_durably(
                self._path(name, "_manifests", found.hex),
                (content_type.split(";", maxsplit=1)[0].strip() or manifest.media_type).encode(),
            )
            if manifest.subject:
                self._mark(self._path(name, "_referrers", manifest.subject.digest.hex), found.hex)
            if tag:
                make_directories_durably(self._path(name, "_tags", tag))
                write_durably(self._path(name, "_tags", tag, "manifest"), found.encode())
        return found, manifest.subject.digest if manifest.subject else None

    def delete_manifest(self, name: str, digest: Optional[Digest], tag: Optional[str]) -> None:
        """A tag alone; or a manifest with the tags that name it."""
        with self._lock:
            if digest is None:
                self._tagged(name, tag or "")
                self._untag(name, tag or "")
                return
            stored = self.manifest(name, digest, None)
            for other in self._all_tags(name):
                with suppress(Refused):
                    if self._tagged(name, other) == digest:
                        self._untag(name, other)
            subject = parse_manifest(stored.data, stored.media_type).subject
            if subject:
                remove_durably(self._path(name, "_referrers", subject.digest.hex, digest.hex))
            remove_durably(self._path(name, "_manifests", digest.hex))

    def tags(self, name: str, most: int, last: str) -> tuple[list[str], bool]:
        """At most so many tags after `last`, in lexical order, and whether there are more."""
        if not os.path.isdir(self._path(name, "_manifests")) and not os.path.isdir(self._path(name, "_blobs")):
            raise Refused(404, d.NAME_UNKNOWN, f"repository {name} is not here")
        return _page(self._all_tags(name), most, last)

    def catalog(self, most: int, last: str) -> tuple[list[str], bool]:
        return _page(sorted(self.names()), most, last)

    def referrers(self, name: str, digest: Digest, artifact_type: str) -> bytes:
        """The index of the manifests that have `digest` as their subject."""
        entries: list[dict[str, Any]] = []
        for hexadecimal in sorted(_listed(self._path(name, "_referrers", digest.hex))):
            with suppress(Refused):
                stored = self.manifest(name, Digest.from_hex(hexadecimal), None)
                manifest = parse_manifest(stored.data, stored.media_type)
                if not artifact_type or manifest.kind == artifact_type:
                    entry = Descriptor(
                        stored.media_type, stored.digest, len(stored.data), None, manifest.annotations, manifest.kind
                    )
                    entries.append(entry.to_json())
        return render({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})

    # owners of blobs

    def names(self) -> Iterator[str]:
        """Every repository."""
        for folder, below, _ in os.walk(self._top):
            if "_manifests" in below or "_blobs" in below:
                yield os.path.relpath(folder, self._top)
            below[:] = [entry for entry in below if not entry.startswith("_")]

    def roots(self) -> Iterable[Digest]:
        """content/roots.py: every blob and manifest that a repository has."""
        for name in self.names():
            for kind in ("_blobs", "_manifests"):
                for hexadecimal in _listed(self._path(name, kind)):
                    yield Digest.from_hex(hexadecimal)

    def prune(self, grace_s: float) -> int:
        """Take from each repository the blobs that no manifest of it names and nobody relied on for so long; how many."""
        removed = 0
        for name in list(self.names()):
            named: set[str] = set()
            with self._lock:
                for hexadecimal in _listed(self._path(name, "_manifests")):
                    stored = self.manifest(name, Digest.from_hex(hexadecimal), None)
                    manifest = parse_manifest(stored.data, stored.media_type)
                    if isinstance(manifest, Manifest):
                        named.update(blob.digest.hex for blob in manifest.blobs)
                for hexadecimal in set(_listed(self._path(name, "_blobs"))) - named:
                    path = self._path(name, "_blobs", hexadecimal)
                    with suppress(FileNotFoundError):
                        if time.time_ns() - os.stat(path).st_mtime_ns >= grace_s * 1e9:
                            remove_durably(path)
                            removed += 1
        return removed

    def _check_complete(self, name: str, manifest: Union[Manifest, Index], lease: Lease) -> None:
        if isinstance(manifest, Manifest):
            needed = [blob for blob in manifest.blobs if not any(part in blob.media_type for part in _NAMED_WITHOUT_BLOB)]
            kind = "_blobs"
        else:
            needed, kind = list(manifest.manifests), "_manifests"
        missing = [
            blob.digest
            for blob in needed
            if not os.path.exists(self._path(name, kind, blob.digest.hex)) or not lease.keep(blob.digest)
        ]
        if missing:
            raise Refused(400, d.MANIFEST_BLOB_UNKNOWN, f"not in repository {name}: {', '.join(missing[:10])}")
        for blob in needed:
            size = self._blobs.size(blob.digest)
            if size != blob.size:
                raise Refused(400, d.MANIFEST_INVALID, f"blob {blob.digest} has {size} bytes, the manifest says {blob.size}")

    def _tagged(self, name: str, tag: str) -> Digest:
        try:
            with open(self._path(name, "_tags", tag, "manifest"), encoding="ascii") as file:
                return Digest(file.read())
        except (FileNotFoundError, NotADirectoryError):
            raise Refused(404, d.MANIFEST_UNKNOWN, f"tag {tag} is not in repository {name}") from None

    def _untag(self, name: str, tag: str) -> None:
        remove_at(self._path(name, "_tags", tag))
        sync_directory(self._path(name, "_tags"))

    def _all_tags(self, name: str) -> list[str]:
        tags = _listed(self._path(name, "_tags"), "")
        return sorted(tag for tag in tags if os.path.exists(self._path(name, "_tags", tag, "manifest")))

    def _mark(self, folder: str, name: str) -> None:
        make_directories_durably(folder)
        descriptor = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.utime(descriptor)
        os.close(descriptor)
        sync_directory(folder)

    def _path(self, name: str, *parts: str) -> str:
        return os.path.join(self._top, name, *parts)


def _listed(folder: str, ending: str = ".tmp") -> list[str]:
    """The names in a folder, but for what a killed writer left. Of tags every name counts."""
    try:
        return [name for name in os.listdir(folder) if not (ending and name.endswith(ending))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _page(names: list[str], most: int, last: str) -> tuple[list[str], bool]:
    after = [name for name in names if name > last] if last else names
    return after[:most], len(after) > most > 0
