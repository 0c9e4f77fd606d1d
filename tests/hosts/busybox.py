"""An image of this machine's busybox, as blobs."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gitopsd.hosts.engineapi import EngineApi

APPLETS = ("sh", "sleep", "true", "cat", "echo", "httpd", "wget", "nslookup", "ls", "mkdir", "id", "hostname")


@dataclass(frozen=True)
class Image:
    manifest: str
    blobs: dict[str, bytes]


def a_busybox_image() -> Image:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "tmp", "www"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        busybox = Path("/bin/busybox").read_bytes()
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = len(busybox), 0o755
        tar.addfile(program, io.BytesIO(busybox))
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    layer = out.getvalue()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = json.dumps(
        {
            "architecture": machine,
            "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    ).encode()
    return Image(_digest(manifest), {_digest(blob): blob for blob in (layer, config, manifest)})


def send(api: EngineApi, image: Image, reference: str) -> str:
    """Put the image on an engine under a name; its id."""
    for digest, blob in image.blobs.items():
        api.send_blob(digest, len(blob), lambda offset, blob=blob: _pieces(blob, offset))
    return api.put_image(image.manifest, [reference])


def _pieces(blob: bytes, offset: int) -> Iterator[bytes]:
    for start in range(offset, len(blob), 1 << 20):
        yield blob[start : start + (1 << 20)]


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(kind: str, data: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": _digest(data), "size": len(data)}
