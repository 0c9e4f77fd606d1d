"""Which images there are and what they are called: `images.json` of docs/state.md.

In: references, manifest digests.  Out: the same after a crash.

    {"version": 1, "references": {reference: manifest digest},
     "images": {manifest digest: {"config", "platform", "size_bytes", "added_ns"}}}

Rule: an image is recorded after its blobs and layers are durable; a change is on disk before the call returns.
References are whole (`docker.io/library/busybox:latest`), with a tag or with a digest. What a later version adds is kept.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Callable, cast

from gitopsd.engine.paths.records import read_record, write_record
from gitopsd.oci.digest import Digest

Json = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What is recorded of an image; everything else is in its blobs."""

    digest: Digest
    config: Digest
    platform: str
    size_bytes: int
    added_ns: int


class References:
    """Owns `images.json`. Safe in threads."""

    def __init__(self, data_root: str, changed: Callable[[], None]) -> None:
        self._path = os.path.join(data_root, "images.json")
        self._changed = changed
        self._lock = threading.RLock()
        document: Any = read_record(self._path) or {"version": 1, "references": {}, "images": {}}
        if document.get("version") != 1:
            raise ValueError(
                f"{self._path}: version {document.get('version')!r} is not 1: it is of another version of the engine"
            )
        self._document = cast("Json", document)
        self._names: dict[str, Digest] = {name: Digest(digest) for name, digest in document["references"].items()}
        self._records = {Digest(digest): _record(digest, value) for digest, value in document["images"].items()}

    def names(self) -> dict[str, Digest]:
        """Every reference and the manifest it names."""
        with self._lock:
            return dict(self._names)

    def names_of(self, digest: Digest) -> list[str]:
        with self._lock:
            return sorted(name for name, found in self._names.items() if found == digest)

    def records(self) -> list[Record]:
        """Every image, the newest first."""
        with self._lock:
            return sorted(self._records.values(), key=lambda record: (-record.added_ns, record.digest))

    def record(self, digest: str) -> Record:
        """KeyError for an image that is not here."""
        with self._lock:
            return self._records[cast("Digest", digest)]

    def put(self, record: Record, names: Iterable[str] = ()) -> None:
        """Record an image and give it names, which others may have had."""
        with self._lock:
            records, references = dict(self._records), dict(self._names)
            if record.digest not in records:
                records[record.digest] = record
            references.update(dict.fromkeys(names, record.digest))
            self._write(references, records)

    def remove(self, names: Iterable[str], images: Iterable[Digest] = ()) -> None:
        with self._lock:
            gone, lost = set(names), set(images)
            references = {name: digest for name, digest in self._names.items() if name not in gone and digest not in lost}
            self._write(references, {digest: record for digest, record in self._records.items() if digest not in lost})

    def _write(self, references: dict[str, Digest], records: Mapping[Digest, Record]) -> None:
        if references == self._names and records == self._records:
            return
        kept: Json = self._document["images"]
        document: Json = {
            **self._document,
            "references": references,
            "images": {digest: {**kept.get(digest, {}), **_shown(record)} for digest, record in records.items()},
        }
        write_record(self._path, document)
        self._document, self._names, self._records = document, references, dict(records)
        self._changed()


def _record(digest: str, value: Json) -> Record:
    return Record(Digest(digest), Digest(value["config"]), value["platform"], value["size_bytes"], value["added_ns"])


def _shown(record: Record) -> Json:
    return {"config": record.config, "platform": record.platform, "size_bytes": record.size_bytes, "added_ns": record.added_ns}
