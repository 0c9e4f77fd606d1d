"""Which key a host must show.  [pure, but for `read`]

In: known_hosts files, keys from the fleet file, and the key that a host showed.  Out: nothing, or an error that stops everything.

Rule 1: keys written in the fleet file decide alone; only without any is a known_hosts file asked.
Rule 2: a key that is not known is never accepted, not even the first time: whoever sits in between would be the first.
Rule 3: a line that this reader cannot use (a certificate authority) is named when it would have mattered.

The format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". paramiko's own reader fails on `@cert-authority`, and knows
no `@revoked`.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gitopsd.model.errors import GitopsdError, Where


@dataclass(frozen=True)
class HostKey:
    kind: str
    """`ssh-ed25519`, `ssh-rsa`, `ecdsa-sha2-nistp256` …"""
    blob: bytes
    source: str = ""
    """Where it was read: file and line."""

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen prints it: `SHA256:…`."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True)
class Entry:
    """One line of a known_hosts file."""

    marker: str
    names: str
    key: HostKey

    def names_host(self, name: str) -> bool:
        if self.names.startswith("|1|"):
            _, _, salt, digest = self.names.split("|")
            wanted = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
            return hmac.compare_digest(wanted, base64.b64decode(digest))
        patterns = self.names.lower().split(",")
        if any(pattern.startswith("!") and _matches(pattern[1:], name) for pattern in patterns):
            return False
        return any(_matches(pattern, name) for pattern in patterns)


@dataclass(frozen=True)
class Trust:
    """What is known of one host."""

    accepted: tuple[HostKey, ...]
    revoked: tuple[HostKey, ...] = ()
    authorities: tuple[str, ...] = ()
    """Lines that name a certificate authority for it, which cannot be used."""
    sources: tuple[str, ...] = ()
    """Where was looked."""


def parse_known_hosts(text: str, source: str) -> tuple[Entry, ...]:
    """The entries of a file; lines that say nothing are passed over, as OpenSSH does."""
    entries: list[Entry] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#"):
            continue
        try:
            key = parse_key(f"{words[1]} {words[2]}", f"{source}:{number}")
            if words[0].startswith("|1|"):
                salt, digest = (base64.b64decode(part, validate=True) for part in words[0].split("|")[2:])
                del salt, digest
        except ValueError:
            continue
        entries.append(Entry(marker, words[0], key))
    return tuple(entries)


def parse_key(text: str, source: str = "") -> HostKey:
    """`ssh-ed25519 AAAA…`; ValueError for anything else."""
    words = text.split()
    if len(words) < 2:
        raise ValueError(f"{text!r} is not a key type and its base64")
    try:
        blob = base64.b64decode(words[1], validate=True)
    except binascii.Error as error:
        raise ValueError(f"{words[1]!r} is not base64") from error
    length = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + length].decode(errors="replace") != words[0]:
        raise ValueError(f"the key says it is another type than {words[0]}")
    return HostKey(words[0], blob, source)


def trust_of(entries: Iterable[Entry], address: str, port: int, sources: Sequence[str] = ()) -> Trust:
    """What the entries of known_hosts files say of a host."""
    name = address.lower() if port == 22 else f"[{address.lower()}]:{port}"
    mine = [entry for entry in entries if entry.names_host(name)]
    return Trust(
        tuple(entry.key for entry in mine if not entry.marker),
        tuple(entry.key for entry in mine if entry.marker == "@revoked"),
        tuple(entry.key.source for entry in mine if entry.marker == "@cert-authority"),
        tuple(sources),
    )


def trust_from_fleet(keys: Sequence[str], where: Where) -> Trust:
    """The keys written in the fleet file."""
    accepted: list[HostKey] = []
    for text in keys:
        try:
            accepted.append(parse_key(text, f"{where.file or 'the fleet file'}:{where.line or 0}"))
        except ValueError as error:
            raise GitopsdError(
                "host-key-unreadable", f"host key {text!r}: {error}", where, "write it as ssh-keyscan prints it"
            ) from error
    return Trust(tuple(accepted))


def read(paths: Sequence[Path], address: str, port: int) -> Trust:
    """What these known_hosts files, where they exist, say of a host."""
    entries: list[Entry] = []
    for path in paths:
        try:
            entries += parse_known_hosts(path.read_text(errors="replace"), str(path))
        except FileNotFoundError:
            continue
    return trust_of(entries, address, port, [str(path) for path in paths])


def check(shown: HostKey, trust: Trust, host: str, address: str, port: int) -> None:
    """Return if the key that the host showed is the one it must have; else raise."""
    where = Where(host=host)
    shows = f"{address} port {port} shows the {shown.kind} key {shown.fingerprint}"
    compare = f"ssh-keygen -lf /etc/ssh/ssh_host_{shown.kind.removeprefix('ssh-').split('-')[0]}_key.pub"
    add = f"compare on the host with: {compare}, then add to the host in the fleet file: host_key: {shown}"
    revoked = next((key for key in trust.revoked if key.blob == shown.blob), None)
    if revoked is not None:
        hint = f"nothing was sent. Compare on the host's own console with: {compare}, and give the host another key"
        raise GitopsdError("host-key-revoked", f"{shows}, which {revoked.source} revokes", where, hint)
    if any(key.blob == shown.blob for key in trust.accepted):
        return
    if trust.accepted:
        known = next((key for key in trust.accepted if key.kind == shown.kind), trust.accepted[0])
        hint = (
            f"somebody may be in between, so nothing was sent. Compare on the host's own console with: {compare}. "
            f"If the host was installed anew, put its new key in place of the old one in {known.source}: {shown}"
        )
        raise GitopsdError("host-key-changed", f"{shows}, but {known.source} says {known.kind} {known.fingerprint}", where, hint)
    if trust.authorities:
        says = f"only {trust.authorities[0]} speaks of it: a @cert-authority, which cannot be used"
    else:
        says = _nobody_knows(trust.sources or ("the fleet file",))
    raise GitopsdError("host-key-unknown", f"{shows}, and {says}", where, add)


def _nobody_knows(sources: Sequence[str]) -> str:
    if len(sources) == 1:
        return f"{sources[0]} does not know it"
    return f"neither {sources[0]} nor {sources[1]} knows it" if len(sources) == 2 else f"none of {', '.join(sources)} knows it"


def _matches(pattern: str, name: str) -> bool:
    # only * and ? are special here; fnmatch would also take the brackets of [address]:port
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))
