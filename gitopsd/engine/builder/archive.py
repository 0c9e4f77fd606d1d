"""The index of an uploaded context: a job of a worker, on a stranger's bytes.

In: a tar, compressed or not.  Out: a list for each thing in it, in the order of tree.Entry's fields.

Rule: a name that leads out of the context, or through anything but folders, is refused, whatever stands behind it.
Imports as little as it can: it runs at the beginning of every build.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from gitopsd.engine.builder.attributes import is_copied
from gitopsd.engine.images.stream import PIECE, BadArchive, Limits, Stream, sniff
from gitopsd.engine.images.tar.entry import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, LINK, SYMLINK
from gitopsd.engine.images.tar.reader import Reader

LIMITS = Limits(entries=200_000, total_bytes=64 << 30)
KINDS = {FILE: "file", DIRECTORY: "folder", SYMLINK: "link", FIFO: "fifo", CHARACTER: "character", BLOCK: "block"}
KIND, TWIN = 1, 12


def index(arguments: Mapping[str, Any], descriptors: Sequence[int]) -> dict[str, Any]:
    """The worker's job. Descriptors: the archive, and a file for what is in it, which is written to if the archive is compressed."""
    archive, unpacked = descriptors
    compression = sniff(os.pread(archive, 16, 0))
    os.lseek(archive, 0, os.SEEK_SET)
    stream = Stream(archive, compression, LIMITS)

    def read() -> bytes:
        data = stream.read()
        if compression:
            _write_all(unpacked, data)
        return data

    try:
        entries = _entries(Reader(read, LIMITS))
    finally:
        stream.close()
    return {"entries": entries, "is_unpacked": bool(compression)}


def _entries(reader: Reader) -> list[list[Any]]:
    """One list for each thing in the archive, in the order of `Entry`'s fields that are sent."""
    found: dict[str, list[Any]] = {}
    for member in reader:
        path = _path(member.name)
        if member.kind == LINK:
            target = found.get(_path(member.target))
            if target is None or target[KIND] != "file":
                raise BadArchive(f"{member.name!r} is a hard link to {member.target!r}, which is no file before it")
            target[TWIN] = target[TWIN] or target[0]
            found[path] = [path, *target[1:]]
            continue
        if member.sparse is not None:
            raise BadArchive(f"{member.name!r}: sparse files are not there yet in a build context")
        if not path and member.kind != DIRECTORY:
            raise BadArchive(f"{member.name!r}: the context's root has to be a folder")
        offset = reader.position
        digest = ""
        if member.kind == FILE:
            content = hashlib.sha256()
            for piece in reader.pieces():
                content.update(piece)
            digest = content.hexdigest()
        attributes = [(name, value.hex()) for name, value in sorted(member.xattrs.items()) if is_copied(name)]
        device = os.makedev(member.major, member.minor) if member.major or member.minor else 0
        size = member.size if member.kind == FILE else 0
        kind = KINDS[member.kind]
        found[path] = [
            path,
            kind,
            member.mode,
            0,
            0,
            member.mtime_ns,
            size,
            member.target,
            device,
            digest,
            offset,
            attributes,
            "",
        ]
    _check_folders(found)
    return list(found.values())


def _check_folders(found: dict[str, list[Any]]) -> None:
    """Every entry lies in a folder: one that the archive has, or one that it left unsaid."""
    for path in list(found):
        above = posixpath.dirname(path)
        while path and above not in found:
            found[above] = [above, "folder", 0o755, 0, 0, 0, 0, "", 0, "", 0, [], ""]
            above = posixpath.dirname(above)
        if path and found[above][KIND] != "folder":
            raise BadArchive(f"{path!r} lies in {above!r}, which is no folder")


def _path(name: str) -> str:
    """The place in the context; a name that leads out of it is refused, whatever stands behind it."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadArchive(f"{name[:200]!r} leads out of the context")
    return "/".join(parts)


def _write_all(descriptor: int, data: bytes) -> None:
    for at in range(0, len(data), PIECE):
        piece = data[at : at + PIECE]
        while piece:
            piece = piece[os.write(descriptor, piece) :]
