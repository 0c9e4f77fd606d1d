"""A client's conversation with a daemon: plain calls, streams of JSON lines, and connections that are taken over.

`unix://PATH` dials a socket here; `ssh://[user@]host[:port]` has the ssh program forward the socket of that host.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import IO, Any, Optional, Union, cast
from urllib.parse import quote, urlencode, urlsplit

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.frames import FrameReader
from gitopsd.dockerapi.values import Json
from gitopsd.engine.http.client import UnixConnection

DEFAULT_HOST = "unix:///run/gitopsd-engine/engine.sock"
_REMOTE_SOCKET = "/run/gitopsd-engine/engine.sock"
_SSH_WAIT_S = 30

Body = Union[Json, bytes, IO[bytes], Iterator[bytes], None]


class Client:
    """`host` as `-H` has it, `named_by` what said so. Raises ApiError for what the daemon refuses, OSError when it does not answer."""

    def __init__(self, host: str, named_by: str = "-H") -> None:
        self._forward: Optional[subprocess.Popen[bytes]] = None
        kind, _, rest = host.partition("://")
        if kind == "unix" and rest:
            self._path = rest
        elif kind == "ssh":
            self._path = self._forward_by_ssh(host, named_by)
        else:
            later = "; tcp:// is not there yet" if kind == "tcp" else ""
            raise ApiError(501, f"{named_by} {host}: expected unix://PATH or ssh://[user@]host{later}", "not-there-yet")

    def close(self) -> None:
        if self._forward is not None:
            self._forward.terminate()
            self._forward.wait()

    def call(self, method: str, path: str, body: Body = None, **query: Any) -> Any:
        """One call; its JSON, or None for an empty answer."""
        connection, response = self._send(method, path, body, query)
        with connection:
            data = response.read()
            return json.loads(data) if data.strip() else None

    def lines(
        self, method: str, path: str, body: Body = None, headers: Optional[dict[str, str]] = None, **query: Any
    ) -> Iterator[Json]:
        """A stream of JSON objects, as pull, push and build answer."""
        connection, response = self._send(method, path, body, query, headers)
        with connection:
            for line in response:
                if line.strip():
                    yield json.loads(line)

    def frames(self, method: str, path: str, **query: Any) -> Iterator[tuple[int, bytes]]:
        """Stream number and bytes of a multiplexed answer (logs)."""
        connection, response = self._send(method, path, None, query)
        reader = FrameReader()
        with connection:
            while data := response.read1(65536):
                yield from reader.feed(data)

    def take_over(self, path: str, body: Body = None, **query: Any) -> TakenOver:
        """A connection for attach and exec."""
        connection, response = self._send("POST", path, body, query, {"Connection": "Upgrade", "Upgrade": "tcp"})
        return TakenOver(connection.connection, response)

    def _send(
        self, method: str, path: str, body: Body, query: dict[str, Any], headers: Optional[dict[str, str]] = None
    ) -> tuple[_Connection, http.client.HTTPResponse]:
        connection = _Connection(UnixConnection(self._path))
        given = {name: value for name, value in query.items() if value is not None and value is not False and value != ""}
        target = quote(path) + ("?" + urlencode(given, doseq=True) if given else "")
        sent_headers = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            sent_headers["Content-Type"] = "application/json"
        try:
            connection.connection.request(
                method, target, body, sent_headers, encode_chunked=not isinstance(body, (bytes, type(None)))
            )
            response = connection.connection.getresponse()
        except OSError as error:
            connection.__exit__()
            what = f"Cannot connect to the gitopsd engine at {self._path}: {error.strerror or error}"
            raise OSError(error.errno, f"{what}\n  {_advice(error, self._forward is not None)}") from error
        if response.status >= 400:
            data = response.read()
            connection.__exit__()
            raise _refusal(response.status, data)
        return connection, response

    def _forward_by_ssh(self, host: str, named_by: str) -> str:
        split = urlsplit(host)
        if not split.hostname or split.hostname.startswith("-") or (split.username or "").startswith("-"):
            raise ApiError(400, f"{named_by} {host}: expected ssh://[user@]host[:port]")
        folder = tempfile.mkdtemp(prefix="gitopsd-")
        path = os.path.join(folder, "engine.sock")
        login = f"{split.username}@{split.hostname}" if split.username else split.hostname
        port = ["-p", str(split.port)] if split.port else []
        self._forward = subprocess.Popen(
            [
                "ssh",
                "-nNT",
                "-o",
                "ExitOnForwardFailure=yes",
                "-o",
                "BatchMode=yes",
                *port,
                "-L",
                f"{path}:{split.path or _REMOTE_SOCKET}",
                "--",
                login,
            ]
        )
        deadline = time.monotonic() + _SSH_WAIT_S
        while not os.path.exists(path):
            if self._forward.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"ssh to {login} did not forward the engine's socket")
            time.sleep(0.02)
        return path


class _Connection:
    def __init__(self, connection: UnixConnection) -> None:
        self.connection = connection

    def __enter__(self) -> _Connection:  # noqa: PYI034  Self came after 3.9
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


class TakenOver:
    """Both directions of a hijacked connection."""

    def __init__(self, connection: UnixConnection, response: http.client.HTTPResponse) -> None:
        self._connection, self._response = connection, response
        self._sock: socket.socket = connection.sock

    def frames(self) -> Iterator[tuple[int, bytes]]:
        demultiplex = FrameReader()
        while data := cast("Any", self._response.fp).read1(65536):
            yield from demultiplex.feed(data)
        self.close()

    def close(self) -> None:
        """Leave, whatever is still to come."""
        self._response.close()
        self._connection.close()

    def feed(self, source: int) -> None:
        """Send a descriptor's bytes to its end, then close our direction. For a thread."""
        try:
            while data := os.read(source, 65536):
                self._sock.sendall(data)
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the other end has gone first


def _advice(error: OSError, is_remote: bool) -> str:
    if is_remote:
        return (
            "hint: is there an engine on that host? gitopsd host bootstrap brings one, or: gitopsd-engine daemon there, as root"
        )
    if isinstance(error, PermissionError):
        return "hint: the socket is for root and for whom the daemon was told (daemon --socket-user, --socket-group)"
    return "hint: gitopsd-engine daemon starts one, as root; -H or DOCKER_HOST names the socket of another"


def _refusal(status: int, data: bytes) -> ApiError:
    try:
        body: Json = json.loads(data)
        return ApiError(status, str(body["message"]), body.get("code"))
    except (ValueError, KeyError, TypeError):
        return ApiError(status, data.decode("utf-8", "replace").strip() or f"HTTP {status}")
