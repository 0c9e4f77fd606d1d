"""Push an image from the store to a registry: its blobs in parallel, then its manifest as it is, byte for byte.

In: a client, the name to push to.  Out: what was pushed; messages on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from gitopsd.engine.content.blobs import Blobs
from gitopsd.engine.images.progress import Teller
from gitopsd.engine.registry.client import Client, in_parallel
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import LARGEST_MANIFEST, Descriptor, Manifest
from gitopsd.oci.reference import Reference

_DONE = {"exists": "Layer already exists", "pushed": "Pushed"}


def push(
    client: Client,
    reference: Reference,
    digest: Digest,
    manifest: Manifest,
    blobs: Blobs,
    sources: Mapping[Digest, str],
    teller: Teller,
) -> None:
    """`sources`: in which other repository of the same registry a blob may be, so that it is linked and not sent again."""
    repository = reference.repository
    teller.say(f"The push refers to repository [{reference.name}]")
    unique = list({blob.digest: blob for blob in manifest.layers}.values())
    for layer in unique:
        teller.say("Preparing", layer.digest.short)

    def one(blob: Descriptor, is_shown: bool) -> None:
        short, source = blob.digest.short, sources.get(blob.digest, "")

        def progress(current: int) -> None:
            if is_shown:
                teller.show("Pushing", short, current, blob.size)

        done = client.upload(
            repository, blob.digest, blob.size, lambda: blobs.open(blob.digest), "" if source == repository else source, progress
        )
        if is_shown:
            teller.say(_DONE.get(done) or f"Mounted from {source}", short)

    in_parallel([partial(one, layer, True) for layer in unique])
    one(manifest.config, False)
    data = blobs.read(digest, LARGEST_MANIFEST)
    client.put_manifest(repository, reference.target, data, manifest.media_type)
    teller.say(f"{reference.target}: digest: {digest} size: {len(data)}")
    teller.send({"progressDetail": {}, "aux": {"Tag": reference.target, "Digest": digest, "Size": len(data)}})
