"""Reading a container's log: the last lines, a time span, and following it while it is written.

Followers wait on inotify and read files; a slow one falls behind in the files and never holds anybody up. Attach is following from now on.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Optional

from gitopsd.engine.daemon.times import rfc3339
from gitopsd.engine.kernel import files
from gitopsd.engine.runtime import logfile

Record = tuple[int, int, bytes]
"""Stream, nanoseconds, bytes as written."""

_BATCH = 1 << 20


class Position:
    """A place in a log: the file's number, and the offset in it."""

    def __init__(self, number: int, offset: int) -> None:
        self.number, self.offset = number, offset


def beginning(directory: str) -> Position:
    return Position((logfile.numbers(directory) or [1])[0], 0)


def end(directory: str) -> Position:
    """Behind the last whole record."""
    found = logfile.numbers(directory)
    if not found:
        return Position(1, 0)
    data = _read(directory, found[-1], 0, logfile.FILE_LIMIT * 2)
    return Position(found[-1], max((offset for offset, *_ in logfile.records(data)), default=0))


def read_batch(directory: str, position: Position) -> list[Record]:
    """The next records, about a megabyte at most; moves the position. Empty at the end."""
    while True:
        data = _read(directory, position.number, position.offset, _BATCH + logfile.RECORD_LIMIT)
        found = list(logfile.records(data))
        if found:
            position.offset += found[-1][0]
            return [(stream, nanoseconds, text) for _, stream, nanoseconds, text in found]
        later = [number for number in logfile.numbers(directory) if number > position.number]
        if not later:
            return []
        position.number, position.offset = later[0], 0


def _read(directory: str, number: int, offset: int, size: int) -> bytes:
    try:
        with open(os.path.join(directory, str(number)), "rb") as file:
            file.seek(offset)
            return file.read(size)
    except FileNotFoundError:
        return b""


def lines_back(directory: str, count: int) -> tuple[list[Record], Position]:
    """The last `count` lines, each as one record with the time of its first part, and the place behind them."""
    kept: deque[Record] = deque(maxlen=count)
    open_lines: dict[int, tuple[int, bytearray]] = {}
    position = beginning(directory)
    while batch := read_batch(directory, position):
        for stream, nanoseconds, data in batch:
            for piece in _split(data):
                stamp, line = open_lines.pop(stream, (nanoseconds, bytearray()))
                line += piece  # in place: a line may be all of a log
                if piece.endswith(b"\n"):
                    kept.append((stream, stamp, bytes(line)))
                else:
                    open_lines[stream] = (stamp, line)
    kept.extend((stream, stamp, bytes(line)) for stream, (stamp, line) in open_lines.items())
    return list(kept), position


def _split(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        stop = data.find(b"\n", start) + 1 or len(data)
        yield data[start:stop]
        start = stop


class Stamper:
    """Puts the time before each line, over records that may end in the middle of one."""

    def __init__(self) -> None:
        self._at_start = {logfile.STDOUT: True, logfile.STDERR: True}

    def stamp(self, record: Record) -> bytes:
        stream, nanoseconds, data = record
        stamp = rfc3339(nanoseconds).encode() + b" "
        parts: list[bytes] = []
        for piece in _split(data):
            if self._at_start[stream]:
                parts.append(stamp)
            parts.append(piece)
            self._at_start[stream] = piece.endswith(b"\n")
        return b"".join(parts)


class LogWatch:
    """Tells followers that a log has grown: one inotify descriptor for the daemon."""

    def __init__(self) -> None:
        self._descriptor = files.inotify()
        self._waiters: dict[int, set[asyncio.Event]] = {}
        asyncio.get_running_loop().add_reader(self._descriptor, self._wake)

    def add(self, directory: str, event: asyncio.Event) -> int:
        watch = files.inotify_watch(self._descriptor, directory, files.IN_MODIFY | files.IN_CREATE)
        self._waiters.setdefault(watch, set()).add(event)
        return watch

    def remove(self, watch: int, event: asyncio.Event) -> None:
        waiters = self._waiters.get(watch, set())
        waiters.discard(event)
        if not waiters and self._waiters.pop(watch, None) is not None:
            try:
                files.inotify_forget(self._descriptor, watch)
            except OSError:
                return  # the folder has gone, and its watch with it

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _wake(self) -> None:
        for watch, _ in files.inotify_events(self._descriptor):
            for event in self._waiters.get(watch, ()):
                event.set()


async def follow(
    watch: LogWatch, directory: str, position: Position, ended: Optional[asyncio.Event]
) -> AsyncIterator[list[Record]]:
    """Batches of records from the position on; ends when `ended` is set and everything was given. None does not wait at all."""
    if ended is None:
        while batch := await asyncio.to_thread(read_batch, directory, position):
            yield batch
        return
    grown = asyncio.Event()
    number = watch.add(directory, grown)
    stop = asyncio.ensure_future(_set_when(ended, grown))
    try:
        while True:
            grown.clear()
            is_over = ended.is_set()
            batch = await asyncio.to_thread(read_batch, directory, position)
            if batch:
                yield batch
            elif is_over:
                return
            else:
                await grown.wait()
    finally:
        stop.cancel()
        watch.remove(number, grown)


async def _set_when(ended: asyncio.Event, grown: asyncio.Event) -> None:
    await ended.wait()
    grown.set()
