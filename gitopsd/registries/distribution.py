"""Registries that speak the OCI distribution protocol.

In: the fleet's mirrors, which registries go without TLS, credentials, a way to connect.  Out: `Registries` (registry.py).

Rule 1: TLS everywhere but on loopback and where the fleet file says `insecure`; certificates are always checked.
Rule 2: a password goes to the registry it is for, and to a token server only over TLS, or where the registry is plain itself and the
token server is on the same host.

The codec is oci/distribution.py, connections and redirects are transport.py's. Blocking, for use from threads.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import threading
import time
from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit

from gitopsd.model.errors import GitopsdError, Where
from gitopsd.oci.digest import Digest, InvalidDigest
from gitopsd.oci.distribution import (
    BadProtocol,
    Challenge,
    blob_path,
    manifest_path,
    parse_challenges,
    parse_errors,
    parse_token,
    scope,
    token_url,
)
from gitopsd.oci.manifest import ACCEPT, INDEX_TYPES, LARGEST_MANIFEST, Index, InvalidManifest, Manifest, parse_manifest
from gitopsd.oci.platform import NoSuchPlatform, Platform, select
from gitopsd.oci.reference import Reference, parse_reference
from gitopsd.registries.credentials import Credentials
from gitopsd.registries.registry import Found
from gitopsd.registries.transport import Answer, Dial, Endpoint, Transport, is_loopback, unreachable

_LARGEST_ANSWER = 1024 * 1024
_HUB = "registry-1.docker.io"
_KEPT_INDEXES = 1000


class DistributionRegistries:
    """All registries of a fleet. Safe to use from several threads."""

    def __init__(
        self,
        mirrors: Mapping[str, str] | None = None,
        insecure: tuple[str, ...] = (),
        credentials: Credentials | None = None,
        dial: Dial | None = None,
    ) -> None:
        self._mirrors = dict(mirrors or {})
        self._insecure = frozenset(insecure)
        self._credentials = dict(credentials or {})
        self._transport = Transport(dial)
        self._lock = threading.Lock()
        self._tokens: dict[tuple[str, str], tuple[str, float]] = {}
        self._indexes: dict[tuple[str, Platform], Digest] = {}

    def locate(self, reference: str) -> str:
        return self._location(parse_reference(reference))

    def resolve(self, reference: str, platform: Platform) -> Found | None:
        name = parse_reference(reference)
        location = self._location(name)
        registry, repository = _split(location)
        path = manifest_path(repository, name.target)
        with self._ask("HEAD", registry, repository, path, ACCEPT) as answer:
            if answer.status == 404:
                return None
            digest = _header_digest(answer)
            is_index = answer.headers.get("content-type", "").split(";")[0].strip().lower() in INDEX_TYPES
        if digest and not is_index:
            return Found(digest, location)
        kept = self._indexes.get((digest, platform)) if digest else None
        if kept:
            return Found(kept, location)
        return self._resolve_whole(location, digest or name.target, platform)

    def manifest(self, location: str, digest: str) -> tuple[Manifest | Index, bytes]:
        registry, repository = _split(location)
        wanted = Digest(digest)
        with self._ask("GET", registry, repository, manifest_path(repository, wanted), ACCEPT) as answer:
            if answer.status == 404:
                raise _missing(location, digest)
            parsed, data = self._manifest_of(answer, location)
        if Digest.of(data) != wanted:
            raise GitopsdError(
                "digest-mismatch", f"{registry} gave other bytes for {digest}", Where(object=location), next="retry"
            )
        return parsed, data

    def blob(self, location: str, digest: str, offset: int = 0) -> _Blob:
        registry, repository = _split(location)
        wanted = Digest(digest)
        ranges = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._ask("GET", registry, repository, blob_path(repository, wanted), (), ranges)
        if answer.status == 404:
            answer.__exit__()
            raise _missing(location, digest)
        if offset and answer.status != 206:
            answer.__exit__()
            raise GitopsdError("registry-refused", f"{registry} does not give a part of a blob", Where(object=location))
        return _Blob(answer, location, None if offset else wanted)

    def _resolve_whole(self, location: str, target: str, platform: Platform) -> Found | None:
        """By reading the manifest: an index, or from a registry that names no digest."""
        registry, repository = _split(location)
        with self._ask("GET", registry, repository, manifest_path(repository, target), ACCEPT) as answer:
            if answer.status == 404:
                return None
            parsed, data = self._manifest_of(answer, location)
        digest = Digest.of(data)
        if ":" in target and digest != target:
            raise GitopsdError(
                "digest-mismatch", f"{registry} gave other bytes for {target}", Where(object=location), next="retry"
            )
        if isinstance(parsed, Manifest):
            return Found(digest, location)
        try:
            chosen = select(((entry.platform, at) for at, entry in enumerate(parsed.manifests)), platform)
        except NoSuchPlatform as error:
            raise GitopsdError("no-such-platform", str(error), Where(object=f"{location}:{target}")) from None
        with self._lock:
            if len(self._indexes) >= _KEPT_INDEXES:
                self._indexes.clear()
            self._indexes[digest, platform] = parsed.manifests[chosen].digest
        return Found(parsed.manifests[chosen].digest, location)

    def _manifest_of(self, answer: Answer, location: str) -> tuple[Manifest | Index, bytes]:
        try:
            data = answer.body(LARGEST_MANIFEST)
            return parse_manifest(data, answer.headers.get("content-type")), data
        except (InvalidManifest, BadProtocol) as error:
            raise GitopsdError("bad-manifest", str(error), Where(object=location)) from None
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(_split(location)[0], error) from None

    def _location(self, name: Reference) -> str:
        return f"{self._mirrors.get(name.registry, name.registry)}/{name.repository}"

    def _endpoint(self, registry: str) -> Endpoint:
        parts = urlsplit(f"//{_HUB if registry == 'docker.io' else registry}")
        host = parts.hostname or ""
        is_plain = registry in self._insecure or is_loopback(host)
        return Endpoint(host, parts.port or (80 if is_plain else 443), is_plain)

    def _ask(
        self,
        method: str,
        registry: str,
        repository: str,
        path: str,
        accept: tuple[str, ...],
        more: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer of the registry, after signing in if it wants that; 404 is one, other refusals are errors."""
        endpoint = self._endpoint(registry)
        headers = {"User-Agent": "gitopsd", **({"Accept": ", ".join(accept)} if accept else {}), **(more or {})}
        kept = self._tokens.get((registry, repository))
        if kept and kept[1] > time.monotonic():
            headers["Authorization"] = kept[0]
        answer = self._transport.send(method, registry, endpoint, path, headers)
        if answer.status == 401:
            with answer:
                challenges = parse_challenges(answer.headers.get("www-authenticate", ""))
            headers["Authorization"] = self._sign_in(registry, repository, endpoint, challenges)
            answer = self._transport.send(method, registry, endpoint, path, headers)
        if answer.status in (200, 206, 404):
            return answer
        with answer:
            raise self._refused(registry, answer)

    def _sign_in(self, registry: str, repository: str, endpoint: Endpoint, challenges: list[Challenge]) -> str:
        """The value of an Authorization header that the registry should take."""
        known = self._credentials.get(registry)
        basic = ""
        if known:
            basic = "Basic " + base64.b64encode(f"{known[0]}:{known[1].reveal()}".encode()).decode()
        for challenge in challenges:
            if challenge.scheme == "bearer":
                return self._token(registry, repository, endpoint, challenge, basic, known[0] if known else "")
            if challenge.scheme == "basic" and basic:
                return basic
        hint = None if known else f"sign in to it: docker login {registry}"
        raise GitopsdError("registry-refused", f"{registry} wants somebody to sign in", Where(object=registry), hint)

    def _token(self, registry: str, repository: str, endpoint: Endpoint, challenge: Challenge, basic: str, account: str) -> str:
        try:
            url = token_url(challenge, [scope(repository, "pull")], account)
            parts = urlsplit(url)
            is_safe = parts.scheme == "https" or (endpoint.is_plain and parts.hostname == endpoint.host)
            headers = {"User-Agent": "gitopsd", **({"Authorization": basic} if basic and is_safe else {})}
            with self._transport.send_once("GET", registry, url, headers, is_plain=endpoint.is_plain) as answer:
                if answer.status != 200:
                    raise self._refused(registry, answer)
                token = parse_token(answer.body(_LARGEST_ANSWER))
        except BadProtocol as error:
            raise GitopsdError("registry-refused", f"{registry}: {error}", Where(object=registry), next="retry") from None
        value = f"Bearer {token.value}"
        with self._lock:
            self._tokens[registry, repository] = (value, time.monotonic() + token.expires_in_s * 0.9)
        return value

    def _refused(self, registry: str, answer: Answer) -> GitopsdError:
        """What a registry said instead of an answer."""
        try:
            errors = parse_errors(answer.body(_LARGEST_ANSWER))
        except (BadProtocol, OSError, http.client.HTTPException):
            errors = []
        said = "; ".join(f"{code}: {message}" if message else code for code, message in errors)[:300]
        said = "".join(character if character.isprintable() else " " for character in said)
        message = f"{registry} answers {answer.status}" + (f": {said}" if said else "")
        where = Where(object=registry)
        if answer.status == 429:
            after = answer.headers.get("retry-after", "")
            return GitopsdError("registry-busy", message, where, next="wait", wait_s=float(after) if after.isdecimal() else 60.0)
        if answer.status in (401, 403):
            return GitopsdError("registry-refused", message, where, f"sign in to it: docker login {registry}")
        return GitopsdError("registry-refused", message, where, next="retry")


class _Blob:
    """A blob as it arrives, checked at its end."""

    def __init__(self, answer: Answer, location: str, wanted: Digest | None) -> None:
        self.size = int(answer.headers.get("content-length") or -1)
        self._answer = answer
        self._location = location
        self._wanted = wanted
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.__exit__()

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._answer.response.read(None if size < 0 else size)
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(_split(self._location)[0], error) from None
        self._hash.update(data)
        is_end = size < 0 or (size > 0 and not data)
        if is_end and self._wanted and self._hash.hexdigest() != self._wanted.hex:
            message = f"{_split(self._location)[0]} gave other bytes for {self._wanted}, or not all"
            raise GitopsdError("digest-mismatch", message, Where(object=self._location), next="retry")
        return data


def _split(location: str) -> tuple[str, str]:
    registry, _, repository = location.partition("/")
    return registry, repository


def _header_digest(answer: Answer) -> Digest | None:
    try:
        return Digest(answer.headers.get("docker-content-digest", ""))
    except InvalidDigest:
        return None


def _missing(location: str, digest: str) -> GitopsdError:
    return GitopsdError("no-such-image", f"{_split(location)[0]} does not have {digest}", Where(object=location), next="retry")
