"""HTTP to registries: connections kept alive, redirects, and who may see credentials.

In: a method and an address.  Out: a response whose body is read in pieces.

Rule 1: credentials go to the origin they belong to (scheme, host and port) and nowhere else, whatever a redirect or a
Location says (CVE-2020-15157).
Rule 2: https is never left for http.
Rule 3: a kept connection that turns out dead is replaced without anybody noticing; other failures are the caller's.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Optional, Union
from urllib.parse import urljoin, urlsplit

_MOST_REDIRECTS = 5
_PIECE = 1 << 18
_REDIRECTS = (301, 302, 303, 307, 308)
_IDLE_KEPT = 4
Failures = (OSError, http.client.HTTPException)


class BadAddress(ValueError):  # noqa: N818
    """An address that is not followed."""


class Origin:
    """Scheme, host and port: what credentials and connections belong to."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            raise BadAddress(f"address {url[:200]!r} has no valid port") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise BadAddress(f"address {url[:200]!r} is not http or https with a host alone")
        self.scheme, self.host = parts.scheme, parts.hostname
        self.port = port or (443 if parts.scheme == "https" else 80)

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.scheme, self.host, self.port)


class Answer:
    """A response. Its connection is kept for later once the body was read to its end; `close` drops it otherwise."""

    def __init__(
        self, pool: Pool, origin: Origin, url: str, connection: http.client.HTTPConnection, raw: http.client.HTTPResponse
    ) -> None:
        self._pool, self._origin, self._connection, self._raw = pool, origin, connection, raw
        self.url, self.status = url, raw.status
        self._is_open = True

    def header(self, name: str) -> str:
        return self._raw.getheader(name) or ""

    def read(self, most: int) -> bytes:
        """The whole body, at most `most` bytes of it."""
        parts: list[bytes] = []
        left = most
        for piece in self.pieces():
            parts.append(piece[:left])
            left -= len(parts[-1])
            if not left:
                self.close()
                break
        return b"".join(parts)

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes; raises if it breaks off before its announced length."""
        if not self._is_open:
            return
        try:
            while True:
                piece = self._raw.read1(_PIECE)
                if not piece:
                    break
                yield piece
            if self._raw.length:  # http.client ends quietly when the peer closes too early
                raise http.client.IncompleteRead(b"", self._raw.length)
        except BaseException:
            self.close()
            raise
        self.close()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            is_over = self._raw.isclosed() or self._raw.length == 0
            self._raw.close()  # what http.client wants before the next request; a kept connection stays open
            if is_over and not self._raw.will_close:
                self._pool.keep(self._origin, self._connection)
            else:
                self._connection.close()

    def __enter__(self) -> Answer:  # noqa: PYI034  Self came after 3.9
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Pool:
    """Connections to any number of origins; safe in threads."""

    def __init__(self, timeout_s: float = 60.0, tls: Optional[ssl.SSLContext] = None) -> None:
        self._timeout_s, self._tls = timeout_s, tls
        self._idle: dict[tuple[str, str, int], list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Union[bytes, Iterable[bytes]] = b"",
        length: Optional[int] = None,
        authorization: str = "",
        follow: bool = True,
    ) -> Answer:
        """One request. `authorization` is for the origin of `url` alone. A body that is no bytes needs `length`."""
        home = Origin(url)
        origin = home
        for _ in range(_MOST_REDIRECTS + 1):
            sent = dict(headers)
            if authorization and origin.key == home.key:
                sent["Authorization"] = authorization
            answer = self._once(method, url, origin, sent, body, length)
            if not follow or answer.status not in _REDIRECTS or method not in ("GET", "HEAD") or not answer.header("Location"):
                return answer
            url = urljoin(url, answer.header("Location"))
            answer.read(_PIECE)
            following = Origin(url)
            if origin.scheme == "https" and following.scheme != "https":
                raise BadAddress(f"redirect from https to {following.scheme}://{following.host} is not followed")
            origin = following
        raise BadAddress(f"more than {_MOST_REDIRECTS} redirects")

    def keep(self, origin: Origin, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            idle = self._idle.setdefault(origin.key, [])
            if len(idle) < _IDLE_KEPT:
                idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            for idle in self._idle.values():
                for connection in idle:
                    connection.close()
            self._idle.clear()

    def _once(
        self,
        method: str,
        url: str,
        origin: Origin,
        headers: dict[str, str],
        body: Union[bytes, Iterable[bytes]],
        length: Optional[int],
    ) -> Answer:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kept = self._take(origin)
        if kept is not None:
            try:
                return self._send(kept, method, url, target, origin, headers, body, length)
            except (http.client.RemoteDisconnected, ConnectionError):
                kept.close()
                if not isinstance(body, bytes):
                    raise  # part of it may be used up
        connection = self._connect(origin)
        return self._send(connection, method, url, target, origin, headers, body, length)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        url: str,
        target: str,
        origin: Origin,
        headers: dict[str, str],
        body: Union[bytes, Iterable[bytes]],
        length: Optional[int],
    ) -> Answer:
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            size = len(body) if isinstance(body, bytes) else length
            if size or method in ("POST", "PUT", "PATCH"):
                connection.putheader("Content-Length", str(size))
            connection.endheaders()
            try:
                for piece in [body] if isinstance(body, bytes) else body:
                    if piece:
                        connection.send(piece)
            except ConnectionError:
                pass  # it may have answered before it stopped listening; getresponse tells
            return Answer(self, origin, url, connection, connection.getresponse())
        except BaseException:
            connection.close()
            raise

    def _take(self, origin: Origin) -> Optional[http.client.HTTPConnection]:
        with self._lock:
            idle = self._idle.get(origin.key)
            return idle.pop() if idle else None

    def _connect(self, origin: Origin) -> http.client.HTTPConnection:
        if origin.scheme == "http":
            connection = http.client.HTTPConnection(origin.host, origin.port, timeout=self._timeout_s)
        else:
            if self._tls is None:
                self._tls = ssl.create_default_context()
            connection = http.client.HTTPSConnection(origin.host, origin.port, timeout=self._timeout_s, context=self._tls)
        connection.connect()
        if connection.sock is not None:
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def is_loopback(host: str) -> bool:
    """Whether an address with or without port stays on this machine, by its form alone."""
    try:
        name = Origin("http://" + host).host
    except BadAddress:
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
