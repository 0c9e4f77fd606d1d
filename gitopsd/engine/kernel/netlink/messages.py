"""The frame of netlink: requests, replies, acknowledgements and errors.  [pure]

In: a `Request` and a sequence number, or bytes from a socket.  Out: bytes, or `Message` values.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gitopsd.engine.kernel.netlink import attributes

NOOP, ERROR, DONE, OVERRUN = 1, 2, 3, 4
REQUEST, MULTI, ACK = 0x1, 0x2, 0x4
DUMP = 0x300
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
DUMP_INTERRUPTED = 0x10
_ACK_HAS_ATTRIBUTES, _CAPPED = 0x200, 0x100
_ERROR_MESSAGE = 1  # NLMSGERR_ATTR_MSG

_HEAD = struct.Struct("=IHHII")


@dataclass(frozen=True)
class Request:
    """Something to ask of the kernel. `what` says it in words, for errors."""

    kind: int
    flags: int
    body: bytes
    what: str


@dataclass(frozen=True)
class Message:
    """One message from the kernel. `port` is the address of the socket that caused it, where the kernel says so."""

    kind: int
    flags: int
    sequence: int
    port: int
    body: bytes


class NetlinkError(OSError):
    """The kernel refused a request: `errno`, and in the text what was asked and what the kernel says about it."""


def encode(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One message with its padding; port 0, which the kernel fills in."""
    length = 16 + len(body)
    return _HEAD.pack(length, kind, flags, sequence, 0) + body + b"\0" * (-length & 3)


def split(data: bytes) -> Iterator[Message]:
    """The messages of one datagram. Raises ValueError where it is torn."""
    offset, end = 0, len(data)
    while end - offset >= 16:
        length, kind, flags, sequence, port = _HEAD.unpack_from(data, offset)
        if length < 16 or offset + length > end:
            raise ValueError(f"message at byte {offset} says {length} bytes where {end - offset} are left")
        yield Message(kind, flags, sequence, port, data[offset + 16 : offset + length])
        offset += (length + 3) & ~3


def read_error(message: Message, what: str) -> NetlinkError | None:
    """The error in a reply of kind ERROR or DONE; None for an acknowledgement."""
    if len(message.body) < 4:
        return None
    (code,) = struct.unpack_from("=i", message.body)
    if code == 0:
        return None
    said = ""
    if message.flags & _ACK_HAS_ATTRIBUTES:
        said = _said(message)
    return NetlinkError(-code, f"{what}: {os.strerror(-code)}" + (f" ({said})" if said else ""))


def _said(message: Message) -> str:
    """The kernel's own words (extended acknowledgement), behind the header of the request or the whole of it."""
    start = 4
    if message.kind == ERROR:
        if len(message.body) < 20:
            return ""
        (length,) = struct.unpack_from("=I", message.body, 4)
        start = 20 if message.flags & _CAPPED else 4 + ((length + 3) & ~3)
    try:
        found = attributes.parse(message.body[start:])
    except ValueError:
        return ""
    return attributes.read_text(found.get(_ERROR_MESSAGE, b""))
