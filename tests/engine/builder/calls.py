"""POST /build over a unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import urlencode


def connect(path: str, method: str, target: str, body: bytes = b"", **query: Any) -> http.client.HTTPConnection:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    connection = http.client.HTTPConnection("engine", timeout=60)
    connection.sock = sock
    connection.request(method, f"/v1.44{target}?{urlencode(query)}", body, {"Content-Type": "application/x-tar"})
    return connection


def call(path: str, method: str, target: str, body: bytes = b"", **query: Any) -> tuple[int, list[Any]]:
    """The status, and each line of the answer."""
    connection = connect(path, method, target, body, **query)
    response = connection.getresponse()
    lines = [json.loads(line) for line in response.read().splitlines() if line]
    connection.close()
    return response.status, lines
