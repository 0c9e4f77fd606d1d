"""A netlink socket: opened here, or opened in another network namespace and handed over.

Who holds such a socket configures the namespace it was opened in, without entering it; it is how the daemon reaches into
containers. It may have belonged to a daemon that died in the middle of a request, hence rule 1.

Rule 1: a socket that is taken over is first emptied, and sequence numbers start anywhere, so that a reply to somebody else's
request is never taken for ours.
Rule 2: a batch of nf_tables changes happens whole or not at all, and its error is that of the change that was refused.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import threading
from collections.abc import Iterator, Sequence

from gitopsd.engine.kernel.netlink import messages
from gitopsd.engine.kernel.netlink.messages import Message, NetlinkError, Request

ROUTE, NETFILTER = 0, 12
_SOL_NETLINK, _ADD_MEMBERSHIP, _CAP_ACK, _EXT_ACK, _STRICT_CHECK = 270, 1, 10, 11, 12
_SO_SNDBUFFORCE = 32
_SIOCGSKNS = 0x894C
_SMALL_SEND = 65536  # every socket's send buffer holds this much
_RECEIVE = 262144
_REPLY_S = 5.0
"""The kernel answers before send() returns; only a fault makes us wait at all."""

_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_BATCH_BODY = b"\0\0\x00\x0a"  # any family, version 0, subsystem 10: nf_tables


class Netlink:
    """One socket and its conversation. Safe to use from several threads."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._lock = threading.Lock()
        self._sequence = int.from_bytes(os.urandom(4), "big")
        for option in (_CAP_ACK, _EXT_ACK, _STRICT_CHECK):
            sock.setsockopt(_SOL_NETLINK, option, 1)
        self.empty()
        self.port: int = sock.getsockname()[0]

    @classmethod
    def open(cls, protocol: int) -> Netlink:
        """A socket in the network namespace of this thread."""
        return cls(open_socket(protocol))

    def close(self) -> None:
        self.socket.close()

    def empty(self) -> None:
        """Throw away whatever waits here; a dump that was broken off runs to its end meanwhile."""
        while True:
            try:
                self.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def ask(self, *requests: Request) -> None:
        """Make changes one after the other, sent together. Raises the first error; the others were still tried."""
        with self._lock:
            numbered = self._numbered(requests, messages.REQUEST | messages.ACK)
            self._send(b"".join(messages.encode(r.kind, flags, number, r.body) for number, (r, flags) in numbered.items()))
            first: NetlinkError | None = None
            open_numbers = set(numbered)
            for message in self._replies(requests[-1].what):
                if message.sequence in open_numbers and message.kind == messages.ERROR:
                    open_numbers.discard(message.sequence)
                    first = first or messages.read_error(message, numbered[message.sequence][0].what)
                    if not open_numbers:
                        break
        if first:
            raise first

    def get(self, request: Request) -> Message:
        """Ask for one object."""
        with self._lock:
            number = self._next()
            self._send(messages.encode(request.kind, request.flags | messages.REQUEST, number, request.body))
            for message in self._replies(request.what):
                if message.sequence == number:
                    if message.kind == messages.ERROR:
                        raise messages.read_error(message, request.what) or NetlinkError(
                            errno.EPROTO, f"{request.what}: acknowledged, not answered"
                        )
                    return message
        raise AssertionError("replies end only by an error")

    def dump(self, request: Request) -> list[Message]:
        """Ask for all objects of a kind. A dump that met changes is made again, so that it never has half of one."""
        for _ in range(20):
            found, interrupted = self._dump_once(request)
            if not interrupted:
                return found
        raise NetlinkError(errno.EINTR, f"{request.what}: what is listed changes faster than it can be read")

    def batch(self, requests: Sequence[Request]) -> None:
        """Make nf_tables changes in one transaction. Raises the first error, and then nothing has changed."""
        if not requests:
            return
        with self._lock:
            begin = self._next()
            parts = [messages.encode(_BATCH_BEGIN, messages.REQUEST, begin, _BATCH_BODY)]
            numbers: dict[int, Request] = {}
            for request in requests:
                number = self._next()
                numbers[number] = request
                # one acknowledgement, of the last change, is enough: refusals are always told
                flags = request.flags | messages.REQUEST | (messages.ACK if len(numbers) == len(requests) else 0)
                parts.append(messages.encode(request.kind, flags, number, request.body))
            parts.append(messages.encode(_BATCH_END, messages.REQUEST, self._next(), _BATCH_BODY))
            self._send(b"".join(parts))
            error = self._batch_error(begin, numbers)
        if error:
            raise error

    def join(self, group: int) -> None:
        """Listen to the events of a group from now on."""
        self.socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def events(self) -> list[Message] | None:
        """The events that wait, without waiting for any; None when some were lost."""
        found: list[Message] = []
        lost = False
        while True:
            try:
                data = self.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None if lost else found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                lost = True
                continue
            found.extend(messages.split(data))

    def _dump_once(self, request: Request) -> tuple[list[Message], bool]:
        found: list[Message] = []
        interrupted = False
        with self._lock:
            number = self._next()
            flags = request.flags | messages.REQUEST | messages.DUMP
            self._send(messages.encode(request.kind, flags, number, request.body))
            for message in self._replies(request.what):
                if message.sequence != number:
                    continue
                interrupted = interrupted or bool(message.flags & messages.DUMP_INTERRUPTED)
                if message.kind in (messages.DONE, messages.ERROR):
                    error = messages.read_error(message, request.what)
                    if error and error.errno == errno.EINTR:
                        interrupted = True
                    elif error:
                        raise error
                    break
                found.append(message)
        return found, interrupted

    def _batch_error(self, begin: int, numbers: dict[int, Request]) -> NetlinkError | None:
        first: NetlinkError | None = None
        acknowledged = False
        last = next(reversed(numbers))
        for message in self._all_replies(numbers[last].what):
            if message.kind != messages.ERROR:
                continue
            if message.sequence == begin:
                first = first or messages.read_error(message, f"{numbers[last].what}, with {len(numbers) - 1} other changes")
            elif message.sequence in numbers:
                acknowledged = acknowledged or message.sequence == last
                first = first or messages.read_error(message, numbers[message.sequence].what)
        if first is None and not acknowledged:
            return NetlinkError(errno.EPROTO, f"{numbers[last].what}: not acknowledged")
        return first

    def _numbered(self, requests: Sequence[Request], flags: int) -> dict[int, tuple[Request, int]]:
        return {self._next(): (request, request.flags | flags) for request in requests}

    def _next(self) -> int:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF or 1
        return self._sequence

    def _send(self, data: bytes) -> None:
        if len(data) > _SMALL_SEND:
            try:
                self.socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, len(data) * 2)
            except PermissionError:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(data) * 2)
        self.socket.sendto(data, (0, 0))

    def _replies(self, what: str) -> Iterator[Message]:
        while True:
            yield from self._receive(what)

    def _all_replies(self, what: str) -> Iterator[Message]:
        """The replies to a batch: they are all there when the first one is."""
        yield from self._receive(what)
        while True:
            try:
                data = self.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue
            yield from messages.split(data)

    def _receive(self, what: str) -> Iterator[Message]:
        try:
            data = self.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            poll = select.poll()
            poll.register(self.socket, select.POLLIN)
            if not poll.poll(_REPLY_S * 1000):
                raise NetlinkError(errno.ETIMEDOUT, f"{what}: the kernel did not answer") from None
            data = self.socket.recv(_RECEIVE)
        return messages.split(data)


def open_socket(protocol: int) -> socket.socket:
    """A bound netlink socket in the network namespace of this thread."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    sock.bind((0, 0))
    return sock


def namespace_of(sock: socket.socket) -> int:
    """A descriptor of the network namespace that a socket belongs to, for moving an interface there. The caller closes it."""
    return fcntl.ioctl(sock.fileno(), _SIOCGSKNS)
