"""What a socket can do that Python has no word for."""

from __future__ import annotations

import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26
_RETURN_NOTHING = struct.pack("=HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K: pass 0 bytes on


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def drop_everything(sock: socket.socket) -> None:
    """Let the kernel drop whatever arrives at a socket, unanswered: a TCP connection is neither accepted nor refused."""
    program = _Program(1, _RETURN_NOTHING)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))
