"""The images of this engine: everything the daemon and the builder ask about them.

In: references, ids, digests; blobs from registries, archives and controllers.  Out: images whose layers can be mounted.

Rule 1: an image is recorded when all its blobs are in the store and its layers unpacked, and found from then on.
Rule 2: what an image or a container needs is a root of the collector and stays (roots).
Rule 3: an image's id is its config's digest, as Docker's clients know it; images are equal by their manifest's digest.

All methods block and are safe in threads. Errors are ApiErrors in Docker's words.
"""

from __future__ import annotations

import errno
import functools
import os
import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Optional, TypeVar, cast

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.content.blobs import BlobMissing, Blobs, DigestMismatch, Lease
from gitopsd.engine.content.gc import GRACE_S, Collected, collect
from gitopsd.engine.content.roots import Roots
from gitopsd.engine.images import archive, diff, naming, pull, push, show
from gitopsd.engine.images.config import parse_strictly
from gitopsd.engine.images.layers import Layers, RunWorker, Source
from gitopsd.engine.images.naming import no_such_image
from gitopsd.engine.images.progress import Tell, Teller
from gitopsd.engine.images.receive import BlobWriter
from gitopsd.engine.images.refs import Record, References
from gitopsd.engine.images.registries import Registries
from gitopsd.engine.images.remove import Use, decide
from gitopsd.engine.registry.client import Credentials
from gitopsd.engine.registry.repositories import Repositories
from gitopsd.oci.digest import Digest, InvalidDigest
from gitopsd.oci.manifest import (
    LARGEST_CONFIG,
    LARGEST_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    Descriptor,
    ImageConfig,
    Index,
    InvalidManifest,
    Manifest,
    chain_ids,
    compression,
    parse_config,
    parse_manifest,
    render,
    render_manifest,
)
from gitopsd.oci.platform import Platform, normalise
from gitopsd.oci.reference import InvalidReference, Reference, parse_reference

Method = TypeVar("Method", bound=Callable[..., Any])


def says_when_full(method: Method) -> Method:
    """A full disk is an answer in Docker's words; what came meanwhile has been removed by whoever wrote it."""

    @functools.wraps(method)
    def called(*arguments: Any, **named: Any) -> Any:
        try:
            return method(*arguments, **named)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ApiError(500, f"{method.__name__}: no space left on device") from None
            raise

    return cast("Method", called)


@dataclass(frozen=True)
class Image:
    """An image that is here. `config` is what a container starts from, `document` the whole image config."""

    id: Digest
    digest: Digest
    manifest: Manifest
    parsed: ImageConfig
    record: Record

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.parsed.settings)

    @property
    def platform(self) -> Platform:
        return self.parsed.platform

    @property
    def document(self) -> Mapping[str, Any]:
        return self.parsed.document


class Images:
    """See the module. `used` says which images containers need; `changed` is called after every change of what is here."""

    def __init__(
        self,
        data_root: str,
        run_worker: RunWorker,
        used: Callable[[], Iterable[Use]] = lambda: (),
        changed: Callable[[], None] = lambda: None,
        registries: Optional[Registries] = None,
        machine: str = os.uname().machine,
    ) -> None:
        self.blobs = Blobs(data_root)
        self.layer_store = Layers(data_root, run_worker)
        self._references = References(data_root, changed)
        self._data_root = data_root
        self._partial = os.path.join(data_root, "blobs", "partial")
        self._run_worker, self._used, self._registries = run_worker, used, registries or Registries()
        self.platform = normalise("linux", machine)
        self._using = threading.Lock()
        """Held by whoever decides that an image is in use, or that it is not."""
        self._held: dict[str, Use] = {}
        self._read: dict[Digest, tuple[Manifest, ImageConfig]] = {}

    @property
    def mirrors(self) -> Mapping[str, str]:
        return self._registries.mirrors

    def close(self) -> None:
        self._registries.close()

    # looking up

    def find(self, name: str) -> Image:
        """By reference, `name@digest`, digest, id or the beginning of an id. ApiError 404 in Docker's words."""
        found = naming.find(self._references, name)
        if found is None:
            raise no_such_image(name)
        return self._image(found)

    def lookup(self, name: str) -> Optional[Image]:
        """As `find`, None where there is none."""
        found = naming.find(self._references, name)
        return self._image(found) if found else None

    def layers(self, digest: str) -> list[str]:
        """Short ids of an image's layers, top first; ApiError when they are not unpacked."""
        _, config = self._parsed(Digest(digest))
        try:
            return self.layer_store.shorts(config.diff_ids)
        except KeyError:
            raise ApiError(500, f"image {digest}: its layers are not unpacked, pull or load it again") from None

    def count(self) -> int:
        return len({record.config for record in self._references.records()})

    def summaries(self) -> list[dict[str, Any]]:
        """For `/gitopsd/v1/state`."""
        names = self._references.names()
        return [
            {
                "digest": record.digest,
                "id": record.config,
                "references": sorted(name for name, digest in names.items() if digest == record.digest),
                "size_bytes": record.size_bytes,
                "platform": record.platform,
            }
            for record in self._references.records()
        ]

    def list(self, filters: Optional[Mapping[str, Sequence[str]]] = None) -> list[dict[str, Any]]:
        """`GET /images/json`."""
        return show.listed([self._described(record) for record in self._newest()], filters or {}, self._described_by_name)

    def inspect(self, name: str) -> dict[str, Any]:
        """`GET /images/{name}/json`."""
        image = self.find(name)
        return show.inspected(self._described(image.record), self._graph(image))

    def history(self, name: str) -> list[dict[str, Any]]:
        """`GET /images/{name}/history`."""
        return show.history(self._described(self.find(name).record))

    # names

    def tag(self, source: str, repository: str, tag: str = "") -> None:
        """Give an image another name."""
        image = self.find(source)
        try:
            reference = parse_reference(repository, default_tag=None)
            if reference.digest is not None:
                raise ApiError(400, "refusing to create a tag with a digest reference")
            reference = reference.tagged(tag or reference.tag or "latest")
        except (InvalidReference, InvalidDigest) as error:
            raise ApiError(400, str(error)) from None
        self._references.put(image.record, [str(reference)])

    def remove(self, name: str, force: bool = False, prune: bool = True) -> list[dict[str, str]]:
        """Docker's rmi: a name goes; with the last one, or by id, the image. Conflicts are 409."""
        found = naming.find(self._references, name)
        if found is None or ("@" in name and naming.name_of(self._references, name, found) is None):
            raise no_such_image(name)  # what has that digest by other names is not meant
        with self._using:
            going = decide(self._references, name, found, [*self._used(), *self._held.values()], force)
            _, config = self._parsed(found)
            self._references.remove(going.names, going.images)
        if going.images and prune:
            now = time.monotonic()
            self.layer_store.remove_unneeded(self._needed_chains(), set(chain_ids(config.diff_ids)), now=now)
        return going.answer

    @contextmanager
    def hold(self, digest: str, container: str) -> Generator[list[str], None, None]:
        """The short ids of an image's layers, top first. Meanwhile the image is in use by a container that `used` does not know yet."""
        with self._using:
            try:
                self._references.record(digest)
            except KeyError:
                raise no_such_image(digest) from None
            self._held[container] = Use(container, digest, False)
        try:
            with self.layer_store.hold(self._parsed(Digest(digest))[1].diff_ids):
                yield self.layers(digest)
        finally:
            with self._using:
                del self._held[container]

    # coming in and going out

    @says_when_full
    def pull(self, name: str, tell: Tell, tag: str = "", platform: str = "", credentials: Optional[Credentials] = None) -> Image:
        """Fetch, unpack and name an image. Messages of Docker's stream go to `tell`; ApiError is not among them."""
        reference = naming.reference(name, tag)
        wanted = naming.platform(platform) or self.platform
        teller = Teller(tell)
        before = self.lookup(str(reference))
        clients = self._registries.clients(reference, credentials)
        with self.blobs.lease() as lease:
            got = pull.fetch(clients, reference, wanted, bool(platform), self.blobs, lease, teller)
            names = [str(reference)]
            if reference.digest is None:
                names.append(str(reference.at(got.named)))
            elif reference.tag:  # name:tag@digest gives the digest alone a name, as Docker does
                names = [str(reference.at(reference.digest))]
            image = self._take(got.digest, got.manifest, got.config, names, teller)
        teller.say(f"Digest: {got.named}")
        is_new = before is None or before.digest != image.digest
        teller.say(f"Status: {'Downloaded newer image' if is_new else 'Image is up to date'} for {reference.familiar}")
        return image

    def push(self, name: str, tell: Tell, tag: str = "", credentials: Optional[Credentials] = None) -> Digest:
        """Push what has this name to the registry in it; the digest that it has there."""
        reference = naming.reference(name, tag)
        image = self.lookup(str(reference))
        if image is None:
            raise ApiError(404, f"An image does not exist locally with the tag: {reference.familiar_name}")
        client = self._registries.clients(reference, credentials)[-1]
        with self.blobs.lease() as lease:
            for blob in image.manifest.blobs:
                if not lease.keep(blob.digest):
                    raise ApiError(500, f"push {reference.familiar}: blob {blob.digest} is not in the store")
            push.push(client, reference, image.digest, image.manifest, self.blobs, self._sources(reference), Teller(tell))
        self._references.put(image.record, [str(reference.at(image.digest))])
        return image.digest

    def scratch(self) -> int:
        """A descriptor of an unnamed file on the store's file system, for an archive that is uploaded; the caller closes it."""
        return os.open(self._partial, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)

    @says_when_full
    def load(self, descriptor: int, tell: Tell, platform: str = "") -> list[Image]:
        """Take the images of an archive (`docker save`, OCI layout, compressed or not): a regular file from its beginning."""
        wanted = naming.platform(platform) or self.platform
        scratch = self.scratch()
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            where = self._run_worker(archive.JOB, {}, [descriptor, scratch])
            members = archive.Archive(scratch if where["where"] == "scratch" else descriptor, where["members"])
            images: list[Image] = []
            with self.blobs.lease() as lease:
                for loaded in archive.load(members, wanted, self.blobs, lease):
                    config = parse_strictly(self.blobs.read(loaded.manifest.config.digest, LARGEST_CONFIG), loaded.manifest)
                    images.append(self._take(loaded.digest, loaded.manifest, config, loaded.names, Teller(lambda message: None)))
                    for text in loaded.names:
                        tell({"stream": f"Loaded image: {naming.familiar(text)}\n"})
                    if not loaded.names:
                        tell({"stream": f"Loaded image ID: {images[-1].id}\n"})
            return images
        finally:
            os.close(scratch)

    def save(self, names: Sequence[str], write: Callable[[Any], object]) -> None:
        """Write an archive of these images for `docker load`; the names that are references go along."""
        chosen: dict[Digest, tuple[Digest, Manifest, list[str]]] = {}
        with self.blobs.lease() as lease:
            for name in names:
                image = self.find(name)
                for blob in image.manifest.blobs:
                    if not lease.keep(blob.digest):
                        raise ApiError(500, f"save {name}: blob {blob.digest} is not in the store")
                entry = chosen.setdefault(image.digest, (image.digest, image.manifest, []))
                reference = naming.name_of(self._references, name, image.digest)
                if reference is not None and "@" not in reference:
                    entry[2].append(reference)
            archive.save(list(chosen.values()), self.blobs, write)

    # /gitopsd/v1

    def missing(self, digests: Sequence[str]) -> dict[str, Any]:
        """Which blobs are not here, and how much of them is. Those that are stay for an hour at least."""
        wanted = [naming.digest(text) for text in digests]
        with self.blobs.lease() as lease:
            missing = [digest for digest in wanted if not lease.keep(digest)]
        return {"missing": missing, "partial": self.blobs.partials(missing)}

    def begin_blob(self, digest: str, offset: int = 0, size: int = -1) -> BlobWriter:
        """Take a blob from byte `offset` on, which must be where its partial ends (409 `offset-differs` says where)."""
        return BlobWriter(self.blobs, naming.digest(digest), offset, None if size < 0 else size)

    @says_when_full
    def register(self, manifest: str, references: Sequence[str]) -> Image:
        """Make an image of blobs that are here: check, unpack, name. ApiError 409 `blobs-missing` says which are not."""
        digest = naming.digest(manifest)
        try:
            names = [str(parse_reference(text)) for text in references]
        except (InvalidReference, InvalidDigest) as error:
            raise ApiError(400, str(error)) from None
        with self.blobs.lease() as lease:
            self._keep_all([digest], lease)
            try:
                parsed = parse_manifest(self.blobs.read(digest, LARGEST_MANIFEST))
                if isinstance(parsed, Index):
                    raise ApiError(400, f"make image {digest}: it is an index, name the manifest of one platform")
                self._keep_all([blob.digest for blob in parsed.blobs], lease)
                for blob in parsed.blobs:
                    if self.blobs.size(blob.digest) != blob.size:
                        raise InvalidManifest(
                            f"blob {blob.digest} has {self.blobs.size(blob.digest)} bytes, the manifest says {blob.size}"
                        )
                config = parse_strictly(self.blobs.read(parsed.config.digest, LARGEST_CONFIG), parsed)
                return self._take(digest, parsed, config, names, Teller(lambda message: None))
            except (InvalidManifest, DigestMismatch) as error:
                raise ApiError(400, f"make image {digest}: {error}") from None

    # for the builder

    @says_when_full
    def add_layer(self, below: Sequence[Digest], upper: str, epoch: Optional[int], lease: Lease) -> tuple[Digest, Descriptor]:
        """Make a layer of an overlay's upper folder, above the layers with these diff ids, which are unpacked.

        The folder lies on the data root's file system, is mounted no more, and may be the layer's own from then on. No time in it
        is later than `epoch`, in seconds. The layer's diff id, and its blob, which `lease` holds.
        """
        made: dict[str, Any] = {}
        descriptor = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with self.blobs.ingest_unnamed() as ingest:
                ingest.fill(lambda out: made.update(self._run_worker(diff.JOB, {"epoch": epoch}, [descriptor, out])))
                size = ingest.offset
                digest = ingest.commit()
        finally:
            os.close(descriptor)
        lease.keep(digest)
        blob = Descriptor(OCI_LAYER, digest, size)
        with self.layer_store.hold([*below, digest]):
            self.layer_store.adopt([*below, digest], upper, made["size_bytes"])
        return digest, blob

    def unpack(self, diff_ids: Sequence[Digest], blobs: Sequence[Optional[Descriptor]]) -> None:
        """Unpack layers that are not yet; a blob may be None where its layer is known to be."""
        with self.layer_store.hold(diff_ids):
            self.layer_store.unpack(diff_ids, [self._source(blob) for blob in blobs])

    @says_when_full
    def commit(
        self, config: Mapping[str, Any] | bytes, layers: Sequence[Descriptor], names: Sequence[str], lease: Lease
    ) -> Image:
        """Make an image of a config document and its layers' blobs, which `lease` holds; name it."""
        data = config if isinstance(config, bytes) else render(config)
        try:
            texts = [str(parse_reference(text)) for text in names]
            config_digest = self.blobs.put(data)
            lease.keep(config_digest)
            manifest_data = render_manifest(Descriptor(OCI_CONFIG, config_digest, len(data)), layers)
            manifest = parse_manifest(manifest_data)
            assert isinstance(manifest, Manifest)
            parsed = parse_strictly(data, manifest)
        except (InvalidManifest, InvalidReference, InvalidDigest) as error:
            raise ApiError(400, str(error)) from None
        digest = self.blobs.put(manifest_data)
        lease.keep(digest)
        return self._take(digest, manifest, parsed, texts, Teller(lambda message: None))

    # housekeeping

    def roots(self) -> Iterable[Digest]:
        """content/roots.py: the blobs of every image that is recorded or that a container needs."""
        for digest in self._needed():
            yield digest
            try:
                manifest, _ = self._parsed(digest)
            except BlobMissing:
                continue
            yield from (blob.digest for blob in manifest.blobs)

    def collect(self, owners: Sequence[Roots] = (), unused_s: float = GRACE_S) -> Collected:
        """Remove blobs and layers that nobody needs and nobody relied on for so long. Who needs blobs: images, containers, the registry
        of this data root, and `owners`."""
        now = time.monotonic()
        self.layer_store.remove_unneeded(self._needed_chains(), unused_s=unused_s, now=now)
        return collect(self.blobs, [self, Repositories(self._data_root, self.blobs), *owners], unused_s)

    # within

    def _take(self, digest: Digest, manifest: Manifest, config: ImageConfig, names: Sequence[str], teller: Teller) -> Image:
        """Unpack what is in the store and record it."""
        with self.layer_store.hold(config.diff_ids):
            try:
                sources = [self._source(layer) for layer in manifest.layers]
                self.layer_store.unpack(config.diff_ids, sources, lambda name, what: teller.say(what, name))
            except InvalidManifest as error:
                raise ApiError(400, str(error)) from None
            except ApiError:
                self._discard_damaged(manifest)
                raise
            size = self.layer_store.size_bytes(config.diff_ids)
            record = Record(digest, manifest.config.digest, str(config.platform), size, time.time_ns())
            self._references.put(record, names)
        return self._image(digest)

    def _discard_damaged(self, manifest: Manifest) -> None:
        """Whether it is our disk's fault that an image does not unpack: then say so, and let the blob be fetched anew."""
        damaged = [blob.digest for blob in manifest.layers if self.blobs.has(blob.digest) and not self.blobs.verify(blob.digest)]
        for digest in damaged:
            self.blobs.discard(digest)
        if damaged:
            raise ApiError(500, f"blob {damaged[0]} was damaged on disk and has been removed: pull, load or send it again")

    def _source(self, blob: Optional[Descriptor]) -> Source:
        if blob is None:
            return Source(_no_blob, "", "")
        return Source(lambda: self.blobs.open(blob.digest), compression(blob.media_type), blob.digest.short)

    def _image(self, digest: Digest) -> Image:
        record = self._references.record(digest)
        manifest, config = self._parsed(digest)
        return Image(record.config, digest, manifest, config, record)

    def _parsed(self, digest: Digest) -> tuple[Manifest, ImageConfig]:
        found = self._read.get(digest)
        if found is None:
            manifest = parse_manifest(self.blobs.read(digest, LARGEST_MANIFEST))
            if isinstance(manifest, Index):
                raise InvalidManifest(f"{digest} is an index")
            found = (manifest, parse_config(self.blobs.read(manifest.config.digest, LARGEST_CONFIG), manifest))
            self._read[digest] = found
        return found

    def _sources(self, reference: Reference) -> dict[Digest, str]:
        """Which repositories of this registry hold which blobs, as far as names here tell."""
        sources: dict[Digest, str] = {}
        for text, digest in self._references.names().items():
            other = parse_reference(text)
            if other.registry == reference.registry and other.repository != reference.repository and other.digest is not None:
                for blob in self._parsed(digest)[0].blobs:
                    sources[blob.digest] = other.repository
        return sources

    def _keep_all(self, digests: Iterable[Digest], lease: Lease) -> None:
        missing = [digest for digest in digests if not lease.keep(digest)]
        if missing:
            raise ApiError(409, f"blobs are missing: {', '.join(missing[:10])}", "blobs-missing", missing=missing)

    def _needed(self) -> set[Digest]:
        return {record.digest for record in self._references.records()} | {Digest(use.digest) for use in self._used()}

    def _needed_chains(self) -> set[Digest]:
        needed: set[Digest] = set()
        for digest in self._needed():
            needed.update(chain_ids(self._parsed(digest)[1].diff_ids))
        return needed

    def _newest(self) -> list[Record]:
        """One record an id."""
        return list({record.config: record for record in reversed(self._references.records())}.values())[::-1]

    def _described(self, record: Record) -> show.Described:
        names = self._references.names()
        same = {other.digest for other in self._references.records() if other.config == record.config}
        texts = sorted(name for name, digest in names.items() if digest in same)
        manifest, config = self._parsed(record.digest)
        return show.Described(record, manifest, config, texts)

    def _described_by_name(self, name: str) -> show.Described:
        return self._described(self.find(name).record)

    def _graph(self, image: Image) -> list[str]:
        return [os.path.join(self.layer_store.folder, short) for short in self.layers(image.digest)]


def _no_blob() -> Any:
    raise ApiError(500, "a layer that was unpacked is gone")
