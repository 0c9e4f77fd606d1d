"""How a host is reached: the seam.

A `Link` leads to one machine. Kinds: `ssh.py` (a host of the fleet), `local.py` (this machine, without SSH). The contract, which
tests/hosts/test_link.py holds for every kind:

- `dial` MUST give a stream to a unix socket on that machine, or raise a `GitopsdError` that names the host: `host-…` when
  the host was not reached, `engine-unreachable` when it was and nobody listens on the socket.
- A stream MUST carry any bytes both ways at once, and `shutdown_write` MUST end one direction only.
- `run` is for what must happen before an engine is there. It MUST pass arguments unchanged, whatever they hold.
- Every operation MUST end: with its result, or when its time is over. Nothing may wait for ever but a read on a stream whose
  user said `settimeout(None)`, and that MUST end when the host is gone.
- A link MAY be used by several threads. After a failure the next operation connects again.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_READ_AHEAD = 262_144
PYTHON = ("sh", "-c", 'p=/usr/bin/python3; [ -x $p ] || p=python3; exec $p -I -S "$@"', "python3")
"""The host's Python, before options: the distribution's own, not one that a user's profile puts first."""


class Stream(Protocol):
    """A connection. Reads and writes raise OSError (TimeoutError among them) when it breaks; an empty read is its end."""

    def recv(self, size: int) -> bytes: ...
    def sendall(self, data: bytes | memoryview) -> None: ...
    def shutdown_write(self) -> None: ...
    def settimeout(self, timeout_s: float | None) -> None:
        """How long one read or write may take; None: for ever."""
        ...

    def makefile(self, mode: str = "rb") -> io.BufferedReader:
        """A buffered reader. As with sockets, the stream is closed when it and all its readers are."""
        ...

    def is_stale(self) -> bool:
        """Whether an idle stream can no longer be used: the other side has closed it, or sent what nobody asked for."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Finished:
    exit: int
    stdout: bytes
    stderr: bytes


class Link(Protocol):
    @property
    def name(self) -> str:
        """The host's name in the fleet, for errors."""
        ...

    @property
    def login(self) -> str:
        """The user that commands run as and sockets are opened as."""
        ...

    def dial(self, socket_path: str, *, bulk: bool = False) -> Stream:
        """`bulk`: it will carry much, so it must not stand in the way of the others."""
        ...

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, as_root: bool = False, timeout_s: float = 60) -> Finished:
        """Run a command; `as_root` goes through sudo where the login user is another."""
        ...

    def put(self, data: bytes, path: str, *, mode: int = 0o600, as_root: bool = False) -> None:
        """Write a file: whole and on the disk, or not at all."""
        ...

    def close(self) -> None: ...


class StreamFiles:
    """What kinds of streams share: readers over them, which keep them open as long as they live."""

    _readers = 0
    _wants_close = False

    def recv(self, size: int) -> bytes:
        raise NotImplementedError

    def close_now(self) -> None:
        raise NotImplementedError

    def makefile(self, mode: str = "rb") -> io.BufferedReader:
        if mode not in ("r", "rb"):
            raise ValueError(f"mode {mode!r}: streams are read through files and written with sendall")
        self._readers += 1
        return io.BufferedReader(_Reader(self), _READ_AHEAD)

    def close(self) -> None:
        self._wants_close = True
        if not self._readers:
            self.close_now()

    def reader_closed(self) -> None:
        self._readers -= 1
        if self._wants_close and not self._readers:
            self.close_now()


class _Reader(io.RawIOBase):
    def __init__(self, stream: StreamFiles) -> None:
        super().__init__()
        self._stream: StreamFiles | None = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if self._stream is None:
            raise ValueError("read of a closed stream")
        view = memoryview(buffer).cast("B")
        data = self._stream.recv(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        stream, self._stream = self._stream, None
        super().close()
        if stream is not None:
            stream.reader_closed()
