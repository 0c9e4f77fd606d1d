"""Registries in memory: what pin's tests ask. It passes tests/contract/test_registries.py."""

from __future__ import annotations

import io

from gitopsd.model.errors import GitopsdError
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import Index, Manifest, parse_manifest
from gitopsd.oci.platform import NoSuchPlatform, Platform, select
from gitopsd.oci.reference import parse_reference
from gitopsd.registries import Found


class MemoryRegistries:
    """`asked` lists the references that were resolved, `silent` the registries that do not answer."""

    def __init__(self, mirrors: dict[str, str] | None = None) -> None:
        self.mirrors = mirrors or {}
        self.names: dict[str, str] = {}
        self.content: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.silent: set[str] = set()

    def put(self, location: str, data: bytes, tag: str | None = None) -> str:
        """Keeps a blob or manifest of `host:port/repository`, and names it by a tag."""
        digest = Digest.of(data)
        self.content[f"{location}@{digest}"] = data
        if tag:
            self.names[f"{location}:{tag}"] = digest
        return digest

    def locate(self, reference: str) -> str:
        name = parse_reference(reference)
        return f"{self.mirrors.get(name.registry, name.registry)}/{name.repository}"

    def resolve(self, reference: str, platform: Platform) -> Found | None:
        location = self.locate(reference)
        self.asked.append(reference)
        self._answer(location)
        target = parse_reference(reference).target
        digest = target if ":" in target else self.names.get(f"{location}:{target}")
        data = self.content.get(f"{location}@{digest}")
        if data is None:
            return None
        parsed = parse_manifest(data)
        if isinstance(parsed, Manifest):
            return Found(Digest.of(data), location)
        try:
            chosen = select(((entry.platform, at) for at, entry in enumerate(parsed.manifests)), platform)
        except NoSuchPlatform as error:
            raise GitopsdError("no-such-platform", str(error)) from None
        return Found(parsed.manifests[chosen].digest, location)

    def manifest(self, location: str, digest: str) -> tuple[Manifest | Index, bytes]:
        data = self.blob(location, digest).read()
        return parse_manifest(data), data

    def blob(self, location: str, digest: str, offset: int = 0):
        self._answer(location)
        data = self.content.get(f"{location}@{digest}")
        if data is None:
            raise GitopsdError("no-such-image", f"{location} does not have {digest}", next="retry")
        return _Bytes(data[offset:])

    def _answer(self, location: str) -> None:
        registry = location.partition("/")[0]
        if registry in self.silent:
            raise GitopsdError("registry-unreachable", f"{registry} does not answer: Connection refused", next="retry")


class _Bytes(io.BytesIO):
    @property
    def size(self) -> int:
        return len(self.getbuffer())
