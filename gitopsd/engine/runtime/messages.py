"""The packets between daemon, launcher, monitor and a container's first process.  [pure but for the two socket calls]

One packet is one JSON object, at most 65,536 bytes, with up to 64 descriptors beside it (docs/monitor-protocol.md).
Rule: descriptors that arrive are closed on exec; who receives them owns them.
"""

from __future__ import annotations

import array
import json
import os
import socket
from typing import Any, Optional

Message = dict[str, Any]

LIMIT = 65536
DESCRIPTORS = 64
_WORDS = 4096
"""The most characters of an error's message or field."""
_INT = array.array("i").itemsize


class Closed(Exception):  # noqa: N818
    """The other end has gone."""


def encode(message: Message) -> bytes:
    try:
        data = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, which JSON can say and UTF-8 cannot
        data = json.dumps(message).encode()
    if len(data) > LIMIT:
        raise ValueError(f"a message of {len(data)} bytes is longer than {LIMIT}")
    return data


def decode(data: bytes) -> Message:
    """Raises ValueError for anything but one JSON object."""
    message = json.loads(data.decode("utf-8", "surrogateescape"))
    if not isinstance(message, dict):
        raise ValueError("a message is a JSON object")
    return message  # pyright: ignore[reportUnknownVariableType]  JSON


def send(sock: socket.socket, message: Message, descriptors: Optional[list[int]] = None) -> None:
    """Send one packet; raises Closed when nobody reads it any more, BlockingIOError when a non-blocking peer is full."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    try:
        sock.sendmsg([encode(message)], ancillary, socket.MSG_NOSIGNAL)
    except (BrokenPipeError, ConnectionError) as error:
        raise Closed from error


def _take(sock: socket.socket) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
    space = socket.CMSG_SPACE(DESCRIPTORS * _INT)
    try:
        return sock.recvmsg(LIMIT, space, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:  # the other end left something unread, which hides, once, what it said before it went
        return sock.recvmsg(LIMIT, space, socket.MSG_CMSG_CLOEXEC)


def receive(sock: socket.socket) -> tuple[Message, list[int]]:
    """Receive one packet and its descriptors; raises Closed at the end, ValueError for a broken packet."""
    try:
        data, ancillary, flags, _ = _take(sock)
    except ConnectionError as error:
        raise Closed from error
    descriptors = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(payload[: len(payload) - len(payload) % _INT])
    if not data:
        close_all(list(descriptors))
        raise Closed
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("a packet was cut off")
        return decode(data), list(descriptors)
    except ValueError:
        close_all(list(descriptors))
        raise


def close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def error_of(code: str, message: str, **fields: Any) -> Message:
    """What is too long for a packet is cut: names in it are a stranger's."""
    cut = {name: value[:_WORDS] if isinstance(value, str) else value for name, value in fields.items()}
    return {"error": code, "message": message[:_WORDS], **cut}
