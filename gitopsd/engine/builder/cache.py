"""What steps gave, kept by their keys.

One small file for each key under the builder's folder. Losing one costs a rebuild and nothing else, so they are whole but not
synced, and one that cannot be read is as good as lost. Beyond its bounds those go first that were not used for the longest time.
The layers are the image store's; a record whose layers are gone is no use and is dropped by who finds that out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Optional, cast

from gitopsd.engine.builder.images import Layer
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import Descriptor

VERSION = 1
MOST_RECORDS = 8192
MOST_BYTES = 20 << 30


class Cache:
    """The records in one folder. Safe in threads: files are replaced whole."""

    def __init__(self, folder: str, most_records: int = MOST_RECORDS, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._most_records = most_records
        self._most_bytes = most_bytes
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._sizes = {key: _size_of(self._read(key)) for key in self._keys()}

    def get(self, key: str) -> Optional[dict[str, Any]]:
        """What was put under the key, which counts as a use of it."""
        record = self._read(key)
        if record is not None:
            with suppress(OSError):
                os.utime(self._path(key))
        return record

    def put(self, key: str, **fields: Any) -> None:
        """Keep the fields; a disk that is full costs the record and no more."""
        path = self._path(key)
        temporary = f"{path}.tmp-{os.getpid()}-{os.urandom(4).hex()}"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump({"version": VERSION, **fields}, file)
            os.replace(temporary, path)
            self._sizes[key] = _size_of(fields)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)

    def drop(self, key: str) -> None:
        self._sizes.pop(key, None)
        with suppress(FileNotFoundError):
            os.unlink(self._path(key))

    def roots(self) -> Iterator[Digest]:
        """The blobs of all layers that records name, for the collector."""
        for key in self._keys():
            record = self._read(key)
            layer = layer_from_json(record.get("layer")) if record else None
            if layer:
                yield layer.blob.digest

    def prune(self) -> None:
        """Drop the least recently used beyond the bounds."""
        sizes = dict(self._sizes)
        if len(sizes) <= self._most_records and sum(sizes.values()) <= self._most_bytes:
            return
        used: list[tuple[int, str]] = []
        for key in sizes:
            with suppress(OSError):
                used.append((os.stat(self._path(key)).st_mtime_ns, key))
        size_bytes = 0
        for number, (_, key) in enumerate(sorted(used, reverse=True)):
            size_bytes += sizes[key]
            if number >= self._most_records or size_bytes > self._most_bytes:
                self.drop(key)

    def _keys(self) -> list[str]:
        """The keys there are; what a write that was cut off has left is removed."""
        names = os.listdir(self._folder)
        for name in names:
            if ".tmp-" in name and f".tmp-{os.getpid()}-" not in name:
                with suppress(OSError):
                    os.unlink(os.path.join(self._folder, name))
        return [name for name in names if "." not in name]

    def _path(self, key: str) -> str:
        return os.path.join(self._folder, key)

    def _read(self, key: str) -> Optional[dict[str, Any]]:
        try:
            with open(self._path(key), "rb") as file:
                record: Any = json.loads(file.read())
        except (OSError, ValueError):
            return None
        if not isinstance(record, dict) or cast("dict[str, Any]", record).get("version") != VERSION:
            return None
        return cast("dict[str, Any]", record)


def layer_to_json(layer: Optional[Layer]) -> Any:
    return {"diff_id": layer.diff_id, "blob": layer.blob.to_json()} if layer else None


def layer_from_json(value: Any) -> Optional[Layer]:
    """The layer of a record; None for one without a layer, and for one that is damaged."""
    try:
        blob = value["blob"]
        return Layer(Digest(value["diff_id"]), Descriptor(blob["mediaType"], Digest(blob["digest"]), int(blob["size"])))
    except (TypeError, KeyError, ValueError):
        return None


def _size_of(record: Optional[Mapping[str, Any]]) -> int:
    layer = layer_from_json(record.get("layer")) if record else None
    return layer.blob.size if layer else 0
