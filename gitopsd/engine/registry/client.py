"""A client of one registry: manifests and blobs, both ways.

In: a registry's address, credentials.  Out: bytes that were checked against their digest; what was pushed.

Rule 1: nothing that comes back is believed: manifests are hashed here, blobs by their `Ingest`.
Rule 2: a download goes on at the byte where it broke off, over any number of connections.
Rule 3: a token is asked for over https, or over http only from a registry that is spoken to in http anyway.

Not here: what an image is made of (images/pull.py, push.py). Specification: opencontainers/distribution-spec 1.1.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import BinaryIO, Callable, Optional
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.content.blobs import DigestMismatch, Ingest
from gitopsd.engine.registry.http import Answer, BadAddress, Failures, Origin, Pool, is_loopback
from gitopsd.oci import distribution as d
from gitopsd.oci.digest import Digest, InvalidDigest
from gitopsd.oci.manifest import ACCEPT, LARGEST_MANIFEST

_AT_ONCE = 4
_TRIES = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 8.0
_PIECE = 1 << 18
_LARGEST_ERROR = 64 << 10
_TRANSIENT = (408, 429, 500, 502, 503, 504)

Progress = Callable[[int], None]


class RegistryError(ApiError):
    """A registry said no, or nothing. `code` is the distribution specification's where it gave one."""


class NotFound(RegistryError):  # noqa: N818
    """The registry does not have it."""


@dataclass(frozen=True)
class Credentials:
    """As in X-Registry-Auth: a name with a password, or an identity token (a refresh token), or a token to send as it is."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


class Client:
    """Speaks to the registry at `address` (`host[:port]`); `name` is what errors call it. Safe in threads."""

    def __init__(
        self,
        address: str,
        plain: Optional[bool] = None,
        credentials: Optional[Credentials] = None,
        name: str = "",
        pool: Optional[Pool] = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base = d.base_url(address, is_loopback(address) if plain is None else plain)
        self._plain = self._base.startswith("http:")
        self._credentials = credentials or Credentials()
        self.name = name or address
        self._pool = pool or Pool()
        self._sleep = sleep
        self._tokens: dict[str, tuple[str, float]] = {}
        self._basic = False
        self._lock = threading.Lock()

    def close(self) -> None:
        self._pool.close()

    def check(self) -> None:
        """Whether the registry answers and takes the credentials."""
        with self._request("GET", self._base + "/v2/", "") as answer:
            self._expect(answer, "log in", 200)

    def manifest(self, repository: str, target: str) -> tuple[bytes, str, Digest]:
        """A manifest's bytes, Content-Type and digest; `target` is a tag or a digest, which is then the one it has."""
        url = self._base + d.manifest_path(repository, target)
        with self._request("GET", url, d.scope(repository, "pull"), {"Accept": ", ".join(ACCEPT)}) as answer:
            self._expect(answer, f"fetch manifest {repository}:{target}", 200)
            data = answer.read(LARGEST_MANIFEST + 1)
            kind = answer.header("Content-Type")
        if len(data) > LARGEST_MANIFEST:
            raise RegistryError(500, f"manifest {repository}:{target} from {self.name} is larger than {LARGEST_MANIFEST} bytes")
        digest = Digest.of(data)
        if ":" in target and digest != target:
            raise RegistryError(500, f"manifest {repository}@{target} from {self.name} has digest {digest}", "digest-mismatch")
        return data, kind, digest

    def resolve(self, repository: str, target: str) -> Digest:
        """The digest of a tag, without its bytes where the registry says it."""
        url = self._base + d.manifest_path(repository, target)
        with self._request("HEAD", url, d.scope(repository, "pull"), {"Accept": ", ".join(ACCEPT)}) as answer:
            self._expect(answer, f"look up {repository}:{target}", 200)
            said = answer.header("Docker-Content-Digest")
        try:
            return Digest(said)
        except InvalidDigest:
            return self.manifest(repository, target)[2]

    def has_blob(self, repository: str, digest: Digest) -> bool:
        with self._request("HEAD", self._base + d.blob_path(repository, digest), d.scope(repository, "pull")) as answer:
            if answer.status == 404:
                return False
            self._expect(answer, f"look up blob {digest.short}", 200)
            return True

    def download(self, repository: str, digest: Digest, ingest: Ingest, progress: Optional[Progress] = None) -> None:
        """Fetch a blob into `ingest`, from where that stands, and commit it. `progress` hears how many bytes there are."""
        failures = 0
        while True:
            before = ingest.offset
            try:
                self._download_on(repository, digest, ingest, progress)
                ingest.commit()
                return
            except DigestMismatch as error:
                raise RegistryError(500, f"{error} (from {self.name})", "digest-mismatch") from None
            except Failures as error:
                if isinstance(error, OSError) and error.errno in (5, 28, 30, 122):  # EIO, ENOSPC, EROFS, EDQUOT: our own disk
                    raise
                failures = failures + 1 if ingest.offset == before else 1
                if failures >= _TRIES:
                    raise self._unreachable(f"fetch blob {digest.short}", error) from error
                self._pause(failures)

    def upload(
        self,
        repository: str,
        digest: Digest,
        size: int,
        open_blob: Callable[[], BinaryIO],
        source: str = "",
        progress: Optional[Progress] = None,
    ) -> str:
        """Push a blob; `exists`, `mounted` (from repository `source`) or `pushed`. An upload that breaks off goes on where it was."""
        if self.has_blob(repository, digest):
            return "exists"
        scope = d.scope(repository, "pull", "push")
        scopes = f"{scope} {d.scope(source, 'pull')}" if source else scope
        start = self._base + d.uploads_path(repository, digest if source else None, source)
        with self._request("POST", start, scopes) as answer:
            self._expect(answer, f"push blob {digest.short} to {repository}", 201, 202)
            if answer.status == 201:
                return "mounted"
            location = self._location(answer)
        failures = sent = 0
        while True:
            before = sent
            try:
                if sent < size:
                    location = self._send_from(location, scope, open_blob, sent, size, progress)
                    sent = size
                closing = self._request("PUT", _with_query(location, digest), scope, retry=False)
                with closing as answer:
                    self._expect(answer, f"push blob {digest.short} to {repository}", 201, 204)
                return "pushed"
            except Failures as error:
                failures = failures + 1 if sent == before else 1
                if failures >= _TRIES:
                    raise self._unreachable(f"push blob {digest.short}", error) from error
                self._pause(failures)
                if self.has_blob(repository, digest):  # it was the answer that got lost
                    return "pushed"
                location, sent = self._upload_state(location, scope, start)

    def put_manifest(self, repository: str, target: str, data: bytes, media_type: str) -> Digest:
        """Push a manifest under a tag or its digest."""
        url = self._base + d.manifest_path(repository, target)
        with self._request("PUT", url, d.scope(repository, "pull", "push"), {"Content-Type": media_type}, data) as answer:
            self._expect(answer, f"push manifest {repository}:{target}", 201, 202)
            said = answer.header("Docker-Content-Digest")
        if said and said != Digest.of(data):
            raise RegistryError(
                500, f"push manifest {repository}:{target}: {self.name} says its digest is {said}", "digest-mismatch"
            )
        return Digest.of(data)

    def tags(self, repository: str) -> Iterator[str]:
        """All tags, page by page."""
        url = self._base + d.tags_path(repository, 1000)
        for _ in range(10_000):
            with self._request("GET", url, d.scope(repository, "pull")) as answer:
                self._expect(answer, f"list tags of {repository}", 200)
                link = d.next_link(answer.header("Link"))
                page = json.loads(answer.read(8 << 20))
            yield from page.get("tags") or []
            if link is None:
                return
            following = urljoin(url, link)
            if Origin(following).key != Origin(self._base).key:
                raise RegistryError(500, f"list tags of {repository}: {self.name} leads to another host")
            url = following

    def delete_manifest(self, repository: str, target: str) -> None:
        url = self._base + d.manifest_path(repository, target)
        with self._request("DELETE", url, d.scope(repository, "delete")) as answer:
            self._expect(answer, f"delete {repository}:{target}", 202, 200)

    def _download_on(self, repository: str, digest: Digest, ingest: Ingest, progress: Optional[Progress]) -> None:
        headers = {"Range": f"bytes={ingest.offset}-"} if ingest.offset else {}
        skip = 0
        with self._request("GET", self._base + d.blob_path(repository, digest), d.scope(repository, "pull"), headers) as answer:
            if answer.status == 416:  # what we have is as long as the blob, or is of another one: `commit` tells
                return
            self._expect(answer, f"fetch blob {digest.short}", 200, 206)
            if answer.status == 206:
                try:
                    start = d.parse_content_range(answer.header("Content-Range"))[0]
                except d.BadProtocol:
                    start = -1
                if start != ingest.offset:
                    raise RegistryError(
                        500, f"fetch blob {digest.short}: {self.name} answered with another range than was asked for"
                    )
            elif headers:
                skip = ingest.offset
            for piece in answer.pieces():
                if skip:
                    skipped = min(skip, len(piece))
                    piece, skip = piece[skipped:], skip - skipped
                ingest.write(piece)
                if progress:
                    progress(ingest.offset)

    def _send_from(
        self, location: str, scope: str, open_blob: Callable[[], BinaryIO], start: int, size: int, progress: Optional[Progress]
    ) -> str:
        def pieces() -> Iterator[bytes]:
            sent = start
            with open_blob() as file:
                file.seek(start)
                while sent < size:
                    piece = file.read(_PIECE)
                    if not piece:
                        return
                    yield piece
                    sent += len(piece)
                    if progress:
                        progress(sent)

        headers = {"Content-Type": "application/octet-stream"}
        if start:
            headers["Content-Range"] = f"{start}-{size - 1}"
        authorization = self._authorization(scope, location)
        answer = self._pool.request("PATCH", location, headers, pieces(), size - start, authorization, follow=False)
        with answer:
            if answer.status == 401:
                self._log_in(answer, scope)
                raise ConnectionResetError("the token ran out during the upload")
            if answer.status in (416, *_TRANSIENT):
                raise ConnectionResetError(f"HTTP status {answer.status}")
            self._expect(answer, "push blob", 201, 202, 204)
            return self._location(answer)

    def _upload_state(self, location: str, scope: str, start: str) -> tuple[str, int]:
        """Where a broken upload stands, by its session; a session that is gone is begun anew."""
        with self._request("GET", location, scope) as answer:
            if answer.status == 204:
                try:
                    _, received = d.parse_chunk_range(answer.header("Range"))
                except d.BadProtocol:
                    received = 0
                if received > 1:  # `0-0` may mean one byte or none
                    return self._location(answer), received
        with self._request("POST", start.split("?", maxsplit=1)[0], scope) as answer:
            self._expect(answer, "push blob", 202)
            return self._location(answer), 0

    def _location(self, answer: Answer) -> str:
        location = answer.header("Location")
        if not location:
            raise RegistryError(500, f"{self.name} began an upload without saying where it goes on")
        url = urljoin(answer.url, location)
        try:
            origin = Origin(url)
        except BadAddress as error:
            raise RegistryError(500, f"upload to {self.name}: {error}") from None
        if not self._plain and origin.scheme != "https":
            raise RegistryError(
                500, f"upload to {self.name}: it leads from https to {origin.scheme}://{origin.host}, which is refused"
            )
        return url

    def _request(
        self, method: str, url: str, scope: str, headers: Optional[dict[str, str]] = None, body: bytes = b"", retry: bool = True
    ) -> Answer:
        """One request with what authorization it needs; tried again while the registry does not answer or says "later"."""
        failures = 0
        has_logged_in = False
        while True:
            try:
                answer = self._pool.request(method, url, headers or {}, body, authorization=self._authorization(scope, url))
            except BadAddress as error:
                raise RegistryError(500, f"{self.name}: {error}") from None
            except Failures as error:
                failures += 1
                if not retry or failures >= _TRIES or _is_hopeless(error):
                    if not retry:
                        raise
                    raise self._unreachable(f"{method} {urlsplit(url).path}", error) from error
                self._pause(failures)
                continue
            if answer.status == 401 and not has_logged_in and Origin(answer.url).key == Origin(self._base).key:
                has_logged_in = True
                self._log_in(answer, scope)
                continue
            if answer.status in _TRANSIENT and retry:
                failures += 1
                if failures < _TRIES:
                    answer.read(_LARGEST_ERROR)
                    self._pause(failures, answer.header("Retry-After"))
                    continue
            return answer

    def _authorization(self, scope: str, url: str) -> str:
        if Origin(url).key != Origin(self._base).key:
            return ""
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        with self._lock:
            token, until = self._tokens.get(scope, ("", 0.0))
            if token and time.monotonic() < until:
                return f"Bearer {token}"
            return self._basic_header() if self._basic else ""

    def _basic_header(self) -> str:
        pair = f"{self._credentials.username}:{self._credentials.password}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def _log_in(self, answer: Answer, scope: str) -> None:
        """Do what a 401's challenge asks for; raises when there is nothing to be done."""
        body = answer.read(_LARGEST_ERROR)
        challenges = {challenge.scheme: challenge for challenge in d.parse_challenges(answer.header("WWW-Authenticate"))}
        if "bearer" in challenges:
            self._fetch_token(challenges["bearer"], scope)
        elif "basic" in challenges and self._credentials.username and not self._basic:
            self._basic = True
        else:
            raise RegistryError(401, f"{self.name}: {_said(body) or 'authentication required'}", "UNAUTHORIZED")

    def _fetch_token(self, challenge: d.Challenge, scope: str) -> None:
        credentials = self._credentials
        try:
            url = d.token_url(challenge, scope.split(), credentials.username)
            origin = Origin(url)
        except (d.BadProtocol, BadAddress) as error:
            raise RegistryError(500, f"{self.name}: {error}") from None
        if origin.scheme != "https" and not self._plain:
            raise RegistryError(500, f"{self.name}: its token server {origin.host} is not https, so it gets no credentials")
        try:
            if credentials.identity_token:
                form = {"grant_type": "refresh_token", "refresh_token": credentials.identity_token, "scope": scope,
                        "service": challenge.parameters.get("service", ""), "client_id": "gitopsd"}  # fmt: skip
                target, body = url.split("?")[0], urlencode(form).encode()
                answer = self._pool.request("POST", target, {"Content-Type": "application/x-www-form-urlencoded"}, body)
            else:
                answer = self._pool.request("GET", url, {}, authorization=self._basic_header() if credentials.username else "")
            with answer:
                body = answer.read(1 << 20)
                if answer.status != 200:
                    raise RegistryError(
                        401, f"{self.name}: token refused: {_said(body) or f'HTTP status {answer.status}'}", "UNAUTHORIZED"
                    )
        except Failures as error:
            raise self._unreachable("fetch a token", error) from error
        try:
            token = d.parse_token(body)
        except d.BadProtocol as error:
            raise RegistryError(500, f"{self.name}: {error}") from None
        with self._lock:
            self._tokens[scope] = (token.value, time.monotonic() + max(5, token.expires_in_s - 10))

    def _expect(self, answer: Answer, what: str, *statuses: int) -> None:
        if answer.status in statuses:
            return
        body = answer.read(_LARGEST_ERROR)
        errors = d.parse_errors(body)
        reason = _said(body) or f"HTTP status {answer.status}"
        code = errors[0][0] if errors else None
        kind = NotFound if answer.status == 404 else RegistryError
        status = answer.status if answer.status in (401, 403, 404, 413, 429) else 500
        raise kind(status, f"{what}: {self.name}: {reason}", code)

    def _unreachable(self, what: str, error: BaseException) -> RegistryError:
        return RegistryError(
            500, f"{what}: registry {self.name} cannot be reached: {str(error) or type(error).__name__}", "unreachable"
        )

    def _pause(self, failures: int, retry_after: str = "") -> None:
        pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (failures - 1))
        if retry_after.isdigit():
            pause = min(60.0, max(pause, float(retry_after)))
        self._sleep(pause)


def in_parallel(tasks: Sequence[Callable[[], None]]) -> None:
    """Do all of them, a few at once; the first failure is raised, and what has not begun by then is not."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for done in as_completed([pool.submit(task) for task in tasks]):
            done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _is_hopeless(error: BaseException) -> bool:
    """Names that do not exist and certificates that do not fit are the same the next time."""
    return isinstance(error, (socket.gaierror, ssl.SSLCertVerificationError))


def _said(body: bytes) -> str:
    return "; ".join(message or code for code, message in d.parse_errors(body))[:500]


def _with_query(location: str, digest: Digest) -> str:
    parts = urlsplit(location)
    query = [*parse_qsl(parts.query, keep_blank_values=True), ("digest", digest)]
    return urlunsplit(parts._replace(query=urlencode(query)))
