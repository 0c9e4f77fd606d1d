"""Contexts as tars that are the same wherever they are made."""

from __future__ import annotations

import io
import tarfile

import pytest

from gitopsd.build.context import OUTSIDE, context_tar, dockerfile_in
from gitopsd.model.errors import GitopsdError
from tests.fakes.memorytree import MemoryTree

FILES: dict[str, bytes | str] = {
    "other/secret": b"no",
    "web/Dockerfile": b"FROM busybox\n",
    "web/a/deep/file": b"x" * 1000,
    "web/run.sh*": b"#!/bin/sh\n",
    "web/link": "a/deep/file",
    "docker/web.Dockerfile": b"FROM busybox:stable\n",
}


def members(
    files: dict[str, bytes | str], context: str = "web", dockerfile: str = "web/Dockerfile"
) -> dict[str, tarfile.TarInfo]:
    data = b"".join(context_tar(MemoryTree(files), context, dockerfile, 1_700_000_000))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def test_a_context_has_its_files_as_git_has_them() -> None:
    found = members(FILES)
    assert set(found) == {"Dockerfile", "a", "a/deep", "a/deep/file", "run.sh", "link"}
    assert [oct(found[name].mode) for name in ("Dockerfile", "run.sh", "a")] == ["0o644", "0o755", "0o755"]
    assert (found["link"].type, found["link"].linkname) == (tarfile.SYMTYPE, "a/deep/file")
    assert found["a/deep/file"].size == 1000
    assert {(item.mtime, item.uid, item.gid, item.uname) for item in found.values()} == {(1_700_000_000, 0, 0, "")}


def test_the_same_files_give_the_same_bytes() -> None:
    backwards = dict(reversed(FILES.items()))
    one, other = (b"".join(context_tar(MemoryTree(files), "web", "web/Dockerfile", 7)) for files in (FILES, backwards))
    assert one == other
    assert len(one) % 512 == 0


def test_what_dockerignore_leaves_out_is_not_sent() -> None:
    found = members({**FILES, "web/.dockerignore": b"*\n!run.sh\n"})
    assert set(found) == {"Dockerfile", "run.sh", ".dockerignore"}


def test_the_dockerfiles_own_ignore_file_counts_alone() -> None:
    own = {"web/.dockerignore": b"run.sh\n", "web/Dockerfile.dockerignore": b"link\n"}
    assert {"run.sh", ".dockerignore"} <= set(members({**FILES, **own}))
    assert "link" not in members({**FILES, **own})


def test_a_bad_pattern_is_named_with_its_line() -> None:
    with pytest.raises(GitopsdError) as caught:
        members({**FILES, "web/.dockerignore": b"ok\n[bad\n"})
    assert (caught.value.where.file, caught.value.where.line) == ("web/.dockerignore", 2)


def test_a_dockerfile_outside_the_context_comes_along() -> None:
    assert dockerfile_in("web", "docker/web.Dockerfile") == OUTSIDE
    assert OUTSIDE in members(FILES, dockerfile="docker/web.Dockerfile")
    assert dockerfile_in("", "docker/web.Dockerfile") == "docker/web.Dockerfile"
    assert "other/secret" in members(FILES, context="", dockerfile="docker/web.Dockerfile")


def test_long_and_strange_names_survive() -> None:
    name = "d" * 120 + "/ü" + "f" * 120
    assert name in members({"web/Dockerfile": b"", f"web/{name}": b"1"})
