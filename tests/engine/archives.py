"""Images to run, as docker-archive tars: busybox from the machine's own static one, and whatever a test puts on top of it."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from typing import Any, Union

BUSYBOX = "/bin/busybox"
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/home/web:/bin/sh\n1001:x:77:77:a number for a name:/:/bin/sh\n"
GROUP = b"root:x:0:\nweb:x:1000:\nextra:x:1500:web\nother:x:1501:\n"

Content = Union[bytes, str, None, tarfile.TarInfo]
"""A file's bytes, a symbolic link's text, None for a folder, or a whole entry."""


def a_layer(entries: Mapping[str, Content]) -> bytes:
    """A layer's tar. Files may be executed, those of /etc not."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries.items():
            entry = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if content is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            elif isinstance(content, bytes):
                entry.size, entry.mode = len(content), 0o644 if name.startswith("etc/") else 0o755
            archive.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


@functools.lru_cache(maxsize=1)
def busybox() -> bytes:
    """The layer that all test images stand on."""
    words = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with open(BUSYBOX, "rb") as file:
        program = file.read()
    folders: dict[str, Content] = dict.fromkeys(["bin", "etc", "root", "home", "home/web"])
    folders["tmp"] = tarfile.TarInfo("tmp")
    folders["tmp"].type, folders["tmp"].mode = tarfile.DIRTYPE, 0o1777
    links = dict.fromkeys((f"bin/{word}" for word in words if word != "busybox"), "busybox")
    files = {"bin/busybox": program, "etc/passwd": PASSWD, "etc/group": GROUP}
    return a_layer({**folders, **files, **links})


def an_archive(reference: str, *layers: bytes, **config: Any) -> bytes:
    """What `docker load` takes."""
    settings = {"Env": ["PATH=/bin"], "Cmd": ["sh"], **config}
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    described = {"architecture": "amd64", "os": "linux", "config": settings, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    listed = [{"Config": "config.json", "RepoTags": [reference if ":" in reference else f"{reference}:latest"], "Layers": names}]
    return a_layer(
        {"config.json": json.dumps(described).encode(), "manifest.json": json.dumps(listed).encode(),
         **dict(zip(names, layers))}  # noqa: B905
    )  # fmt: skip
