"""Fetch an image's manifest and blobs from a registry into the store.

In: clients to try in order, a reference, a platform.  Out: what was fetched; every byte of it checked.

Rule 1: blobs are fetched in parallel, go on where an earlier pull broke off, and what is there is not fetched again.
Rule 2: of an index one manifest is taken, by platform; the index is kept too, since its digest names the image as well.
Rule 3: a mirror is asked first; where it does not have the image, or is not there, the registry itself is.

Not here: unpacking, names (images.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.content.blobs import Blobs, Lease
from gitopsd.engine.images.config import parse_strictly
from gitopsd.engine.images.progress import Teller
from gitopsd.engine.registry.client import Client, RegistryError, in_parallel
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import (
    LARGEST_CONFIG,
    Descriptor,
    ImageConfig,
    Index,
    InvalidManifest,
    Manifest,
    compression,
    parse_manifest,
)
from gitopsd.oci.platform import NoSuchPlatform, Platform, runs_on, select
from gitopsd.oci.reference import Reference


@dataclass(frozen=True)
class Fetched:
    """An image in the store. `named` is the digest the registry gave for the reference: of an index, or the manifest's own."""

    digest: Digest
    named: Digest
    manifest: Manifest
    config: ImageConfig


def fetch(
    clients: Sequence[Client],
    reference: Reference,
    platform: Platform,
    is_asked: bool,
    blobs: Blobs,
    lease: Lease,
    teller: Teller,
) -> Fetched:
    """Everything of the image. `is_asked`: whether somebody named the platform, so that another one will not do."""
    failures: list[RegistryError] = []
    for client in clients:
        try:
            data, kind, named = client.manifest(reference.repository, reference.target)
        except RegistryError as error:
            failures.append(error)
            continue
        teller.say(f"Pulling from {reference.repository}", reference.target)
        try:
            return _fetch_from(client, reference, data, kind, named, platform, is_asked, blobs, lease, teller)
        except InvalidManifest as error:
            raise ApiError(500, f"pull {reference.familiar}: {error}") from None
    raise _no_image(reference, failures)


def _fetch_from(
    client: Client,
    reference: Reference,
    data: bytes,
    kind: str,
    named: Digest,
    platform: Platform,
    is_asked: bool,
    blobs: Blobs,
    lease: Lease,
    teller: Teller,
) -> Fetched:
    digest = named
    manifest = parse_manifest(data, kind)
    lease.keep(blobs.put(data))
    if isinstance(manifest, Index):
        try:
            chosen = select([(entry.platform, at) for at, entry in enumerate(manifest.manifests)], platform)
        except NoSuchPlatform as error:
            raise ApiError(404, f"pull {reference.familiar}: {error}") from None
        entry = manifest.manifests[chosen]
        data, kind, digest = client.manifest(reference.repository, entry.digest)
        manifest = parse_manifest(data, kind)
        if isinstance(manifest, Index) or len(data) != entry.size:
            raise InvalidManifest(f"manifest {entry.digest} is not what the index says")
        lease.keep(blobs.put(data))
    for layer in manifest.layers:
        compression(layer.media_type)  # before anything is fetched: is it a layer?
    if manifest.config.size > LARGEST_CONFIG:
        raise InvalidManifest(f"an image config of {manifest.config.size} bytes")
    _fetch_blob(client, reference, manifest.config, blobs, lease, None)
    config = parse_strictly(blobs.read(manifest.config.digest, LARGEST_CONFIG), manifest)
    if is_asked and runs_on(config.platform, platform) is None:
        raise ApiError(404, f"pull {reference.familiar}: the image is for {config.platform}, not for {platform}")
    unique = list({layer.digest: layer for layer in manifest.layers}.values())
    for layer in unique:
        if not lease.keep(layer.digest):
            teller.say("Pulling fs layer", layer.digest.short)
    in_parallel([partial(_fetch_blob, client, reference, layer, blobs, lease, teller) for layer in unique])
    return Fetched(digest, named, manifest, config)


def _fetch_blob(
    client: Client, reference: Reference, blob: Descriptor, blobs: Blobs, lease: Lease, teller: Optional[Teller]
) -> None:
    short = blob.digest.short
    if lease.keep(blob.digest):
        return

    def progress(current: int) -> None:
        if teller:
            teller.show("Downloading", short, current, blob.size)

    with blobs.ingest(blob.digest, blob.size) as ingest:  # waits while another pull fetches it
        if not lease.keep(blob.digest):
            client.download(reference.repository, blob.digest, ingest, progress)
            lease.keep(blob.digest)
    if teller:
        teller.say("Verifying Checksum", short)
        teller.say("Download complete", short)


def _no_image(reference: Reference, failures: list[RegistryError]) -> ApiError:
    """Docker's words where all say that it is not there; else what each said."""
    if failures and all(error.status == 404 for error in failures):
        return ApiError(
            404,
            f"manifest for {reference.familiar} not found: manifest unknown: {'; '.join(error.message for error in failures)}",
        )
    status = 404 if any(error.status in (401, 403) for error in failures) else 500
    denied = (
        f"pull access denied for {reference.familiar_name}, repository does not exist or may require 'docker login': "
        if status == 404
        else ""
    )
    return ApiError(status, denied + "; ".join(error.message for error in failures))
