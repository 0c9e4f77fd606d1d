"""Read a layer or an archive as the bytes inside its compression, within limits.

In: a descriptor of a file, how it is compressed.  Out: pieces of at most 1 MiB, and at the end the SHA-256 of all of them.

Rule 1: output is bounded before it is made (CVE-2021-20291): in all, and against what went in, so that a bomb ends early.
Rule 2: data that breaks off, or goes on after its end with anything but zeros, is an error.

Reading, decompressing and hashing run in a thread of their own; zlib and hashlib let go of the interpreter's lock meanwhile.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import os
import queue
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional, Union

from gitopsd.engine.kernel import zstd
from gitopsd.oci.digest import Digest

PIECE = 1 << 20
_QUEUED = 8
_MAGICS = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"))
_LZMA_MEMORY = 256 << 20


class BadArchive(ValueError):  # noqa: N818
    """An archive or layer that is damaged, hostile, or larger than is taken."""

    status = 400


@dataclass(frozen=True)
class Limits:
    """What is taken from a stranger: far above real images, below what hurts a host."""

    entries: int = 2_000_000
    total_bytes: int = 256 << 30
    # deflate makes at most 1,032 of one; a layer beyond 250 to one is taken up to the floor (a swap file of zeros, say)
    ratio: int = 250
    ratio_floor_bytes: int = 4 << 30
    name_bytes: int = 4096
    pax_bytes: int = 1 << 20
    xattr_bytes: int = 64 << 10
    sparse_regions: int = 1 << 18


LIMITS = Limits()


def sniff(head: bytes) -> str:
    """How data that begins like this is compressed; empty for not at all."""
    for magic, name in _MAGICS:
        if head.startswith(magic):
            return name
    return ""


class Stream:
    """Pieces of a decompressed file, in order. Close it; the descriptor stays the caller's."""

    def __init__(self, descriptor: int, compression: str, limits: Limits = LIMITS) -> None:
        self._descriptor, self._limits = descriptor, limits
        self._decompress = _decompressor(compression)
        self._hash = hashlib.sha256()
        self._pieces: queue.Queue[Union[bytes, BaseException]] = queue.Queue(_QUEUED)
        self._is_closed = False
        self._is_over = False
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def read(self) -> bytes:
        """The next piece; empty at the end."""
        if self._is_over:
            return b""
        piece = self._pieces.get()
        if isinstance(piece, BaseException):
            self._is_over = True
            raise piece
        self._is_over = not piece
        return piece

    def finish(self) -> Digest:
        """Read to the end, and give the digest of everything."""
        while self.read():
            pass
        return Digest.from_hex(self._hash.hexdigest())

    def close(self) -> None:
        self._is_closed = True
        while self._thread.is_alive():
            try:
                self._pieces.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)
        self._is_over = True

    def _pump(self) -> None:
        came_in = came_out = 0
        try:
            while not self._is_closed:
                data = os.read(self._descriptor, PIECE)
                if not data:
                    self._decompress.finish()
                    self._pieces.put(b"")
                    return
                came_in += len(data)
                for piece in self._decompress.feed(data):
                    came_out += len(piece)
                    self._check(came_in, came_out)
                    self._hash.update(piece)
                    self._pieces.put(piece)
                    if self._is_closed:
                        return
        except (zlib.error, lzma.LZMAError, ValueError, OSError, EOFError, MemoryError) as error:
            is_ours = isinstance(error, BadArchive) or (
                isinstance(error, OSError) and error.errno
            )  # bz2 says OSError of bad data
            self._pieces.put(error if is_ours else BadArchive(f"damaged data: {error}"))
        except BaseException as error:  # noqa: BLE001  it is raised in `read`
            self._pieces.put(error)

    def _check(self, came_in: int, came_out: int) -> None:
        limits = self._limits
        if came_out > limits.total_bytes:
            raise BadArchive(f"more than {limits.total_bytes} bytes when decompressed")
        if came_out > limits.ratio_floor_bytes and came_out > limits.ratio * came_in:
            raise BadArchive(f"{came_in} bytes decompress to more than {limits.ratio} times as many, which is refused as a bomb")


class _Plain:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        pass


class _Gzip:
    """Members one after the other, as gzip allows."""

    def __init__(self) -> None:
        self._member: Any = None
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member is None:
                if self._started and not data.strip(b"\0"):
                    return  # padding
                self._member, self._started = zlib.decompressobj(31), True
            while True:
                piece = self._member.decompress(data, PIECE)
                data = self._member.unconsumed_tail
                if piece:
                    yield piece
                if self._member.eof:
                    data, self._member = self._member.unused_data, None
                    break
                if not data and len(piece) < PIECE:
                    return

    def finish(self) -> None:
        if self._member is not None or not self._started:
            raise EOFError("gzip: the data ends too early")


class _Other:
    """bzip2 and xz, whose decompressors work alike."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._member: Any = None
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member is None:
                if self._started and not data.strip(b"\0"):
                    return
                self._started = True
                self._member = bz2.BZ2Decompressor() if self._kind == "bzip2" else lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
            while True:
                piece = self._member.decompress(data, PIECE)
                data = b""
                if piece:
                    yield piece
                if self._member.eof:
                    data, self._member = self._member.unused_data, None
                    break
                if self._member.needs_input:
                    return

    def finish(self) -> None:
        if self._member is not None or not self._started:
            raise EOFError(f"{self._kind}: the data ends too early")


def _decompressor(compression: str) -> Any:
    if compression == "":
        return _Plain()
    if compression == "gzip":
        return _Gzip()
    if compression in ("bzip2", "xz"):
        return _Other(compression)
    if compression == "zstd":
        try:
            return zstd.decompressor()
        except zstd.ZstdMissing as error:
            raise BadArchive(str(error)) from None
    raise BadArchive(f"compression {compression} is not known")


def whole(stream: Stream, most: Optional[int] = None) -> bytes:
    """Everything, for small things."""
    parts: list[bytes] = []
    size = 0
    while True:
        piece = stream.read()
        if not piece:
            return b"".join(parts)
        size += len(piece)
        if most is not None and size > most:
            raise BadArchive(f"more than {most} bytes")
        parts.append(piece)
