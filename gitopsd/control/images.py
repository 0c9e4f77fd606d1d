"""Images for `apply`, out of registries."""

from __future__ import annotations

from collections.abc import Iterator

from gitopsd.apply import Blob, Parts
from gitopsd.model.desired import ImageChoice
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.oci.manifest import Index
from gitopsd.registries import Registries

_PIECE = 1 << 20


class RegistryImages:
    def __init__(self, registries: Registries, address: str) -> None:
        """`address` is that of the fleet's own registry."""
        self._registries = registries
        self._address = address

    def parts(self, image: ImageChoice, repository: str) -> Parts:
        assert image.digest is not None
        location = f"{self._address}/{repository}" if repository else self._registries.locate(image.reference)
        manifest, data = self._registries.manifest(location, image.digest)
        if isinstance(manifest, Index):
            raise GitopsdError("bad-manifest", f"{image.digest} is an index of several platforms", Where(object=image.reference))
        blobs = dict.fromkeys(Blob(blob.digest, blob.size) for blob in manifest.blobs)
        digest = image.digest

        def opened(wanted: str, offset: int) -> Iterator[bytes]:
            if wanted == digest:
                yield data[offset:]
                return
            with self._registries.blob(location, wanted, offset) as reader:
                while piece := reader.read(_PIECE):
                    yield piece

        return Parts(digest, (*blobs, Blob(digest, len(data))), opened)
