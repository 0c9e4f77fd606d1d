"""From a request to its handler: versions, routes, errors in Docker's form, compare-and-set and leases.

A route is (method, path, handler); `{name}` in a path is one segment, `{name*}` any number (image names have slashes).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Sequence
from typing import Any, Callable, Optional, cast

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import WrongType
from gitopsd.engine.api.engine import Engine
from gitopsd.engine.daemon import expect
from gitopsd.engine.http.server import BadRequest, BodyTooLarge, PeerGone, Request, Response

_log = logging.getLogger(__name__)

Json = dict[str, Any]
Handler = Callable[[Engine, Request, "dict[str, str]"], Awaitable[Optional[Response]]]
Route = tuple[str, str, Handler]

API_VERSION, OLDEST = "1.44", "1.24"
_VERSIONED = re.compile(r"/v(\d+)\.(\d+)(/.*)")
_BODY_LIMIT = 4 << 20
_UNUSUAL = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
"""Escapes that may stand for what is refused."""


class Router:
    def __init__(self, engine: Engine, routes: Sequence[Route]) -> None:
        self._engine = engine
        self._routes = [(method, _pattern(path), handler) for method, path, handler in routes]
        self._headers = {
            "Api-Version": API_VERSION,
            "Docker-Experimental": "false",
            "Ostype": "linux",
            "Server": f"gitopsd/{engine.version} (linux)",
        }

    async def handle(self, request: Request) -> Optional[Response]:
        try:
            response = await self._dispatch(request)
        except ApiError as error:
            response = json_response(error.body(), error.status)
        except WrongType as error:
            response = json_response({"message": f"{request.method} {request.path}: {error}"}, 400)
        except (BadRequest, BodyTooLarge, PeerGone, ConnectionError):
            raise
        except Exception:  # noqa: BLE001  the caller gets 500, the log the rest
            _log.exception("%s %s", request.method, request.target)
            response = json_response({"message": f"{request.method} {request.path}: internal error, see the engine's log"}, 500)
        if response is not None:
            response.headers = {**self._headers, **response.headers}
        return response

    async def _dispatch(self, request: Request) -> Optional[Response]:
        path = _unversioned(request.path)
        for method, pattern, handler in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if request.method == method or (request.method == "HEAD" and method == "GET"):
                arguments = match.groupdict()
                if method != "GET":
                    self._check(request, path, arguments)
                return await handler(self._engine, request, arguments)
        if request.method == "GET" and path.startswith("/gitopsd/"):
            raise ApiError(404, f"page not found: {path}")
        raise ApiError(501, f"{request.method} {path} is not there yet in this engine", "not-there-yet")

    def _check(self, request: Request, path: str, arguments: dict[str, str]) -> None:
        """The lease and the generation that a changing call names (docs/engine-api.md)."""
        lease = request.headers.get("x-gitopsd-lease")
        if lease is not None:
            self._engine.leases.check(lease)
        generation = request.headers.get("x-gitopsd-if-generation")
        if generation is not None:
            if not (generation.isascii() and generation.isdigit()):
                raise ApiError(400, f"X-Gitopsd-If-Generation: {generation!r} is not a number")
            identity, now = self._engine.generation_of(path.split("/")[1], arguments.get("name", ""))
            expect.expect({identity: int(generation)})
            expect.compare(identity, int(generation), now)  # now, since not every call comes to a change; and again where it does


def json_response(value: Any, status: int = 200, headers: Optional[dict[str, str]] = None) -> Response:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"
    try:
        body = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character of somebody's label must not hide all the others
        body = text.encode("utf-8", "replace")
    return Response(status, body, {"Content-Type": "application/json", **(headers or {})})


async def json_body(request: Request, limit: int = _BODY_LIMIT) -> Json:
    """The JSON object in a body, `{}` for none; ApiError 400 for anything else."""
    data = await request.read(limit)
    if not data.strip():
        return {}
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"invalid JSON: {error}") from None
    if _UNUSUAL.search(data):
        _refuse_unusual(value)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ApiError(400, "invalid JSON: expected an object")
    return cast("Json", value)


def _refuse_unusual(value: object) -> None:
    """Half characters, which no file or argument can hold, and zero characters, which end them."""
    text = json.dumps(value, ensure_ascii=False)
    if "\\u0000" in text:
        raise ApiError(400, "invalid JSON: a string holds a zero character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ApiError(400, "invalid JSON: a string holds half a character") from None


def upgrade_headers(request: Request, kind: str) -> tuple[int, dict[str, str]]:
    """Status and headers with which a connection is taken over: 101 where the client asked for an upgrade, else 200."""
    headers = {"Content-Type": kind}
    if "upgrade" in request.headers:
        return 101, {**headers, "Connection": "Upgrade", "Upgrade": "tcp"}
    return 200, headers


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)(\*?)\}", lambda match: f"(?P<{match[1]}>{'.+' if match[2] else '[^/]+'})", path))


def asked_version(request: Request) -> tuple[int, int]:
    """The API's version that a request is of; the newest where its path has none."""
    match = _VERSIONED.fullmatch(request.path)
    return (int(match[1]), int(match[2])) if match else _numbers(API_VERSION)


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def _unversioned(path: str) -> str:
    match = _VERSIONED.fullmatch(path)
    if match is None:
        return path
    asked = (int(match[1]), int(match[2]))
    if asked < _numbers(OLDEST):
        advice = f"Minimum supported API version is {OLDEST}, please upgrade your client to a newer version"
        raise ApiError(400, f"client version {match[1]}.{match[2]} is too old. {advice}")
    if asked > _numbers(API_VERSION):
        raise ApiError(400, f"client version {match[1]}.{match[2]} is too new. Maximum supported API version is {API_VERSION}")
    return match[3]
