"""A client for an HTTP/1.1 server behind a unix socket, on the standard library's http.client."""

from __future__ import annotations

import http.client
import socket
from typing import Optional


class UnixConnection(http.client.HTTPConnection):
    """`http.client`'s connection, dialled to a unix socket; `timeout_s` None waits for ever."""

    def __init__(self, path: str, timeout_s: Optional[float] = None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
