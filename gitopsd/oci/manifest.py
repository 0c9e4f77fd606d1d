"""Manifests, indexes and image configs: OCI's and Docker's schema 2.  [pure]

In: bytes from a stranger.  Out: frozen values, or `InvalidManifest` with the field that was wrong. And the bytes of new ones.

Rule 1: a document is either a manifest or an index, and says the same as the Content-Type it came with (CVE-2021-41190).
Rule 2: nobody computes with bytes that were not parsed here; digests are `Digest`s, sizes are not negative.
Rule 3: the bytes of a manifest are what its digest names, so they are kept and passed on, never made anew.

Schema 1 has no config to verify layers against and is refused. Not here: platforms (platform.py), fetching.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union, cast

from gitopsd.oci.digest import Digest, InvalidDigest
from gitopsd.oci.platform import Platform, normalise

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES = (OCI_INDEX, DOCKER_INDEX)
ACCEPT = (*MANIFEST_TYPES, *INDEX_TYPES)
_CONFIG_TYPES = (OCI_CONFIG, DOCKER_CONFIG)
_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1"
_UNSAID = ("", "application/json", "application/octet-stream", "text/plain")

# The distribution specification asks registries to take manifests of 4 MiB.
LARGEST_MANIFEST = 4 * 1024 * 1024
LARGEST_CONFIG = 8 * 1024 * 1024
MOST_LAYERS = 500  # what the kernel's overlay takes
_MOST_ENTRIES = 4096
_LARGEST_BLOB = 1 << 48

_COMPRESSION: dict[str, str] = {}
for _base in (OCI_LAYER, "application/vnd.oci.image.layer.nondistributable.v1.tar"):
    _COMPRESSION.update({_base: "", _base + "+gzip": "gzip", _base + "+zstd": "zstd"})
for _base in (DOCKER_LAYER, "application/vnd.docker.image.rootfs.foreign.diff.tar"):
    _COMPRESSION.update({_base: "", _base + ".gzip": "gzip", _base + ".zstd": "zstd"})


class InvalidManifest(ValueError):  # noqa: N818
    """A document that is no manifest, index or config that is understood here."""


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says of a blob or of another manifest."""

    media_type: str
    digest: Digest
    size: int
    platform: Optional[Platform] = None
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    artifact_type: str = ""

    def to_json(self) -> dict[str, Any]:
        """The descriptor as manifests spell it."""
        data: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.platform:
            data["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.variant:
                data["platform"]["variant"] = self.platform.variant
        if self.artifact_type:
            data["artifactType"] = self.artifact_type
        if self.annotations:
            data["annotations"] = dict(self.annotations)
        return data


@dataclass(frozen=True)
class Manifest:
    """One image (or artifact): a config and its layers, bottom first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Optional[Descriptor] = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Everything it needs besides itself."""
        return (self.config, *self.layers)

    @property
    def kind(self) -> str:
        """What it calls itself: its artifact type, else its config's media type (distribution spec, referrers)."""
        return self.artifact_type or self.config.media_type


@dataclass(frozen=True)
class Index:
    """Several manifests under one name, one for each platform."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    subject: Optional[Descriptor] = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def kind(self) -> str:
        return self.artifact_type


@dataclass(frozen=True)
class ImageConfig:
    """An image's config: `document` is all of it, the rest is what is needed to unpack and choose it."""

    platform: Platform
    diff_ids: tuple[Digest, ...]
    document: Mapping[str, Any]

    @property
    def settings(self) -> Mapping[str, Any]:
        """The part a container starts from: Env, Cmd, Entrypoint, …"""
        return cast("Mapping[str, Any]", self.document.get("config") or {})


def parse_manifest(data: bytes, content_type: Optional[str] = None) -> Union[Manifest, Index]:
    """The manifest or index that these bytes are, which came with this Content-Type."""
    said = (content_type or "").split(";")[0].strip().lower()
    said = "" if said in _UNSAID else said
    document = load_object(data, LARGEST_MANIFEST, "manifest")
    media_type = _text(document, "mediaType")
    for stated in (said, media_type):
        if stated.startswith(_SCHEMA1):
            raise InvalidManifest(
                "a schema 1 manifest, which Docker deprecated in 2019, is not supported: push the image again with a newer client"
            )
    if document.get("schemaVersion") == 1 or "fsLayers" in document:
        raise InvalidManifest(
            "a schema 1 manifest, which Docker deprecated in 2019, is not supported: push the image again with a newer client"
        )
    if document.get("schemaVersion") != 2:
        raise InvalidManifest(f"schemaVersion is {document.get('schemaVersion')!r}, expected 2")
    is_index, is_manifest = "manifests" in document, "layers" in document or "config" in document
    if is_index and is_manifest:
        raise InvalidManifest("a document that is both manifest and index is refused: it has manifests beside config or layers")
    if not is_index and not is_manifest:
        raise InvalidManifest("neither a manifest nor an index: it has no config, no layers and no manifests")
    allowed = INDEX_TYPES if is_index else MANIFEST_TYPES
    if media_type and said and media_type != said:
        raise InvalidManifest(f"mediaType is {media_type}, but it came as {said}")
    stated = media_type or said or allowed[0]
    if stated not in allowed:
        raise InvalidManifest(f"mediaType is {stated}, but its form is that of {'an index' if is_index else 'a manifest'}")
    subject = _descriptor(document["subject"], "subject") if document.get("subject") is not None else None
    artifact_type, annotations = _text(document, "artifactType"), _annotations(document, "annotations")
    if is_index:
        manifests = _descriptors(document, "manifests", _MOST_ENTRIES)
        return Index(stated, manifests, subject, artifact_type, annotations)
    config = _descriptor(document.get("config"), "config")
    layers = _descriptors(document, "layers", _MOST_ENTRIES)
    return Manifest(stated, config, layers, subject, artifact_type, annotations)


def parse_config(data: bytes, manifest: Optional[Manifest] = None) -> ImageConfig:
    """An image's config, checked against the manifest that names it."""
    document = load_object(data, LARGEST_CONFIG, "image config")
    if manifest and manifest.config.media_type not in _CONFIG_TYPES:
        raise InvalidManifest(f"not an image: its config is a {manifest.config.media_type}")
    platform = normalise(_text(document, "os") or "linux", _text(document, "architecture"), _text(document, "variant"))
    if not platform.architecture:
        raise InvalidManifest("image config: architecture is missing")
    rootfs: Any = document.get("rootfs")
    if not isinstance(rootfs, dict) or cast("dict[str, Any]", rootfs).get("type") != "layers":
        raise InvalidManifest("image config: rootfs.type is not layers")
    listed: Any = cast("dict[str, Any]", rootfs).get("diff_ids") or []
    if not isinstance(listed, list) or len(cast("list[Any]", listed)) > MOST_LAYERS:
        raise InvalidManifest(f"image config: rootfs.diff_ids is no list of at most {MOST_LAYERS}")
    diff_ids = tuple(_digest(item, "image config: rootfs.diff_ids") for item in cast("list[Any]", listed))
    if manifest and len(diff_ids) != len(manifest.layers):
        raise InvalidManifest(f"image config has {len(diff_ids)} diff_ids, its manifest {len(manifest.layers)} layers")
    for name in ("config", "history"):
        value: Any = document.get(name)
        if value is not None and not isinstance(value, dict if name == "config" else list):
            raise InvalidManifest(f"image config: {name} has the wrong form")
    return ImageConfig(platform, diff_ids, document)


def compression(media_type: str) -> str:
    """How a layer of this media type is compressed: empty for not at all, `gzip`, `zstd`."""
    try:
        return _COMPRESSION[media_type]
    except KeyError:
        raise InvalidManifest(f"not a layer that can be unpacked: {media_type[:200]}") from None


def is_layer(media_type: str) -> bool:
    """Whether a blob of this type is a filesystem layer."""
    return media_type in _COMPRESSION


def chain_ids(diff_ids: Sequence[Digest]) -> list[Digest]:
    """The names of each layer together with all below it, bottom first (image spec, ChainID)."""
    chains: list[Digest] = []
    for diff_id in diff_ids:
        chains.append(Digest.from_hex(hashlib.sha256(f"{chains[-1]} {diff_id}".encode()).hexdigest()) if chains else diff_id)
    return chains


def render_manifest(config: Descriptor, layers: Sequence[Descriptor], annotations: Optional[Mapping[str, str]] = None) -> bytes:
    """The bytes of a new OCI manifest; the same for the same arguments."""
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    document.update({"config": config.to_json(), "layers": [layer.to_json() for layer in layers]})
    if annotations:
        document["annotations"] = dict(annotations)
    return render(document)


def render_index(manifests: Sequence[Descriptor], annotations: Optional[Mapping[str, str]] = None) -> bytes:
    """The bytes of a new OCI index."""
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry.to_json() for entry in manifests]}
    if annotations:
        document["annotations"] = dict(annotations)
    return render(document)


def render(document: Mapping[str, Any]) -> bytes:
    """JSON in the one form in which this project writes documents that are named by their digest."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def load_object(data: bytes, largest: int, what: str) -> dict[str, Any]:
    """A JSON object without repeated keys, of which two readers could see different ones."""
    if len(data) > largest:
        raise InvalidManifest(f"{what} of {len(data)} bytes is larger than {largest}")
    try:
        value: Any = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidManifest):
            raise
        raise InvalidManifest(f"{what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidManifest(f"{what} is not a JSON object")
    return cast("dict[str, Any]", value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        names = [name for name, _ in pairs]
        raise InvalidManifest(f"key {next(name for name in names if names.count(name) > 1)[:100]!r} stands twice in one object")
    return document


def _no_constant(name: str) -> Any:
    raise InvalidManifest(f"{name} is not JSON")


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 255 or not value.isprintable():
        raise InvalidManifest(f"{name} is not a short text")
    return value


def _annotations(document: Mapping[str, Any], where: str) -> Mapping[str, str]:
    value: Any = document.get("annotations")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in cast("dict[str, Any]", value).values()):
        raise InvalidManifest(f"{where} is not an object of texts")
    return cast("dict[str, str]", value)


def _digest(value: Any, where: str) -> Digest:
    try:
        return Digest(value if isinstance(value, str) else repr(value))
    except InvalidDigest as error:
        raise InvalidManifest(f"{where}: {error}") from None


def _descriptors(document: Mapping[str, Any], name: str, most: int) -> tuple[Descriptor, ...]:
    value: Any = document.get(name)
    if value is None and name == "manifests":
        value = []  # docker writes null for an empty list
    if not isinstance(value, list) or len(cast("list[Any]", value)) > most:
        raise InvalidManifest(f"{name} is not a list of at most {most}")
    return tuple(_descriptor(item, f"{name}[{at}]") for at, item in enumerate(cast("list[Any]", value)))


def _descriptor(value: Any, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise InvalidManifest(f"{where} is not an object")
    document = cast("dict[str, Any]", value)
    media_type, size = _text(document, "mediaType"), document.get("size")
    if not media_type:
        raise InvalidManifest(f"{where}: mediaType is missing")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST_BLOB:
        raise InvalidManifest(f"{where}: size {size!r} is not a number from 0 to {_LARGEST_BLOB}")
    platform = None
    if document.get("platform") is not None:
        said: Any = document["platform"]
        if not isinstance(said, dict):
            raise InvalidManifest(f"{where}: platform is not an object")
        names = cast("dict[str, Any]", said)
        platform = normalise(_text(names, "os"), _text(names, "architecture"), _text(names, "variant"))
    digest = _digest(document.get("digest"), f"{where}.digest")
    annotations = _annotations(document, f"{where}.annotations")
    return Descriptor(media_type, digest, size, platform, annotations, _text(document, "artifactType"))
