"""HTTP to registries: connections, TLS, redirects.

In: a method, an address, headers.  Out: an `Answer`, to be used in a `with`.

Rule: a redirect to another host is followed without the Authorization it was sent with, and never from TLS to none.

A connection for each request, as a plan asks for few names.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urljoin, urlsplit

from gitopsd.model.errors import GitopsdError, Where
from gitopsd.oci.distribution import BadProtocol

Dial = Callable[[str, int], socket.socket]
"""Connects to a host and port: a tunnel, where the registry is not reached directly."""

_TIMEOUT_S = 30.0
_MOST_REDIRECTS = 5


@dataclass(frozen=True)
class Endpoint:
    host: str
    port: int
    is_plain: bool

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.is_plain else 'https'}://{host}:{self.port}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    response: http.client.HTTPResponse
    connection: http.client.HTTPConnection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self.connection.close()

    def body(self, most: int) -> bytes:
        data = self.response.read(most + 1)
        if len(data) > most:
            raise BadProtocol(f"an answer of more than {most} bytes")
        return data


class _Connection(http.client.HTTPConnection):
    """One that may be dialled, and wrapped in TLS."""

    def __init__(self, endpoint: Endpoint, dial: Dial | None, context: ssl.SSLContext) -> None:
        super().__init__(endpoint.host, endpoint.port, timeout=_TIMEOUT_S)
        self._endpoint = endpoint
        self._dial = dial
        self._context = context

    def connect(self) -> None:
        endpoint = self._endpoint
        reached = self._dial(endpoint.host, endpoint.port) if self._dial else None
        stream = reached or socket.create_connection((endpoint.host, endpoint.port), _TIMEOUT_S)
        stream.settimeout(_TIMEOUT_S)
        self.sock = stream if endpoint.is_plain else self._context.wrap_socket(stream, server_hostname=endpoint.host)


class Transport:
    """Sends requests. Safe to use from several threads."""

    def __init__(self, dial: Dial | None = None) -> None:
        self._dial = dial
        self._context = ssl.create_default_context()

    def send(self, method: str, registry: str, endpoint: Endpoint, path: str, headers: Mapping[str, str]) -> Answer:
        """Sends, and follows redirects; credentials stay with the host they are for."""
        url = endpoint.url + path
        for _ in range(_MOST_REDIRECTS):
            answer = self.send_once(method, registry, url, headers, is_plain=endpoint.is_plain)
            target = answer.headers.get("location")
            if answer.status not in (301, 302, 303, 307, 308) or not target:
                return answer
            answer.__exit__()
            following = urljoin(url, target)
            if urlsplit(following).netloc != urlsplit(url).netloc:
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            url = following
        raise GitopsdError("registry-refused", f"{registry} redirects without end", Where(object=registry), next="retry")

    def send_once(self, method: str, registry: str, url: str, headers: Mapping[str, str], *, is_plain: bool) -> Answer:
        """One request, one answer. Without TLS only where `is_plain`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or (parts.scheme == "http" and not is_plain):
            raise GitopsdError("registry-refused", f"{registry} leads to an address without TLS", Where(object=registry))
        plain = parts.scheme == "http"
        try:
            endpoint = Endpoint(parts.hostname, parts.port or (80 if plain else 443), plain)
        except ValueError as error:
            raise unreachable(registry, error) from None
        connection = _Connection(endpoint, self._dial, self._context)
        try:
            target = parts.path or "/"
            connection.request(method, f"{target}?{parts.query}" if parts.query else target, headers=dict(headers))
            response = connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            raise unreachable(registry, error) from None
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response, connection)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def unreachable(registry: str, error: Exception) -> GitopsdError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return GitopsdError("registry-unreachable", f"{registry} does not answer: {reason}", Where(object=registry), next="retry")
