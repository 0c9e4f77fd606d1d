"""The embedded registry while it does not run: its folder, read (docs/state.md, "The registry's folder").

In: other registries, the address of the embedded one, its data root.  Out: `Registries` that start nothing and give the same answers.

Rule: only names are looked up here. A manifest is taken only as the bytes of its digest, as over HTTP.
"""

from __future__ import annotations

from pathlib import Path

from gitopsd.model.errors import GitopsdError, Where
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import LARGEST_MANIFEST, Index, InvalidManifest, Manifest, parse_manifest
from gitopsd.oci.platform import NoSuchPlatform, Platform, select
from gitopsd.oci.reference import parse_reference
from gitopsd.registries.registry import BlobReader, Found, Registries


class StoredRegistries:
    def __init__(self, others: Registries, address: str, data_root: Path) -> None:
        self._others = others
        self._address = address
        self._data_root = data_root

    def locate(self, reference: str) -> str:
        return self._others.locate(reference)

    def resolve(self, reference: str, platform: Platform) -> Found | None:
        location = self.locate(reference)
        registry, _, repository = location.partition("/")
        if registry != self._address:
            return self._others.resolve(reference, platform)
        folder = self._data_root / "registry" / "repositories" / repository
        try:
            found = self._read(folder, parse_reference(reference).target)
            if found is None:
                return None
            digest, manifest = found
            if isinstance(manifest, Index):
                entries = enumerate(manifest.manifests)
                digest = manifest.manifests[select(((entry.platform, at) for at, entry in entries), platform)].digest
        except NoSuchPlatform as error:
            raise GitopsdError("no-such-platform", str(error), Where(object=reference)) from None
        except (OSError, ValueError) as error:
            raise GitopsdError("bad-manifest", f"the registry's folder {folder}: {error}", Where(object=location)) from None
        return Found(digest, location)

    def manifest(self, location: str, digest: str) -> tuple[Manifest | Index, bytes]:
        return self._others.manifest(location, digest)

    def blob(self, location: str, digest: str, offset: int = 0) -> BlobReader:
        return self._others.blob(location, digest, offset)

    def _read(self, folder: Path, target: str) -> tuple[Digest, Manifest | Index] | None:
        try:
            name = target if ":" in target else (folder / "_tags" / target / "manifest").read_text().strip()
            digest = Digest(name)
            media_type = (folder / "_manifests" / digest.hex).read_text().strip()
            with (self._data_root / "blobs" / "sha256" / digest.hex).open("rb") as file:
                data = file.read(LARGEST_MANIFEST + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if Digest.of(data) != digest:
            raise InvalidManifest(f"other bytes for {digest}")
        return digest, parse_manifest(data, media_type)
