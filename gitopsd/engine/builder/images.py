"""The engine's images, as one build sees them.

In: the image store, a lease that lasts as long as the build.  Out: bases, layers, and at the end an image.

Rule 1: what a build has used stays until it ends: blobs by the lease, unpacked layers while something is mounted on them.
Rule 2: a layer is there when its blob is: unpacked it is made again from that, so a cached step need not be unpacked at all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Optional

from gitopsd.dockerapi import imageconfig
from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.needs import Emit
from gitopsd.engine.content.blobs import Lease
from gitopsd.engine.images.images import Image, Images
from gitopsd.engine.registry.client import Credentials
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import OCI_LAYER, Descriptor, compression
from gitopsd.oci.platform import runs_on
from gitopsd.oci.reference import parse_reference


@dataclass(frozen=True)
class Layer:
    """One layer of an image: the digest of its tar, and the blob that holds it."""

    diff_id: Digest
    blob: Descriptor


@dataclass(frozen=True)
class BaseImage:
    """An image to start from, its layers the lowest first."""

    id: str
    digest: str
    document: Mapping[str, Any]
    """The image config document."""
    layers: tuple[Layer, ...]

    @property
    def config(self) -> dict[str, Any]:
        """What a container of it is made with."""
        return self.document.get("config") or {}

    @property
    def history(self) -> list[Mapping[str, Any]]:
        return self.document.get("history") or []


class BuildImages:
    """Safe in threads."""

    def __init__(self, images: Images, lease: Lease, credentials: Mapping[str, Credentials]) -> None:
        """`credentials` by registry, for bases that have to be pulled."""
        self._images = images
        self._lease = lease
        self._credentials = credentials
        self._lock = threading.Lock()
        self.layers_root = images.layer_store.folder

    def find(self, reference: str) -> Optional[BaseImage]:
        """The image of that name that is here. `name@sha256:…` only if it is that one."""
        found = self._images.lookup(reference)
        return self._base(found, reference) if found else None

    def pull(self, reference: str, emit: Emit) -> BaseImage:
        """Fetch it, reporting progress in the pull stream's form."""
        credentials = self._credentials.get(parse_reference(reference).registry)
        return self._base(self._images.pull(reference, emit, credentials=credentials), reference)

    def has(self, layers: Sequence[Layer]) -> bool:
        """Whether all of these are here; they stay until the build ends."""
        with self._lock:
            return all(self._lease.keep(layer.blob.digest) for layer in layers)

    @contextmanager
    def mounted(self, layers: Sequence[Layer]) -> Generator[list[str], None, None]:
        """Their folders below `layers_root`, the highest first, as overlay takes them; they stay for as long as this is open."""
        diff_ids = [layer.diff_id for layer in layers]
        with self._images.layer_store.hold(diff_ids):
            self._images.unpack(diff_ids, [layer.blob for layer in layers])
            yield self._images.layer_store.shorts(diff_ids)

    def add_layer(self, below: Sequence[Layer], upper: str, epoch: Optional[int]) -> Optional[Layer]:
        """Make a layer of an overlay's upper folder; None if that is empty. No time in it is later than `epoch`, in seconds."""
        if not os.listdir(upper):
            return None
        with Lease(self._images.blobs) as lease:
            layer = Layer(*self._images.add_layer([layer.diff_id for layer in below], upper, epoch, lease))
            self.has([layer])
        return layer

    def add_image(self, layers: Sequence[Layer], config: bytes, names: Sequence[str]) -> Image:
        """Make an image of layers that are here, and give it these names."""
        return self._images.commit(config, [layer.blob for layer in layers], names, self._lease)

    def _base(self, image: Image, reference: str) -> BaseImage:
        if runs_on(image.parsed.platform, self._images.platform) is None:
            raise BuildError(f"{reference} is for {image.parsed.platform}, expected {self._images.platform}")
        try:
            imageconfig.check(image.document)
        except imageconfig.InvalidImage as error:
            raise BuildError(f"{reference}: image config: {error}") from None
        blobs = [_as_oci(blob) for blob in image.manifest.layers]
        layers = tuple(Layer(diff_id, blob) for diff_id, blob in zip(image.parsed.diff_ids, blobs))
        if not self.has(layers):
            raise BuildError(f"{reference}: blobs of its layers are missing, pull or load it again", 500)
        return BaseImage(image.id, image.digest, image.document, layers)


def _as_oci(blob: Descriptor) -> Descriptor:
    """The same layer by OCI's word for it: a manifest has the words of one specification only."""
    kind = compression(blob.media_type)
    return Descriptor(f"{OCI_LAYER}+{kind}" if kind else OCI_LAYER, blob.digest, blob.size)
