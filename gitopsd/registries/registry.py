"""The seam to registries: who answers for a name, and what they say.

What a kind MUST keep (tests/contract/test_registries.py runs over each):

- `resolve` MUST give the digest of the manifest for the platform, never of an index, and None only when the registry said that it has
  no such name. That it did not answer, or refused, MUST be an error: an image that "is not there" gets built or blocks a stack.
- Bytes MUST have been checked against the digest they were asked by before the caller sees them as complete.
- Nothing MUST be asked of any registry but the one that answers for the name: the fleet's mirror if there is one, else itself.
- Names that are no names of images MUST be refused before anybody is asked (`InvalidReference`).
- An error MUST name the registry and never a credential.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

from gitopsd.oci.manifest import Index, Manifest
from gitopsd.oci.platform import Platform


@dataclass(frozen=True)
class Found:
    """A manifest, and `host:port/repository` of the registry that has it."""

    digest: str
    location: str


class BlobReader(Protocol):
    """The bytes of a blob, in a `with`. Read to its end it has been checked."""

    size: int

    def read(self, size: int = -1) -> bytes: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class Registries(Protocol):
    """Registries, asked by the names of images. Raises GitopsdError `registry-unreachable`, `registry-refused`, `bad-manifest`."""

    def locate(self, reference: str) -> str:
        """Where a name's images are, `host:port/repository`; asks nobody."""
        ...

    def resolve(self, reference: str, platform: Platform) -> Found | None:
        """What a tag or digest means now, for a platform."""
        ...

    def manifest(self, location: str, digest: str) -> tuple[Manifest | Index, bytes]:
        """A manifest by its digest, parsed and as it is; `no-such-image` when it is not there."""
        ...

    def blob(self, location: str, digest: str, offset: int = 0) -> BlobReader:
        """The bytes of a blob from `offset` on; with an offset they are not checked here. `no-such-image` when it is not there."""
        ...
