"""Reading a container's log: the last lines, a time span, and following it while it is written.

Followers wait on inotify and read files; a slow one falls behind in the files and never holds anybody up. Attach is following from now on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import BinaryIO, Optional

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


class LastLines:
    """The last `count` lines of a log: counted once, then read again and given batch by batch, never all at once. Blocks.

    A line is its stream's, however many records it is in: it comes whole, with the time of its first part. Those that stand in one
    record come as one. What is not ended yet comes last. `position` is the place behind them all.
    """

    def __init__(self, directory: str, count: int) -> None:
        self._files = _opened(directory)
        try:
            self._ends = [0] * len(self._files)
            total, is_open = 0, dict[int, bool]()
            for at, batch in self._batches(None):
                for end, stream, _, data in batch:
                    total += data.count(b"\n")
                    is_open[stream] = not data.endswith(b"\n") if data else is_open.get(stream, False)
                    self._ends[at] = end
            number = int(os.path.basename(self._files[-1].name)) if self._files else 1
            self.position = Position(number, self._ends[-1] if self._files else 0)
            self._left_out = max(0, total + sum(is_open.values()) - count)
            self._open: dict[int, tuple[int, bytearray]] = {}
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[list[Record]]:
        for _, batch in self._batches(self._ends):
            found: list[Record] = []
            for _, stream, nanoseconds, data in batch:
                found += self._lines(stream, nanoseconds, data)
            if found:
                yield found
        rest = [(stream, stamp, bytes(line)) for stream, (stamp, line) in self._open.items()]
        if rest[self._left_out :]:
            yield rest[self._left_out :]

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _lines(self, stream: int, nanoseconds: int, data: bytes) -> Iterator[Record]:
        """What a record ends, without what is left out; what it does not end is kept for the next."""
        stop = data.rfind(b"\n") + 1
        ended, rest = data[:stop], data[stop:]
        if ended:
            stamp, line = self._open.pop(stream, (nanoseconds, bytearray()))
            first = ended.find(b"\n") + 1
            if line:  # in place: a line may be all of a log
                line += ended[:first]
                if self._left_out:
                    self._left_out -= 1
                else:
                    yield stream, stamp, bytes(line)
                ended = ended[first:]
            lines = ended.count(b"\n")
            if lines > self._left_out:
                yield stream, nanoseconds, ended[_behind(ended, self._left_out) :]
            self._left_out = max(0, self._left_out - lines)
        if rest:
            stamp, line = self._open.setdefault(stream, (nanoseconds, bytearray()))
            line += rest

    def _batches(self, ends: Optional[list[int]]) -> Iterator[tuple[int, list[tuple[int, int, int, bytes]]]]:
        """Number of a file, and some of its records: end in the file, stream, nanoseconds, data. Up to `ends`, where they are known."""
        for at, file in enumerate(self._files):
            offset = 0
            while ends is None or offset < ends[at]:
                file.seek(offset)
                most = _BATCH + logfile.RECORD_LIMIT
                data = file.read(most if ends is None else min(most, ends[at] - offset))
                batch = [(offset + end, stream, when, text) for end, stream, when, text in logfile.records(data)]
                if not batch:
                    break
                yield at, batch
                offset = batch[-1][0]


def _opened(directory: str) -> list[BinaryIO]:
    """The files there are, oldest first; open, they stay whole when the writer removes them meanwhile."""
    found: list[BinaryIO] = []
    for number in logfile.numbers(directory):
        with suppress(FileNotFoundError):
            found.append(open(os.path.join(directory, str(number)), "rb"))  # noqa: SIM115  LastLines closes them
    return found


def _behind(data: bytes, lines: int) -> int:
    """The offset behind so many lines."""
    offset = 0
    for _ in range(lines):
        offset = data.index(b"\n", offset) + 1
    return offset


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
