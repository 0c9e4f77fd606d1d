"""The codec of the distribution protocol, as registries and their clients speak it.  [pure]

In: header lines, paths and bodies.  Out: values, and back. No socket: the engine's client and server and the controller's
client all stand on this.

Rule: a repository, tag or digest that comes out of `parse_path` has been checked, so it may go into a file name.
Specification: opencontainers/distribution-spec 1.1; tokens: the distribution project's token documents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union, cast
from urllib.parse import quote, urlencode, urlsplit

from gitopsd.oci.digest import Digest
from gitopsd.oci.reference import check_repository, check_tag

# Codes of the specification's table; a server says one of these, a client acts on them.
BLOB_UNKNOWN = "BLOB_UNKNOWN"
BLOB_UPLOAD_INVALID = "BLOB_UPLOAD_INVALID"
BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
DIGEST_INVALID = "DIGEST_INVALID"
MANIFEST_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"
MANIFEST_INVALID = "MANIFEST_INVALID"
MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
NAME_INVALID = "NAME_INVALID"
NAME_UNKNOWN = "NAME_UNKNOWN"
SIZE_INVALID = "SIZE_INVALID"
UNSUPPORTED = "UNSUPPORTED"

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_CHUNK_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/(?:[0-9]{1,18}|\*))?")
_SESSION = re.compile(r"[A-Za-z0-9_-]{8,128}")
_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[A-Za-z]+=(?:\"[^\"]*\"|[^\s;,\"]*))*)")
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf"\s*({_WORD})\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|({_WORD}|[^\s,\"]+))\s*(?:,|$)")
_SCHEME = re.compile(rf"\s*({_WORD})(?:\s+|$)")
_LARGEST_TOKEN_BODY = 1024 * 1024


@dataclass(frozen=True)
class Route:
    """What a path of the API means. `kind`: base, blob, manifest, uploads, upload, tags, referrers, catalog."""

    kind: str
    repository: str = ""
    digest: Optional[Digest] = None
    tag: Optional[str] = None
    session: str = ""


@dataclass(frozen=True)
class Challenge:
    """One way in, out of a WWW-Authenticate header; the scheme in lower case."""

    scheme: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Token:
    """What a token server gave."""

    value: str
    expires_in_s: int
    refresh: str = ""


class BadProtocol(ValueError):  # noqa: N818
    """The other side said something that the protocol does not have."""


def blob_path(repository: str, digest: Digest) -> str:
    return f"/v2/{repository}/blobs/{digest}"


def manifest_path(repository: str, target: str) -> str:
    return f"/v2/{repository}/manifests/{target}"


def uploads_path(repository: str, mount: Optional[Digest] = None, source: str = "") -> str:
    """Where an upload starts; with `mount` the registry may link a blob it has, out of repository `source`."""
    path = f"/v2/{repository}/blobs/uploads/"
    if mount is None:
        return path
    return path + "?" + urlencode({"mount": mount, "from": source} if source else {"mount": mount})


def tags_path(repository: str, most: Optional[int] = None, last: str = "") -> str:
    query: dict[str, Union[str, int]] = {}
    if most is not None:
        query["n"] = most
    if last:
        query["last"] = last
    return f"/v2/{repository}/tags/list" + ("?" + urlencode(query) if query else "")


def referrers_path(repository: str, digest: Digest, artifact_type: str = "") -> str:
    return f"/v2/{repository}/referrers/{digest}" + ("?" + urlencode({"artifactType": artifact_type}) if artifact_type else "")


def parse_path(path: str) -> Optional[Route]:
    """The route of a decoded path; None for one the API does not have, InvalidReference or InvalidDigest for bad names."""
    if path in ("/v2/", "/v2"):
        return Route("base")
    if path == "/v2/_catalog":
        return Route("catalog")
    if not path.startswith("/v2/"):
        return None
    parts = path[len("/v2/") :].split("/")
    if (len(parts) >= 4 and parts[-3:] == ["blobs", "uploads", ""]) or (len(parts) >= 3 and parts[-2:] == ["blobs", "uploads"]):
        return Route("uploads", check_repository("/".join(parts[: -3 if not parts[-1] else -2])))
    if len(parts) >= 4 and parts[-3:-1] == ["blobs", "uploads"]:
        if not _SESSION.fullmatch(parts[-1]):
            return None
        return Route("upload", check_repository("/".join(parts[:-3])), session=parts[-1])
    if len(parts) < 3:
        return None
    name, kind, last = "/".join(parts[:-2]), parts[-2], parts[-1]
    if kind == "tags" and last == "list":
        return Route("tags", check_repository(name))
    if kind == "blobs":
        return Route("blob", check_repository(name), Digest(last))
    if kind == "referrers":
        return Route("referrers", check_repository(name), Digest(last))
    if kind == "manifests":
        if ":" in last:
            return Route("manifest", check_repository(name), Digest(last))
        return Route("manifest", check_repository(name), tag=check_tag(last))
    return None


def parse_range(header: str, size: int) -> Optional[tuple[int, int]]:
    """First byte and the one after the last that a Range header asks for; None to answer with everything (RFC 9110, 14.2).

    Raises BadProtocol when there is nothing to give, which is a 416.
    """
    found = _RANGE.fullmatch(header.strip())
    if not found or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= size or end <= start:
        raise BadProtocol(f"range {header.strip()[:60]!r} lies outside of {size} bytes")
    return start, end


def parse_content_range(header: str) -> tuple[int, int, Optional[int]]:
    """First byte, the one after the last, and the whole size or None, of a `Content-Range: bytes 0-9/10`."""
    found = _CONTENT_RANGE.fullmatch(header.strip())
    if not found:
        raise BadProtocol(f"Content-Range {header[:60]!r}: expected bytes <first>-<last>/<size>")
    start, end = int(found.group(1)), int(found.group(2)) + 1
    size = None if found.group(3) == "*" else int(found.group(3))
    if end <= start or (size is not None and end > size):
        raise BadProtocol(f"Content-Range {header[:60]!r}: the range is empty or longer than the size")
    return start, end, size


def parse_chunk_range(header: str) -> tuple[int, int]:
    """First byte and the one after the last of an uploaded chunk, or of the Range a registry answers: `0-99`."""
    found = _CHUNK_RANGE.fullmatch(header.strip())
    if not found or int(found.group(2)) + 1 < int(found.group(1)):
        raise BadProtocol(f"range {header[:60]!r}: expected <first>-<last>")
    return int(found.group(1)), int(found.group(2)) + 1


def render_chunk_range(received: int) -> str:
    """What an upload has so far. The form has no word for nothing; `0-0` is what registries say then."""
    return f"0-{max(0, received - 1)}"


def next_link(header: str) -> Optional[str]:
    """The target of the `rel="next"` of a Link header."""
    for target, parameters in _LINK.findall(header):
        if re.search(r";\s*rel=\"?next\"?(?:\s|;|$)", parameters, re.IGNORECASE):
            return target
    return None


def render_next_link(path: str) -> str:
    return f'<{path}>; rel="next"'


def error_body(code: str, message: str, detail: Optional[Any] = None) -> bytes:
    """An error as the specification spells it."""
    entry: dict[str, Any] = {"code": code, "message": message}
    if detail is not None:
        entry["detail"] = detail
    return json.dumps({"errors": [entry]}, separators=(",", ":")).encode()


def parse_errors(body: bytes) -> list[tuple[str, str]]:
    """Codes and messages of an error body; what is none gives nothing."""
    try:
        listed = cast("list[dict[str, Any]]", json.loads(body)["errors"])
        return [(str(item.get("code", "")), str(item.get("message", ""))) for item in listed]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of a WWW-Authenticate header, in order (RFC 9110, 11.6.1)."""
    challenges: list[Challenge] = []
    rest = header[:8192]
    while rest.strip(" ,\t"):
        scheme = _SCHEME.match(rest)
        if not scheme:
            break
        rest = rest[scheme.end() :]
        parameters: dict[str, str] = {}
        while True:
            parameter = _PARAMETER.match(rest)
            if not parameter:
                break
            quoted, plain = parameter.group(2), parameter.group(3)
            parameters[parameter.group(1).lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            rest = rest[parameter.end() :]
        challenges.append(Challenge(scheme.group(1).lower(), parameters))
        rest = rest.lstrip(" ,\t")
    return challenges


def scope(repository: str, *actions: str) -> str:
    """The scope of a token for a repository: `repository:shop/web:pull,push`."""
    return f"repository:{repository}:{','.join(actions)}"


def token_url(challenge: Challenge, scopes: Sequence[str], account: str = "") -> str:
    """Where to ask for a token. The realm is the registry's word, so the caller decides whether its host may have credentials."""
    realm = challenge.parameters.get("realm", "")
    parts = urlsplit(realm)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.fragment:
        raise BadProtocol(f"token realm {realm[:200]!r} is not an http(s) URL")
    query: list[tuple[str, str]] = []
    if challenge.parameters.get("service"):
        query.append(("service", challenge.parameters["service"]))
    query.extend(("scope", item) for item in scopes)
    if account:
        query.append(("account", account))
    return realm + ("&" if parts.query else "?") + urlencode(query, quote_via=quote, safe=":/,") if query else realm


def parse_token(body: bytes) -> Token:
    """What a token server answered. Without a lifetime it is 60 seconds, as the token documents say."""
    try:
        if len(body) > _LARGEST_TOKEN_BODY:
            raise ValueError
        document = cast("dict[str, Any]", json.loads(body))
        value = document.get("token") or document.get("access_token")
        lifetime = document.get("expires_in", 60)
        refresh = document.get("refresh_token", "")
        if not isinstance(value, str) or not isinstance(lifetime, (int, float)) or not isinstance(refresh, str):
            raise TypeError
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise BadProtocol("the token server's answer has no token") from None
    if not value.isascii() or not value.isprintable() or " " in value:
        raise BadProtocol("the token server's token cannot stand in a header")
    return Token(value, max(0, min(int(lifetime), 86400)), refresh)


def base_url(registry: str, plain: bool) -> str:
    """The address of a registry; Docker Hub's API has another host than its name."""
    host = "registry-1.docker.io" if registry == "docker.io" else registry
    return f"{'http' if plain else 'https'}://{host}"
