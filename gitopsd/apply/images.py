"""Bring an image to a host, blob by blob.

In: an image's manifest digest and where its blobs are.  Out: the host has the image under its name; what it had already does not travel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from gitopsd.hosts.bodies import image_name
from gitopsd.hosts.engineapi import EngineApi, Held
from gitopsd.model.desired import ImageChoice
from gitopsd.model.errors import GitopsdError


@dataclass(frozen=True)
class Blob:
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Parts:
    """What an image consists of: its manifest, its config and its layers, all of them blobs."""

    manifest: str
    blobs: tuple[Blob, ...]
    """The manifest last, so that a host that has it has everything it names."""
    open: Callable[[str, int], Iterable[bytes]]
    """The bytes of a blob from an offset on."""


class ImageSource(Protocol):
    """Where images come from: a registry, mirrors considered."""

    def parts(self, image: ImageChoice, repository: str) -> Parts:
        """`image.digest` is known. `repository`: of the fleet's own registry, for what is built here; empty: where the image's name says.

        Raises GitopsdError when nobody has it."""
        ...


Progress = Callable[[str], None]
"""Told one clause at a time, for people."""


def send_image(
    engine: EngineApi,
    source: ImageSource,
    image: ImageChoice,
    repository: str,
    lease: Held | None,
    progress: Progress,
    ending: threading.Event,
) -> str:
    """Send what is missing, then name it. The image's id on the host. `interrupted` when it is to end: what was sent is not sent again."""
    parts = source.parts(image, repository)
    missing = set(engine.blobs_missing([blob.digest for blob in parts.blobs]).digests)
    left = sum(blob.size_bytes for blob in parts.blobs if blob.digest in missing)
    if left:
        progress(f"sending {left / 1e6:.1f} MB, {len(missing)} of {len(parts.blobs)} blobs")
    for blob in parts.blobs:
        if blob.digest in missing:
            engine.send_blob(blob.digest, blob.size_bytes, _opener(parts, blob.digest, ending), lease)
    name = image_name(image).split("@", 1)[0]
    return engine.put_image(parts.manifest, [name], lease)


def _opener(parts: Parts, digest: str, ending: threading.Event) -> Callable[[int], Iterable[bytes]]:
    def opened(offset: int) -> Iterable[bytes]:
        for piece in parts.open(digest, offset):
            if ending.is_set():
                raise GitopsdError("interrupted", "told to end while an image was being sent", next="retry")
            yield piece

    return opened
