"""Netlink attributes: type, length, value, nested to any depth.  [pure]

A `Tree` is a tuple of (type, value), where a value is bytes or again a tree. The kernel does not mark which attributes are
nested, so reading back is one level at a time; `holds` compares a tree with bytes that were read.
Lengths and types are in the host's byte order; values have the order that each message's own module says.
"""

from __future__ import annotations

import struct
import sys
from typing import Union

Tree = tuple[tuple[int, Union[bytes, "Tree"]], ...]

_HEAD = struct.Struct("=HH")
_NESTED = 0x8000
_TYPE = 0x3FFF  # without the bits for nested and for network byte order
MAX_VALUE = 65535 - 4


def encode(tree: Tree) -> bytes:
    """The bytes of a tree. Raises ValueError for a value that is too long for its length field."""
    parts: list[bytes] = []
    for kind, value in tree:
        if isinstance(value, tuple):
            value, kind = encode(value), kind | _NESTED
        length = len(value) + 4
        if length > 65535:
            raise ValueError(f"attribute {kind & _TYPE} has {len(value)} bytes, more than {MAX_VALUE}")
        parts.append(_HEAD.pack(length, kind))
        parts.append(value)
        if length & 3:
            parts.append(b"\0" * (4 - (length & 3)))
    return b"".join(parts)


def pairs(data: bytes) -> list[tuple[int, bytes]]:
    """The attributes at one level, in order. Raises ValueError for bytes that are none."""
    found: list[tuple[int, bytes]] = []
    offset, end = 0, len(data)
    while end - offset >= 4:
        length, kind = _HEAD.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            raise ValueError(f"attribute at byte {offset} says {length} bytes where {end - offset} are left")
        found.append((kind & _TYPE, data[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return found


def parse(data: bytes) -> dict[int, bytes]:
    """The attributes at one level by their type; of several of a type the last."""
    return dict(pairs(data))


def holds(data: bytes, tree: Tree) -> bool:
    """Whether `data` has every attribute of `tree` with the same value. It may have more: kernels add to what they were given."""
    found = parse(data)
    for kind, value in tree:
        if kind not in found:
            return False
        if isinstance(value, tuple):
            if not holds(found[kind], value):
                return False
        elif found[kind] != value:
            return False
    return True


def text(value: str) -> bytes:
    """A string as the kernel wants it, ended by a zero byte."""
    return value.encode() + b"\0"


def read_text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("utf-8", "replace")


def u32(value: int) -> bytes:
    """In the host's byte order, as rtnetlink has it."""
    return struct.pack("=I", value)


def be32(value: int) -> bytes:
    """In network byte order, as netfilter has it."""
    return struct.pack(">I", value & 0xFFFFFFFF)


def be64(value: int) -> bytes:
    return struct.pack(">Q", value)


def number(value: bytes) -> int:
    """An unsigned number in network byte order, of any size."""
    return int.from_bytes(value, "big")


def native(value: bytes) -> int:
    """An unsigned number in the host's byte order, of any size."""
    return int.from_bytes(value, sys.byteorder)
