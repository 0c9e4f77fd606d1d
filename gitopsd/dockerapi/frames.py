"""Docker's framing of output without a terminal: a header of 8 bytes, then the bytes.  [pure]

Header: stream (0 stdin, 1 stdout, 2 stderr), three zero bytes, length big-endian (API, "Attach to a container").
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct(">BxxxI")
LONGEST = 16 << 20
"""Engines write frames of some 64 KiB; what announces more than this is no frame."""


def frame(stream: int, data: bytes) -> bytes:
    return HEADER.pack(stream, len(data)) + data


class FrameReader:
    """Takes bytes in any pieces, gives whole frames. ValueError for one that says it is longer than LONGEST."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            stream, length = HEADER.unpack_from(self._buffer)
            if length > LONGEST:
                raise ValueError(f"a frame of {length} bytes")
            if len(self._buffer) < HEADER.size + length:
                return
            yield stream, self._buffer[HEADER.size : HEADER.size + length]
            self._buffer = self._buffer[HEADER.size + length :]
