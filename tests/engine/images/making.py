"""Images to test with, made from nothing: tars, archives, stores."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

from gitopsd.engine.images.images import Images, Use
from gitopsd.engine.images.registries import Registries
from gitopsd.engine.images.tar.entry import DIRECTORY, FILE, Entry
from gitopsd.engine.images.tar.writer import Writer
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST

from .runner import run_worker


def a_tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    writer = Writer(out.write)
    for name, data in files.items():
        if name.endswith("/"):
            writer.add(Entry(name, DIRECTORY, 0o755))
        else:
            writer.add(Entry(name, FILE, size=len(data)), [data])
    writer.finish()
    return out.getvalue()


LAYERS = [a_tar({"bin/": b"", "bin/sh": b"shell" * 1000}), a_tar({"etc/": b"", "etc/motd": b"hello", "bin/.wh.sh": b""})]


def a_config(layers: list[bytes], architecture: str = "amd64", **settings: Any) -> bytes:
    return json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "2026-01-02T03:04:05.678901234Z",
            "config": {"Cmd": ["/bin/sh"], **settings},
            "rootfs": {"type": "layers", "diff_ids": [Digest.of(layer) for layer in layers]},
            "history": [{"created": "2026-01-02T03:04:05Z", "created_by": f"step {number}"} for number in range(len(layers))],
        }
    ).encode()


def a_manifest(config: bytes, blobs: list[bytes], media_type: str = OCI_LAYER) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": Digest.of(config), "size": len(config)},
            "layers": [{"mediaType": media_type, "digest": Digest.of(blob), "size": len(blob)} for blob in blobs],
        }
    ).encode()


def a_docker_archive(path: Path, tags: list[str], layers: list[bytes] = LAYERS, compress: bool = False, **settings: Any) -> Path:
    """As `docker save` wrote it before it had manifests."""
    config = a_config(layers, **settings)
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    listed = [{"Config": "config.json", "RepoTags": tags, "Layers": names}]
    members = {"config.json": config, "manifest.json": json.dumps(listed).encode()}
    members.update({name: gzip.compress(layer, mtime=0) if compress else layer for name, layer in zip(names, layers)})  # noqa: B905
    path.write_bytes(a_tar(members))
    return path


def images_at(data_root: Path, uses: list[Use] | None = None, **more: Any) -> Images:
    data_root.mkdir(mode=0o700, exist_ok=True)
    return Images(str(data_root), run_worker, lambda: uses or [], machine="x86_64", **more)


def load(images: Images, path: Path) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    descriptor = os.open(path, os.O_RDONLY)
    try:
        images.load(descriptor, said.append)
    finally:
        os.close(descriptor)
    return said


def mirrored(address: str, *registries: str) -> Registries:
    return Registries(dict.fromkeys(registries, address))


def names_in(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        return archive.getnames()
