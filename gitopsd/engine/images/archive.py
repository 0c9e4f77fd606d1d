"""Images as files: what `docker save` and OCI layouts are made of, read and written.

In (load): a descriptor of a regular file.  Out: manifests and blobs in the store, the names the archive gives them.

Rule 1: a worker reads the archive and says where its members are; the daemon copies them from there and never parses tar.
Rule 2: an archive of Docker's older form, which has no manifest, becomes an OCI manifest over its layers as they are: the same
archive gives the same digest everywhere.
Rule 3: of a name in an archive only a whole reference is taken (CVE-2026-50195: imported metadata must not retag at will).

Not here: unpacking, recording (images.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional, cast

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.content.blobs import Blobs, Lease
from gitopsd.engine.images.config import parse_strictly
from gitopsd.engine.images.extract import clean
from gitopsd.engine.images.stream import PIECE, BadArchive, Stream, sniff
from gitopsd.engine.images.tar.entry import DIRECTORY, FILE, LINK, SYMLINK, Entry
from gitopsd.engine.images.tar.reader import Reader
from gitopsd.engine.images.tar.writer import Writer
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import (
    LARGEST_CONFIG,
    LARGEST_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    Descriptor,
    Index,
    InvalidManifest,
    Manifest,
    parse_manifest,
    render,
    render_manifest,
)
from gitopsd.oci.platform import NoSuchPlatform, Platform, select
from gitopsd.oci.reference import InvalidReference, Reference, parse_reference

JOB = "gitopsd.engine.images.archive:index_archive"
_MOST_MEMBERS = 20_000
_LARGEST_LIST = 4 << 20
_NAME = "io.containerd.image.name"
_REF = "org.opencontainers.image.ref.name"
_MEDIA = {"": OCI_LAYER, "gzip": OCI_LAYER + "+gzip", "zstd": OCI_LAYER + "+zstd"}
Place = tuple[int, int]  # offset, size


@dataclass(frozen=True)
class Loaded:
    """An image of an archive, in the store."""

    digest: Digest
    manifest: Manifest
    names: tuple[str, ...]


def index_archive(arguments: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    """The worker's job: where in the file each member lies. `descriptors`: the archive, room for what is inside its compression."""
    source, scratch = descriptors
    compression = sniff(os.pread(source, 8, 0))
    where = "archive"
    stream = Stream(source, compression)
    try:
        if compression:
            where = "scratch"
            read = _teeing(stream.read, scratch)
        else:
            read = stream.read
        members: dict[str, Place] = {}
        links: dict[str, str] = {}
        reader = Reader(read)
        for entry in reader:
            name = clean(entry.name)
            if entry.kind == FILE and entry.sparse is None:
                members[name] = (reader.position, entry.size)
                links.pop(name, None)
            elif entry.kind == LINK:
                links[name] = clean(entry.target)
            elif entry.kind == SYMLINK:
                links[name] = clean(os.path.join(os.path.dirname(name), entry.target))
            if len(members) + len(links) > _MOST_MEMBERS:
                raise BadArchive(f"more than {_MOST_MEMBERS} members are no image")
        stream.finish()
    except BadArchive as error:
        raise ApiError(400, f"load: {error}") from None
    finally:
        stream.close()
    members.update({name: members[target] for name, target in links.items() if target in members})
    return {"where": where, "members": members}


class Archive:
    """Reads an archive by the places of its members."""

    def __init__(self, descriptor: int, members: Mapping[str, Any]) -> None:
        self._descriptor = descriptor
        self._members: dict[str, Place] = {name: (place[0], place[1]) for name, place in members.items()}

    def has(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str, most: int) -> bytes:
        offset, size = self._place(name)
        if size > most:
            raise ApiError(400, f"load: {name} of {size} bytes is larger than {most}")
        return b"".join(self._pieces(offset, size))

    def compression(self, name: str) -> str:
        offset, size = self._place(name)
        return sniff(os.pread(self._descriptor, min(8, size), offset))

    def store(self, name: str, blobs: Blobs, lease: Lease, digest: Optional[Digest] = None) -> tuple[Digest, int]:
        """Make the member a blob, of this digest if one is known."""
        offset, size = self._place(name)
        if digest is not None and lease.keep(digest):
            return digest, size
        with blobs.ingest(digest, size) if digest else blobs.ingest_unnamed() as ingest:
            if digest is not None and lease.keep(digest):
                return digest, size
            for piece in self._pieces(offset + ingest.offset, size - ingest.offset):
                ingest.write(piece)
            found = ingest.commit()
        lease.keep(found)
        return found, size

    def _place(self, name: str) -> Place:
        try:
            return self._members[name]
        except KeyError:
            raise ApiError(400, f"load: the archive has no {name!r}") from None

    def _pieces(self, offset: int, size: int) -> Iterator[bytes]:
        while size:
            piece = os.pread(self._descriptor, min(PIECE, size), offset)
            if not piece:
                raise ApiError(400, "load: the archive is shorter than it was")
            yield piece
            offset, size = offset + len(piece), size - len(piece)


def load(archive: Archive, platform: Platform, blobs: Blobs, lease: Lease) -> list[Loaded]:
    """All images of an archive for this platform."""
    try:
        if archive.has("oci-layout") and archive.has("index.json"):
            return _load_layout(archive, platform, blobs, lease)
        if archive.has("manifest.json"):
            return _load_docker(archive, blobs, lease)
    except (InvalidManifest, ValueError) as error:
        raise ApiError(400, f"load: {error}") from None
    raise ApiError(400, "load: the archive has neither manifest.json (docker save) nor oci-layout and index.json (OCI layout)")


def save(images: Sequence[tuple[Digest, Manifest, Sequence[str]]], blobs: Blobs, write: Callable[[Any], object]) -> None:
    """An archive that is both an OCI layout and what `docker load` of any age takes. `images`: digest, manifest, references."""
    writer = Writer(write)
    written: set[str] = set()

    def add(name: str, data: bytes) -> None:
        writer.add(Entry(name, FILE, size=len(data)), [data])

    def add_blob(digest: Digest) -> None:
        if digest not in written:
            written.add(digest)
            with blobs.open(digest) as file:
                writer.add(
                    Entry(f"blobs/sha256/{digest.hex}", FILE, size=blobs.size(digest)), iter(lambda: file.read(PIECE), b"")
                )

    writer.add(Entry("blobs", DIRECTORY, 0o755))
    writer.add(Entry("blobs/sha256", DIRECTORY, 0o755))
    listed: list[dict[str, Any]] = []
    dockers: list[dict[str, Any]] = []
    for digest, manifest, names in images:
        for blob in (*manifest.layers, manifest.config):
            add_blob(blob.digest)
        add_blob(digest)
        size = blobs.size(digest)
        references = [parse_reference(name) for name in names]
        for reference in references or [None]:
            said = {_NAME: str(reference), _REF: reference.tag or ""} if reference else {}
            listed.append(Descriptor(manifest.media_type, digest, size, annotations=said).to_json())
        dockers.append(
            {
                "Config": f"blobs/sha256/{manifest.config.digest.hex}",
                "RepoTags": [reference.familiar for reference in references] or None,
                "Layers": [f"blobs/sha256/{layer.digest.hex}" for layer in manifest.layers],
            }
        )
    add("index.json", render({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": listed}))
    add("manifest.json", json.dumps(dockers, separators=(",", ":")).encode())
    add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    writer.finish()


def _load_layout(archive: Archive, platform: Platform, blobs: Blobs, lease: Lease) -> list[Loaded]:
    top = parse_manifest(archive.read("index.json", LARGEST_MANIFEST))
    if not isinstance(top, Index):
        raise InvalidManifest("index.json is no index")
    found: dict[Digest, tuple[Manifest, list[str]]] = {}
    for entry in top.manifests:
        digest, manifest = _descend(archive, entry.digest, platform)
        if manifest is None:
            continue
        for blob in manifest.blobs:
            archive.store(_blob_name(blob.digest), blobs, lease, blob.digest)
        archive.store(_blob_name(digest), blobs, lease, digest)
        parse_strictly(blobs.read(manifest.config.digest, LARGEST_CONFIG), manifest)
        names = found.setdefault(digest, (manifest, []))[1]
        names.extend(_whole_names([entry.annotations.get(_NAME, ""), entry.annotations.get(_REF, "")]))
    return [Loaded(digest, manifest, tuple(dict.fromkeys(names))) for digest, (manifest, names) in found.items()]


def _descend(archive: Archive, digest: Digest, platform: Platform, depth: int = 0) -> tuple[Digest, Optional[Manifest]]:
    """The image that an entry of an index means: itself, or of an index the one for this platform. None for what is no image."""
    document = parse_manifest(archive.read(_blob_name(digest), LARGEST_MANIFEST))
    if isinstance(document, Manifest):
        return digest, document if document.config.media_type.endswith(
            ("image.config.v1+json", "container.image.v1+json")
        ) else None
    if depth > 2:
        raise InvalidManifest("indexes inside indexes inside indexes")
    here = [
        entry for entry in document.manifests if archive.has(_blob_name(entry.digest))
    ]  # `docker save` leaves out other platforms
    try:
        chosen = select([(entry.platform, at) for at, entry in enumerate(here)], platform)
    except NoSuchPlatform as error:
        raise InvalidManifest(str(error)) from None
    return _descend(archive, here[chosen].digest, platform, depth + 1)


def _load_docker(archive: Archive, blobs: Blobs, lease: Lease) -> list[Loaded]:
    listed: Any = json.loads(archive.read("manifest.json", _LARGEST_LIST))
    if not isinstance(listed, list):
        raise InvalidManifest("manifest.json is no list")
    loaded: list[Loaded] = []
    for item in cast("list[Any]", listed):
        if not isinstance(item, dict):
            raise InvalidManifest("manifest.json: an entry is no object")
        entry = cast("dict[str, Any]", item)
        paths = [clean(str(path)) for path in cast("list[Any]", entry.get("Layers") or [])]
        data = archive.read(clean(str(entry.get("Config"))), LARGEST_CONFIG)
        config = parse_strictly(data)
        if len(paths) != len(config.diff_ids):
            raise InvalidManifest(f"manifest.json lists {len(paths)} layers, the image config {len(config.diff_ids)}")
        layers: list[Descriptor] = []
        for path, diff_id in zip(paths, config.diff_ids):
            compression = archive.compression(path)
            if compression not in _MEDIA:
                raise InvalidManifest(f"layer {path!r} is compressed with {compression}")
            digest, size = archive.store(path, blobs, lease, None if compression else diff_id)
            layers.append(Descriptor(_MEDIA[compression], digest, size))
        lease.keep(blobs.put(data))
        manifest_data = render_manifest(Descriptor(OCI_CONFIG, Digest.of(data), len(data)), layers)
        lease.keep(blobs.put(manifest_data))
        manifest = parse_manifest(manifest_data)
        assert isinstance(manifest, Manifest)
        loaded.append(
            Loaded(Digest.of(manifest_data), manifest, tuple(_whole_names(cast("list[Any]", entry.get("RepoTags") or []))))
        )
    return loaded


def _whole_names(texts: Sequence[Any]) -> list[str]:
    """Those that name a tag in a repository: not a tag alone, not an id."""
    names: list[str] = []
    for text in texts:
        if isinstance(text, str) and ":" in text.rpartition("/")[2] and "@" not in text:
            try:
                reference: Reference = parse_reference(text)
            except (InvalidReference, ValueError):
                continue
            names.append(str(reference))
    return names


def _blob_name(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _teeing(read: Callable[[], bytes], scratch: int) -> Callable[[], bytes]:
    def piece() -> bytes:
        data = read()
        view = memoryview(data)
        while view:
            view = view[os.write(scratch, view) :]
        return data

    return piece
