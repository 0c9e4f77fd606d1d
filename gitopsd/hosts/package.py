"""The engine as one file: a zipapp of the part of this package that hosts run.

In: the installed package's files, read as data and never imported.  Out: bytes, and their digest, by which a host knows whether
it has them already.

Rule: the same files give the same bytes on every machine, or two controllers would upgrade each other's hosts for ever. Hence the files
are stored and not deflated (zlib's output differs between versions; on the way to a host the whole is compressed), sorted, and dated 1980.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

ROOMS = ("oci", "dockerapi", "dockerfile", "engine")
_SHEBANG = b"#!/usr/bin/env python3\n"
_OLDEST = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Package:
    data: bytes
    digest: str
    """SHA-256, hexadecimal."""


@cache
def package() -> Package:
    """The engine of this installation."""
    top = resources.files("gitopsd")
    files = {"gitopsd/__init__.py": top.joinpath("__init__.py").read_bytes()}
    for room in ROOMS:
        files.update(_files(top.joinpath(room), f"gitopsd/{room}"))
    files["__main__.py"] = files["gitopsd/engine/zipmain.py"]
    return pack(files)


def pack(files: dict[str, bytes]) -> Package:
    out = io.BytesIO()
    out.write(_SHEBANG)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _OLDEST)
            entry.create_system = 3  # Unix, wherever it is made
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
    data = out.getvalue()
    return Package(data, hashlib.sha256(data).hexdigest())


def _files(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for item in folder.iterdir():
        if item.name == "__pycache__" or item.name.endswith((".pyc", ".pyi")):
            continue
        if item.is_dir():
            yield from _files(item, f"{path}/{item.name}")
        else:
            yield f"{path}/{item.name}", item.read_bytes()
