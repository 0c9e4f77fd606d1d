"""What a person may name as a repository.  [pure]

In: the text.  Out: an `Address`, or `bad-repository` with what is wrong.

Rule 1: Git is only ever given an address that went through here: https, ssh, or a path on this machine. What else
Git understands runs programs (`ext::`), goes over the wire in the clear (http, git), or looks like an option (CVE-2026-45628).
Rule 2: no password stands in an address; it would show in process lists and error texts (CVE-2024-52009).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from gitopsd.model.errors import GitopsdError

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SCP = re.compile(r"(?:(?P<user>[^@/:]*)@)?(?P<host>\[[^\]/]*\]|[^:/\[]*):(?P<path>.*)", re.DOTALL)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?:://|::)")


@dataclass(frozen=True)
class Address:
    """`text` is what Git is given."""

    text: str
    kind: Literal["local", "ssh", "https"]


def parse_address(text: str) -> Address:
    """The repository that `text` names; a path is made absolute."""
    if not text or text != text.strip() or any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise _bad(text, "is empty or has blanks or control characters around or in it")
    if text.startswith("-"):
        raise _bad(text, "looks like an option")
    scheme = _SCHEME.match(text)
    if scheme or text.startswith("::"):
        return _url(text, scheme.group(1).lower() if scheme and "://" in scheme.group() else None)
    scp = _SCP.fullmatch(text)
    if scp and not text.startswith((".", "/")):
        _check_ssh(text, scp["user"], scp["host"], scp["path"])
        return Address(text, "ssh")
    return Address(os.path.abspath(text), "local")


def _url(text: str, scheme: str | None) -> Address:
    if scheme not in ("https", "ssh"):
        hint = "give the path itself" if scheme == "file" else None
        raise _bad(text, f"{scheme or 'a transport helper'} is not a way to a repository here", hint)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise _bad(text, str(error)) from None
    if parts.password is not None or (scheme == "https" and parts.username is not None):
        raise _bad(text, "carries a user or password", "use an ssh address with a key")
    if parts.query or parts.fragment:
        raise _bad(text, "has a query or fragment")
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    if scheme == "ssh":
        _check_ssh(text, parts.username, host, parts.path)
        return Address(text, "ssh")
    if not _HOST.fullmatch(host) or parts.path in ("", "/"):
        raise _bad(text, "names no host or no path on it")
    return Address(text, "https")


def _check_ssh(text: str, user: str | None, host: str, path: str) -> None:
    if user is not None and not _USER.fullmatch(user):
        raise _bad(text, f"user {user!r} cannot be one")
    if not _HOST.fullmatch(host):
        raise _bad(text, f"host {host!r} cannot be one")
    if path in ("", "/") or path.lstrip("/").startswith("-"):
        raise _bad(text, "names no path on the host")


def _bad(text: str, why: str, hint: str | None = None) -> GitopsdError:
    shown = re.sub(r"(?<=://)[^/@]*@", "", text)[:200]
    form = "https://host/path, ssh://user@host/path, user@host:path, or a path on this machine"
    return GitopsdError("bad-repository", f"repository {shown!r} {why}", hint=hint or f"expected {form}")
