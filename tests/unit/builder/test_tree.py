"""Which files COPY takes, on trees in memory."""

from collections.abc import Mapping, Sequence
from typing import Optional, Union

import pytest

from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.tree import Entry, digest_of, resolve, select

Files = Mapping[str, Union[str, None]]


class MemoryTree:
    """`name: content`, `name: None` for a folder, `name: "-> target"` for a link; folders in between are there."""

    def __init__(self, files: Files, **changes: int) -> None:
        self.entries = {"": Entry("", "folder", 0o755)}
        for path, content in files.items():
            parts = path.split("/")
            for depth in range(1, len(parts)):
                folder = "/".join(parts[:depth])
                self.entries.setdefault(folder, Entry(folder, "folder", 0o755))
            if content is None:
                self.entries[path] = Entry(path, "folder", 0o755)
            elif content.startswith("-> "):
                self.entries[path] = Entry(path, "link", 0o777, link=content[3:])
            else:
                self.entries[path] = Entry(path, "file", 0o644, digest=content)._replace(**changes)

    def entry(self, path: str) -> Optional[Entry]:
        return self.entries.get(path)

    def names(self, folder: str) -> Sequence[str]:
        return sorted(path.rpartition("/")[2] for path in self.entries if path and path.rpartition("/")[0] == folder)


TREE = MemoryTree(
    {
        "a": "A",
        "d/x": "X",
        "d/e/y": "Y",
        "abs": "-> /d/e",
        "rel": "-> d/../a",
        "up": "-> ../../../../a",
        "loop": "-> loop",
        "two": "-> one",
        "one": "-> two",
        "broken": "-> nowhere",
        "d/back": "-> ../a",
        "lit*": "L",
    }
)

RESOLVED = {
    "a": "a", "": "", ".": "", "/": "", "abs": "d/e", "abs/y": "d/e/y", "abs/../x": "d/x", "rel": "a", "up": "a", "d/back": "a", "../../a": "a",
    "broken": None, "a/b": None, "none": None, "d/x/..": None,
}  # fmt: skip


@pytest.mark.parametrize(("path", "expected"), RESOLVED.items())
def test_a_path_is_resolved_inside_the_tree(path: str, expected: Optional[str]) -> None:
    found = resolve(TREE, path)
    assert (found.path if found else None) == expected


@pytest.mark.parametrize("path", ["loop", "one"])
def test_links_in_a_circle_are_an_error(path: str) -> None:
    with pytest.raises(BuildError, match="more than 40 symbolic links"):
        resolve(TREE, path)


def taken(*sources: str) -> list[tuple[str, str, list[str]]]:
    return [(source.name, source.entry.path, [path for path, _ in source.below]) for source in select(TREE, sources)]


def test_sources_are_taken_in_their_order_with_what_is_below() -> None:
    assert taken("a", "d") == [("a", "a", []), ("d", "d", ["back", "e", "x", "e/y"])]
    assert taken("rel") == [("rel", "a", [])]
    assert taken("abs") == [("abs", "d/e", ["y"])]


PATTERNS = {
    "?": ["a", "d"],
    "d/*": ["back", "e", "x"],
    "*/[w-z]": ["x"],
    "a*": ["a", "abs"],
    r"lit\*": ["lit*"],
    "abs/*": ["y"],
    "**/y": [],
    "*/e/y": ["y"],
}


@pytest.mark.parametrize(("pattern", "expected"), PATTERNS.items())
def test_a_pattern_matches_within_names_and_not_through_links(pattern: str, expected: list[str]) -> None:
    assert [name for name, _, _ in taken(pattern)] == expected


def test_a_source_that_is_not_there_is_an_error_and_an_empty_pattern_is_not() -> None:
    assert taken("none*", "a") == [("a", "a", [])]
    for source in ("none", "broken", "a/b"):
        with pytest.raises(BuildError, match=f"not found: {source}"):
            taken(source)


def digest(files: Files, *sources: str, with_owners: bool = True, **changes: int) -> str:
    return digest_of(select(MemoryTree(files, **changes), sources or (".",)), with_owners)


def test_the_digest_covers_what_is_copied_and_no_time() -> None:
    files = {"a": "1", "d/b": "2", "l": "-> a"}
    same = digest(files)
    assert digest(files, mtime_ns=5) == same
    assert digest(files, offset=5) == same
    changed: list[Files] = [
        {**files, "a": "2"},
        {**files, "c": "1"},
        {"a": "1", "d/c": "2", "l": "-> a"},
        {**files, "l": "-> b"},
        {**files, "d/e": None},
    ]
    assert len({same, *(digest(change) for change in changed), digest(files, mode=0o600), digest(files, uid=1)}) == 8
    assert digest(files, uid=1, with_owners=False) == digest(files, with_owners=False)


def test_the_name_of_a_file_counts_and_that_of_a_folder_does_not() -> None:
    files = {"a": "1", "b": "1", "c/x": "1", "d/x": "1"}
    assert digest(files, "a") != digest(files, "b")
    assert digest(files, "c") == digest(files, "d")
    assert digest(files, "a", "b") != digest(files, "b", "a")
