"""Write a tar archive in one form: the same entries give the same bytes.

In: entries and the data of files.  Out: bytes, ustar where that has room, pax records for what it has not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Callable, Union

from gitopsd.engine.images.stream import BadArchive
from gitopsd.engine.images.tar.entry import BLOCK, BLOCK_BYTES, CHARACTER, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Entry

_FLAGS = {FILE: b"0", LINK: b"1", SYMLINK: b"2", CHARACTER: b"3", BLOCK: b"4", DIRECTORY: b"5", FIFO: b"6"}
_XATTR = b"SCHILY.xattr."
Data = Union[bytes, memoryview]


class Writer:
    """Writes entries in one form: ustar where it fits, pax records for what does not. The same entries give the same bytes."""

    def __init__(self, write: Callable[[Data], object]) -> None:
        self._write = write

    def add(self, entry: Entry, data: Iterable[Data] = ()) -> None:
        """One entry, and for a file its data, of exactly `entry.size` bytes."""
        size = entry.size if entry.kind == FILE else 0
        self._header(entry, size)
        written = 0
        for piece in data:
            written += len(piece)
            if written > size:
                break
            self._write(piece)
        if written != size:
            raise BadArchive(f"{entry.name!r} changed while it was read: {size} bytes expected, {written} came")
        if size % BLOCK_BYTES:
            self._write(bytes(-size % BLOCK_BYTES))

    def finish(self) -> None:
        """The two zero blocks that end an archive."""
        self._write(bytes(2 * BLOCK_BYTES))

    def _header(self, entry: Entry, size: int) -> None:
        name, target = os.fsencode(entry.name), os.fsencode(entry.target)
        if entry.kind == DIRECTORY and not name.endswith(b"/"):
            name += b"/"
        pax: dict[bytes, bytes] = {}
        prefix = b""
        if len(name) > 100 or not name.isascii():
            cut = name.find(b"/", max(0, len(name) - 101)) if len(name) <= 255 and name.isascii() else -1
            if 0 < cut <= 155 and cut + 1 < len(name):
                prefix, name = name[:cut], name[cut + 1 :]
            else:
                pax[b"path"], name = name, name[:100]
        if len(target) > 100 or not target.isascii():
            pax[b"linkpath"], target = target, target[:100]
        if any(not _is_utf8(pax.get(key, b"")) for key in (b"path", b"linkpath")):
            pax[b"hdrcharset"] = b"BINARY"
        seconds, rest = divmod(entry.mtime_ns, 1_000_000_000)
        if rest or not 0 <= seconds < 8**11:
            pax[b"mtime"] = _render_time(entry.mtime_ns)
            seconds = max(0, min(seconds, 8**11 - 1))
        numbers = {b"uid": (entry.uid, 8**7), b"gid": (entry.gid, 8**7), b"size": (size, 8**11)}
        fitted = {key: value if value < most else 0 for key, (value, most) in numbers.items()}
        pax.update({key: b"%d" % value for key, (value, most) in numbers.items() if value >= most})
        pax.update({_XATTR + os.fsencode(key): value for key, value in entry.xattrs.items()})
        if pax:
            body = b"".join(_pax_record(key, pax[key]) for key in sorted(pax))
            self._write(_block(b"PaxHeaders/x", b"x", 0o644, 0, 0, len(body), 0, b"", b"", 0, 0))
            self._write(body + bytes(-len(body) % BLOCK_BYTES))
        self._write(
            _block(name, _FLAGS[entry.kind], entry.mode & 0o7777, fitted[b"uid"], fitted[b"gid"], fitted[b"size"], seconds,
                   target, prefix, entry.major, entry.minor)
        )  # fmt: skip


def _block(
    name: bytes,
    flag: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    target: bytes,
    prefix: bytes,
    major: int,
    minor: int,
) -> bytes:
    head = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(100, b"\0"), mode, uid, gid, size, mtime)
    tail = b"%s%sustar\x0000%s%07o\0%07o\0%s" % (
        flag,
        target.ljust(100, b"\0"),
        bytes(64),
        major,
        minor,
        prefix.ljust(155, b"\0"),
    )
    checksum = sum(head) + 8 * 32 + sum(tail)
    return head + b"%06o\0 " % checksum + tail + bytes(12)


def _render_time(time_ns: int) -> bytes:
    seconds, rest = divmod(abs(time_ns), 1_000_000_000)
    return (b"-" if time_ns < 0 else b"") + (b"%d.%09d" % (seconds, rest)).rstrip(b"0").rstrip(b".")


def _pax_record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if rest + len(str(length)) != length:
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
