"""The index of a context's tar. Hostile ones are in tests/engine/builder/test_advisories.py."""

import os
from collections.abc import Mapping
from typing import Any

import pytest

from gitopsd.engine.builder.archive import index
from gitopsd.engine.builder.context import Context
from gitopsd.engine.builder.tree import Entry
from tests.engine.builder.rig import link, tar


def context(files: Mapping[str, Any], compression: str = "") -> Context:
    archive, unpacked = os.memfd_create("archive"), os.memfd_create("unpacked")
    os.write(archive, tar(files, compression))
    found = index({}, [archive, unpacked])
    content = unpacked if found["is_unpacked"] else archive
    os.close(archive if found["is_unpacked"] else unpacked)
    return Context(content, [Entry._make(fields) for fields in found["entries"]])


@pytest.mark.parametrize("compression", ["", "gz"])
def test_content_is_found_by_its_offset(compression: str) -> None:
    made = context({"./a": "A" * 1000, "d/b": "B", "e": ""}, compression)
    for path, content in (("a", b"A" * 1000), ("d/b", b"B"), ("e", b"")):
        assert made.read(path) == content
    made.close()


def test_folders_that_were_left_unsaid_are_there() -> None:
    made = context({"a/b/c": "x"})
    assert made.names("") == ["a"]
    assert made.names("a") == ["b"]
    assert made.entry("a/b") == Entry("a/b", "folder", 0o755, attributes=[])
    made.close()


def test_a_hard_link_is_another_name_of_its_file() -> None:
    made = context({"a": "A", "b": link("a", hard=True)})
    first, second = made.entry("a"), made.entry("b")
    assert first
    assert second
    assert first.twin == second.twin == "a"
    assert made.read("b") == b"A"
    made.close()


def test_nobody_owns_anything() -> None:
    made = context({"a": "A"})
    entry = made.entry("a")
    assert entry
    assert (entry.uid, entry.gid) == (0, 0)
    made.close()


def test_of_two_entries_with_a_name_the_later_counts() -> None:
    archive = tar({"a": "first"})[:1024] + tar({"a": "second"})
    descriptor = os.memfd_create("archive")
    os.write(descriptor, archive)
    found = index({}, [descriptor, descriptor])["entries"]
    assert [os.pread(descriptor, fields[6], fields[10]) for fields in found if fields[0] == "a"] == [b"second"]
    os.close(descriptor)


def test_an_archive_may_end_right_after_the_last_file_s_content() -> None:
    """As the docker CLI sends it with `build -f -`."""
    archive = tar({"a": "A" * 100, "b": "B" * 30})
    descriptor = os.memfd_create("archive")
    os.write(descriptor, archive[: 512 + 512 + 512 + 30])
    assert [fields[0] for fields in index({}, [descriptor, descriptor])["entries"]] == ["a", "b", ""]
    os.close(descriptor)


def test_dockerignore_keeps_the_folders_above_what_it_keeps() -> None:
    made = context({".dockerignore": "**\n!a/b/c\n", "a/b/c": "x", "a/d": "y", "Dockerfile": "FROM x"})
    kept = made.ignoring("Dockerfile")
    assert kept.names("") == ["a"]
    assert kept.names("a/b") == ["c"]
    assert kept.entry("a/d") is None
    assert kept.read("Dockerfile") == b"FROM x"
    made.close()
