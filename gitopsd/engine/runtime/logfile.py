"""The log of a container: records in numbered files, bounded (docs/state.md, "Logs of a container").

Rule: a full disk or an unwritable file drops records and counts them; it never blocks or ends the container.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

HEADER = struct.Struct(">IBxxxQ")
RECORD_LIMIT = 65536
FILE_LIMIT = 4 << 20
FILES_KEPT = 5
STDOUT, STDERR = 1, 2


def numbers(directory: str) -> list[int]:
    """The numbers of the log files there are, oldest first."""
    try:
        return sorted(int(name) for name in os.listdir(directory) if name.isdigit())
    except FileNotFoundError:
        return []


def records(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Whole records in `data`: offset behind the record, stream, nanoseconds, bytes. A torn one at the end is left out."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, stream, nanoseconds = HEADER.unpack_from(data, offset)
        end = offset + HEADER.size + length
        if length > RECORD_LIMIT or end > len(data):
            return
        yield end, stream, nanoseconds, data[offset + HEADER.size : end]
        offset = end


class LogWriter:
    """Writes records; goes on in a new file when one is full, and keeps the last five."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.dropped = 0
        self._descriptor = -1
        self._size = 0
        self._number = (numbers(directory) or [0])[-1]
        if self._number:
            self._continue(os.path.join(directory, str(self._number)))

    def write(self, stream: int, data: bytes, nanoseconds: int) -> None:
        if self._descriptor < 0 or self._size + HEADER.size + len(data) > FILE_LIMIT:
            self.reopen()
        record = HEADER.pack(len(data), stream, nanoseconds) + data
        try:
            written = os.write(self._descriptor, record)
            if written != len(record):
                os.ftruncate(self._descriptor, self._size)
                raise OSError("short write")
            self._size += written
        except OSError:
            self.dropped += 1

    def _continue(self, path: str) -> None:
        """Go on behind the last whole record of the newest file; one that a crash tore is cut off."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
            data = os.read(descriptor, FILE_LIMIT + HEADER.size)
            end = max((end for end, *_ in records(data)), default=0)
            os.ftruncate(descriptor, end)
        except OSError:
            return
        self._descriptor, self._size = descriptor, end

    def reopen(self) -> None:
        """Close the current file and go on in the next."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._size = -1, 0
        self._number += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._descriptor = os.open(os.path.join(self.directory, str(self._number)), flags, 0o600)
        except OSError:
            return
        for old in numbers(self.directory)[:-FILES_KEPT]:
            try:
                os.unlink(os.path.join(self.directory, str(old)))
            except OSError:
                continue
