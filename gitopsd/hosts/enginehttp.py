"""HTTP/1.1 to an engine, over a stream of a link.

In: requests.  Out: answers, streams of JSON lines or bytes, and connections taken over; errors as `EngineError`.

Rule 1: a request is sent once. Only a GET is sent again, and only when a kept connection turned out to be closed: whether an engine
that fell silent has carried out the rest, nobody knows, and the next look at its state will tell.
Rule 2: an answer that says no is an `EngineError` with the engine's own words, code and fields, and the host.
Rule 3: an answer has a length that it may not pass, as has each line of one that is read as it comes: a host is not trusted with the
controller's memory.
Rule 4: a request has a time for each read and write; a stream has none, the link notices a host that is gone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from urllib.parse import urlencode

from gitopsd.hosts.link import Link, Stream
from gitopsd.model.errors import GitopsdError, Next, Where

Json = dict[str, Any]

_KEPT = 4
_LONGEST_ANSWER, _LONGEST_NO, _LONGEST_LINE = 128 << 20, 1 << 20, 16 << 20
_BY_STATUS = {
    400: "engine-refused",
    404: "engine-not-found",
    409: "engine-conflict",
    412: "engine-precondition",
    501: "not-there-yet",
}
_RETRY = {"generation-changed", "intent-changed", "lease-lost", "lease-held"}
"""The engine is well and something else was quicker: look again."""


class EngineError(GitopsdError):
    """The engine's own no. `fields` is what stands beside the message: `generation`, `missing`, `holder`, `token` …"""

    def __init__(self, status: int, code: str, message: str, where: Where, fields: Json) -> None:
        next_: Next = "retry" if (status >= 500 and status != 501) or code in _RETRY else "stall"
        super().__init__(code, message, where, next=next_)
        self.status = status
        self.fields = fields


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Upload:
    """A body that is not JSON. Without `size_bytes` it goes out in chunks."""

    pieces: Iterable[bytes]
    size_bytes: int | None = None
    kind: str = "application/octet-stream"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: Json | Upload | None = None
    headers: Mapping[str, str] | None = None
    object: str | None = None
    """What it is about, for errors."""

    @property
    def target(self) -> str:
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


class EngineHttp:
    def __init__(self, link: Link, socket_path: str, timeout_s: float = 60) -> None:
        self.host = link.name
        self._link = link
        self._socket_path = socket_path
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._kept: list[_Connection] = []

    def call(self, request: Request, *, allow: Iterable[int] = (), timeout_s: float | None = None, bulk: bool = False) -> Answer:
        """Send a request and read the whole answer. A status of 400 or more is an error, but for those in `allow`."""
        seconds = timeout_s or self._timeout_s
        connection, response = self._send(request, seconds, bulk)
        with self._broken_as_errors(request, seconds, connection):
            body = self._whole(request, response, _LONGEST_ANSWER)
        headers = {name.lower(): value for name, value in response.getheaders()}
        if response.will_close or bulk:
            connection.close()
        else:
            self._keep(connection)
        if response.status >= 400 and response.status not in allow:
            raise self._refused(request, response.status, body)
        return Answer(response.status, headers, body)

    @contextlib.contextmanager
    def open(self, request: Request, *, bulk: bool = False) -> Generator[OpenAnswer]:
        """Send a request and leave its answer open, to be read as it comes."""
        connection, response = self._send(request, None, bulk)
        try:
            if response.status >= 400:
                with self._broken_as_errors(request, None, connection):
                    body = self._whole(request, response, _LONGEST_NO)
                raise self._refused(request, response.status, body)
            guarded = partial(self._broken_as_errors, request, None, connection)
            yield OpenAnswer(response, connection.stream, guarded, partial(self._too_long, request, _LONGEST_LINE))
        finally:
            response.close()  # one that ends with its connection holds it open
            connection.close()

    def close(self) -> None:
        with self._lock:
            for connection in self._kept:
                connection.close()
            self._kept.clear()

    def _send(self, request: Request, timeout_s: float | None, bulk: bool) -> tuple[_Connection, http.client.HTTPResponse]:
        """Send on a kept connection if there is one that still lives, and read the head of the answer."""
        kept = None if bulk or timeout_s is None else self._take()
        if kept is not None:
            try:
                return kept, kept.exchange(request, timeout_s)
            except (http.client.RemoteDisconnected, ConnectionError) as error:
                kept.close()
                if request.method not in ("GET", "HEAD"):
                    raise self._interrupted(request, error) from error
            except (OSError, http.client.HTTPException) as error:
                kept.close()
                raise self._interrupted(request, error, timeout_s) from error
        connection = _Connection(self._link.dial(self._socket_path, bulk=bulk))
        with self._broken_as_errors(request, timeout_s, connection):
            return connection, connection.exchange(request, timeout_s)

    def _take(self) -> _Connection | None:
        with self._lock:
            while self._kept:
                connection = self._kept.pop()
                if not connection.stream.is_stale():
                    return connection
                connection.close()
        return None

    def _keep(self, connection: _Connection) -> None:
        with self._lock:
            if len(self._kept) < _KEPT:
                self._kept.append(connection)
                return
        connection.close()

    @contextlib.contextmanager
    def _broken_as_errors(self, request: Request, timeout_s: float | None, connection: _Connection) -> Generator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._interrupted(request, error, timeout_s) from error
        except BaseException:
            connection.close()
            raise

    def _whole(self, request: Request, response: http.client.HTTPResponse, most: int) -> bytes:
        body = response.read(most + 1)
        if len(body) > most:
            raise self._too_long(request, most)
        if response.length:  # http.client ends quietly when it was asked for a part
            raise http.client.IncompleteRead(body, response.length)
        return body

    def _too_long(self, request: Request, most: int) -> GitopsdError:
        message = f"{request.method} {request.path}: the answer goes on after {most} bytes"
        return GitopsdError("answer-too-long", message, Where(host=self.host, object=request.object), next="retry")

    def _interrupted(self, request: Request, error: Exception, timeout_s: float | None = None) -> GitopsdError:
        where = Where(host=self.host, object=request.object)
        what = f"{request.method} {request.path}"
        if isinstance(error, TimeoutError):
            return GitopsdError("engine-timeout", f"{what}: no answer within {timeout_s or 0:g} s", where, next="retry")
        reason = str(error) or type(error).__name__
        return GitopsdError(
            "engine-interrupted", f"{what}: the connection ended before the answer: {reason}", where, next="retry"
        )

    def _refused(self, request: Request, status: int, body: bytes) -> EngineError:
        try:
            said: Any = json.loads(body)
        except ValueError:
            said = None
        fields = cast("Json", said) if isinstance(said, dict) else {"message": body.decode(errors="replace").strip()[:1000]}
        message = str(fields.pop("message", "")) or f"{request.method} {request.path}: status {status}"
        code = str(fields.pop("code", "") or _BY_STATUS.get(status, "engine-failed"))
        return EngineError(status, code, message, Where(host=self.host, object=request.object), fields)


class OpenAnswer:
    """An answer that is still coming, and, where the engine gave the connection away, both directions of it."""

    def __init__(
        self,
        response: http.client.HTTPResponse,
        stream: Stream,
        guarded: Callable[[], contextlib.AbstractContextManager[None]],
        too_long: Callable[[], GitopsdError],
    ) -> None:
        self.stream = stream
        """To be written to after an upgrade; to be read only through this object, which has read ahead."""
        self.status = response.status
        self._response = response
        self._guarded = guarded
        self.too_long = too_long
        """The error of an answer that holds more at once than is taken."""
        # http.client takes 101 for an answer without a body; what follows its head is in the buffered reader
        self._source = cast("Any", response).fp if response.status == 101 else response

    def read(self, size: int = 65536) -> bytes:
        """Some bytes, as soon as there are any; none at the end."""
        with self._guarded():
            return self._source.read1(size)

    def lines(self) -> Iterator[Json]:
        """JSON objects, one a line, as they come."""
        # not http.client's readline, which takes a connection that broke for an orderly end
        rest = b""
        while data := self.read():
            *whole, rest = (rest + data).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                raise self.too_long()
            yield from (json.loads(line) for line in whole if line.strip())
        if rest.strip():
            yield json.loads(rest)


class _Connection(http.client.HTTPConnection):
    """http.client over a stream instead of a socket of its own."""

    auto_open = 0

    def __init__(self, stream: Stream) -> None:
        super().__init__("engine")
        self.stream = stream
        self.sock = cast("Any", stream)

    def exchange(self, request: Request, timeout_s: float | None) -> http.client.HTTPResponse:
        self.stream.settimeout(timeout_s)
        body = request.body
        self.putrequest(request.method, request.target)
        for name, value in (request.headers or {}).items():
            self.putheader(name, value)
        pieces: Iterable[bytes] | bytes | None = None
        if isinstance(body, Upload):
            pieces = body.pieces
            self.putheader("Content-Type", body.kind)
            if body.size_bytes is None:
                self.putheader("Transfer-Encoding", "chunked")
            else:
                self.putheader("Content-Length", str(body.size_bytes))
        elif body is not None:
            pieces = json.dumps(body).encode()
            self.putheader("Content-Type", "application/json")
            self.putheader("Content-Length", str(len(pieces)))
        elif request.method in ("POST", "PUT"):
            self.putheader("Content-Length", "0")
        try:
            self.endheaders(cast("Any", pieces), encode_chunked=isinstance(body, Upload) and body.size_bytes is None)
        except (BrokenPipeError, ConnectionResetError) as error:
            # it said no before it had all of the body, and hung up: the no is worth more than the broken pipe
            try:
                return self.getresponse()
            except (OSError, http.client.HTTPException):
                raise error from None
        return self.getresponse()

    def close(self) -> None:
        super().close()
        self.stream.close()
