"""A daemon's connection to one monitor, on the event loop (docs/monitor-protocol.md).

Requests are answered in order. An event (`ready`, `exit`) goes to the callback. When the monitor has gone every open request fails with
MonitorGone, and the callback hears {"event": "gone"} once.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import Any, Callable, Optional

from gitopsd.engine.runtime import messages

Event = Callable[[messages.Message, list[int]], None]


class MonitorGone(Exception):  # noqa: N818
    """The monitor has ended or does not answer."""


class MonitorError(Exception):
    """The monitor refused; `answer` is what it said."""

    def __init__(self, answer: messages.Message) -> None:
        super().__init__(answer.get("message", answer["error"]))
        self.answer = answer


class MonitorLink:
    """Owns the socket. Descriptors in an answer belong to who asked, those in an event to the callback."""

    def __init__(self, sock: socket.socket, on_event: Event) -> None:
        self._sock = sock
        self._on_event = on_event
        self._waiting: deque[asyncio.Future[tuple[messages.Message, list[int]]]] = deque()
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._read)

    @classmethod
    def dial(cls, path: str, on_event: Event) -> MonitorLink:
        """Connect to a monitor's socket; raises OSError when nobody listens there."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return cls(sock, on_event)

    @property
    def peer(self) -> int:
        """The monitor's process id."""
        return struct.unpack("3i", self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    @property
    def is_open(self) -> bool:
        return self._sock.fileno() >= 0

    async def ask(self, op: str, descriptors: Optional[list[int]] = None, **fields: Any) -> messages.Message:
        """A request whose answer carries no descriptors; raises MonitorError, MonitorGone."""
        answer, received = await self.ask_for(op, descriptors, **fields)
        messages.close_all(received)
        return answer

    async def ask_for(
        self, op: str, descriptors: Optional[list[int]] = None, **fields: Any
    ) -> tuple[messages.Message, list[int]]:
        """A request; its answer and the descriptors that came with it."""
        if not self.is_open:
            raise MonitorGone
        future: asyncio.Future[tuple[messages.Message, list[int]]] = self._loop.create_future()
        try:
            messages.send(self._sock, {"op": op, **fields}, descriptors)
        except (messages.Closed, OSError) as error:
            self._close()
            raise MonitorGone from error
        self._waiting.append(future)
        try:
            answer, received = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and not future.exception():  # it came in the same moment
                messages.close_all(future.result()[1])
            raise
        if "error" in answer:
            messages.close_all(received)
            raise MonitorError(answer)
        return answer, received

    def post(self, message: messages.Message) -> None:
        """Send a packet that is not answered; raises MonitorGone."""
        try:
            messages.send(self._sock, message)
        except (messages.Closed, OSError) as error:
            raise MonitorGone from error

    def close(self) -> None:
        """Stop listening, without telling the callback."""
        if self.is_open:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            for future in self._waiting:
                if not future.done():
                    future.set_exception(MonitorGone())

    def _read(self) -> None:
        while self.is_open:
            try:
                message, descriptors = messages.receive(self._sock)
            except (BlockingIOError, InterruptedError):
                return
            except (messages.Closed, ValueError, OSError):
                self._close()
                return
            if "event" in message or not self._waiting:
                self._on_event(message, descriptors)
                continue
            future = self._waiting.popleft()
            if future.done():
                messages.close_all(descriptors)
            else:
                future.set_result((message, descriptors))

    def _close(self) -> None:
        if self.is_open:
            self.close()
            self._on_event({"event": "gone"}, [])
