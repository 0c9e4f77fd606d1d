"""A build context out of Git, as a tar.  [pure]

In: the files of a revision, the context's folder, the Dockerfile's path, the time to put on everything.  Out: a tar, the same bytes
for the same files wherever it is made, and the Dockerfile's name in it.

Rule: what .dockerignore leaves out is not sent, the Dockerfile and the .dockerignore themselves excepted, as Docker's client does.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator

from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.ignore import Ignore, names_for, parse_ignore
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.revision import Tree

OUTSIDE = ".gitopsd.Dockerfile"
"""The name of a Dockerfile that lies outside its context."""
_SYMLINK = 0o120000
_PIECE = 1 << 20


def dockerfile_in(context: str, dockerfile: str) -> str:
    """The Dockerfile's name in the context."""
    folder = f"{context}/" if context else ""
    return dockerfile.removeprefix(folder) if dockerfile.startswith(folder) else OUTSIDE


def context_tar(tree: Tree, context: str, dockerfile: str, epoch: int) -> Iterator[bytes]:
    """The tar, piece by piece; files are read when their turn comes."""
    folder = f"{context}/" if context else ""
    inner = dockerfile_in(context, dockerfile)
    names = tuple(path.removeprefix(folder) for path in tree.paths(context))
    ignore, kept = _ignore(tree, folder, inner, names)
    folders: set[str] = set()
    for name in names:
        if name not in kept and ignore.leaves_out(name):
            continue
        for above in _folders_of(name):
            if above not in folders:
                folders.add(above)
                yield _header(above, tarfile.DIRTYPE, 0o755, epoch)
        yield from _entry(tree, folder + name, name, epoch)
    if inner == OUTSIDE:
        yield from _entry(tree, dockerfile, OUTSIDE, epoch)
    yield b"\0" * 1024


def _ignore(tree: Tree, folder: str, inner: str, names: tuple[str, ...]) -> tuple[Ignore, set[str]]:
    kept = {inner}
    for name in names_for(inner):
        if name in names:
            try:
                return parse_ignore(tree.read(folder + name)), kept | {name}
            except DockerfileError as error:
                problem = error.problems[0]
                raise GitopsdError("dockerignore", problem.message, Where(folder + name, problem.line or None)) from error
    return Ignore(), kept


def _folders_of(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def _entry(tree: Tree, path: str, name: str, epoch: int) -> Iterator[bytes]:
    mode, data = tree.mode(path), tree.read(path)
    if mode == _SYMLINK:
        yield _header(name, tarfile.SYMTYPE, 0o777, epoch, link=os.fsdecode(data))
        return
    yield _header(name, tarfile.REGTYPE, mode & 0o777, epoch, len(data))
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]
    if len(data) % 512:
        yield b"\0" * (512 - len(data) % 512)


def _header(name: str, kind: bytes, mode: int, epoch: int, size: int = 0, link: str = "") -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime, entry.size, entry.linkname = kind, mode, epoch, size, link
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
