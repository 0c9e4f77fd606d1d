"""What passes between the controller and the child that renders for it.  [pure, but for the socket it is given]

A message is its length in four bytes, big-endian, and JSON in UTF-8; the bytes of a file follow as a frame of their own.

The child asks for files: `{"call": "read", "path": …}`, answered by `{"value": …}` or `{"error": …}`. It ends each thing it was to
render by `{"name": …, "value": …}` or `{"name": …, "errors": […]}`.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from gitopsd.model.codec import from_json, to_json
from gitopsd.model.errors import GitopsdError, Where

_LENGTH = struct.Struct(">I")
_LONGEST = 64 * 1024 * 1024


class Closed(ConnectionError):  # noqa: N818  it is one
    """The other side is gone, or said what nobody here says."""


def send(channel: socket.socket, message: Any) -> None:
    send_bytes(channel, json.dumps(message, ensure_ascii=True).encode())


def receive(channel: socket.socket) -> Any:
    try:
        return json.loads(receive_bytes(channel))
    except (ValueError, RecursionError):
        raise Closed("a message is not JSON") from None


def send_bytes(channel: socket.socket, data: bytes) -> None:
    channel.sendall(_LENGTH.pack(len(data)) + data)


def receive_bytes(channel: socket.socket) -> bytes:
    length: int = _LENGTH.unpack(_exactly(channel, _LENGTH.size))[0]
    if length > _LONGEST:
        raise Closed(f"a message of {length} bytes")
    return _exactly(channel, length)


def error_to_json(error: GitopsdError) -> dict[str, Any]:
    where = to_json(error.where)
    return {
        "code": error.code,
        "message": error.message,
        "where": where,
        "hint": error.hint,
        "next": error.next,
        "wait_s": error.wait_s,
    }


def error_from_json(data: dict[str, Any]) -> GitopsdError:
    where = from_json(Where, data["where"])
    hint = None if data["hint"] is None else str(data["hint"])
    step = data["next"] if data["next"] in ("retry", "wait") else "stall"
    return GitopsdError(str(data["code"]), str(data["message"]), where, hint, step, float(data["wait_s"]))


def _exactly(channel: socket.socket, length: int) -> bytes:
    parts: list[bytes] = []
    while length:
        part = channel.recv(min(length, 1 << 20))
        if not part:
            raise Closed("the channel was closed")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
