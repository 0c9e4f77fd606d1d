""".dockerignore, with the cases that moby's own matcher is known by."""

import time

import pytest

from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.ignore import names_for, parse_ignore

MATCHES = [
    ("**", "file"),
    ("**/", "file"),
    ("**", "dir/file"),
    ("**/**", "dir/file"),
    ("dir/**", "dir/file"),
    ("dir/**", "dir/dir2/file"),
    ("**/dir", "dir"),
    ("**/dir", "dir/file"),
    ("**/dir2/*", "dir/dir2/file"),
    ("**/dir2/**", "dir/dir2/dir3/file"),
    ("**file", "file"),
    ("**file", "dir/dir/file"),
    ("**.log", "a/b.log"),
    ("**/file*txt", "dir/dir/file.txt"),
    ("**/file*.txt*", "dir/dir/file.txt"),
    ("**/**/*.txt", "file.txt"),
    ("a**/*.txt", "a/dir/dir/file.txt"),
    ("a/*.txt**", "a/file.txt"),
    ("a**b", "a/x/b"),
    ("a**b", "ab"),
    ("a[b-d]e", "ace"),
    ("a[^b-d]e", "aze"),
    (".*", ".foo"),
    ("abc.def", "abc.def"),
    ("abc?def", "abcZdef"),
    ("a(b)c/def", "a(b)c/def"),
    ("a.|)$(}+{bc", "a.|)$(}+{bc"),
    (r"a\*b", "a*b"),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/f"),
    ("a*b?c*x", "abxbbxdbxebxczzx"),
    ("a?b", "a☺b"),
    ("[a-ÿ]*", "é"),
    (r"[\]a]", "]"),
    (r"[x\-]", "-"),
    ("*x", "xxx"),
    ("/docs/", "docs/a"),
    ("./docs", "docs"),
    ("a/../docs", "docs"),
    ("**/x*y*z/**/w", "p/xaybz/q/r/w"),
    ("**/a/**/b", "a/c/a/d/b"),
]
MISSES = [
    ("**/**/*.txt2", "dir/dir/file.txt"),
    ("a/*.txt", "a/dir/file.txt"),
    ("a[b-d]e", "aae"),
    (".*", "foo"),
    ("abc.def", "abcZdef"),
    ("abc/**", "abc"),
    ("**/.foo", "bar.foo"),
    (r"a\*b", "ab"),
    ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f"),
    ("a?b", "a/b"),
    ("a[^x]b", "a/b"),
    ("[z-a]", "b"),
    (".", "a"),
    ("*/b", "b"),
    ("a**b", "axb"),
]


@pytest.mark.parametrize(("pattern", "path"), MATCHES)
def test_a_pattern_leaves_out(pattern: str, path: str) -> None:
    assert parse_ignore(pattern.encode()).leaves_out(path)


@pytest.mark.parametrize(("pattern", "path"), MISSES)
def test_a_pattern_does_not_reach(pattern: str, path: str) -> None:
    assert not parse_ignore(pattern.encode()).leaves_out(path)


LAST = {
    "taken in again": ("*.go\n!a.go", "a.go", False),
    "and left out again": ("*.go\n!a.go\na.*", "a.go", True),
    "order counts": ("!a.go\n*.go", "a.go", True),
    "inside a folder that is left out": ("docs\n!docs/README.md", "docs/README.md", False),
    "beside it": ("docs\n!docs/README.md", "docs/other.md", True),
    "a folder taken in again": ("**\n!util/docker/web", "util/docker/web/foo", False),
    "a file in that left out": ("**\n!util/docker/web\nutil/docker/web/foo", "util/docker/web/foo", True),
    "blanks around": ("  docs  \n !  docs/a ", "docs/a", False),
    "a comment": ("#docs\n", "#docs", False),
    "a mark in front": ("\ufeffdocs\r\n", "docs", True),
}


@pytest.mark.parametrize(("text", "path", "expected"), LAST.values(), ids=LAST)
def test_the_last_pattern_that_matches_decides(text: str, path: str, expected: bool) -> None:
    assert parse_ignore(text.encode()).leaves_out(path) is expected


@pytest.mark.parametrize(
    "pattern", ["[", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[^", "[^bc", "a[", "\\", "!", "a\\", "a**b**c**d**e"]
)
def test_a_pattern_that_is_none_is_an_error_with_its_line(pattern: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_ignore(f"ok\n{pattern}\n".encode())
    assert caught.value.line == 2


def test_a_folder_is_looked_through_only_if_something_may_be_taken_in_again() -> None:
    assert not parse_ignore(b"!x\nnode_modules").may_keep_below("node_modules")
    assert parse_ignore(b"node_modules\n!node_modules/x").may_keep_below("node_modules")


def test_patterns_of_one_dockerfile_come_first() -> None:
    assert names_for("build/web.Dockerfile") == ("build/web.Dockerfile.dockerignore", ".dockerignore")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 20 + "b", "a" * 250),
        ("**/a/" * 20 + "b", "a/" * 400 + "c"),
        ("**/*a*a*a/" * 10 + "b", "aaaaaaaa/" * 100 + "c"),
        ("a**b" * 3 + "c", "ab/" * 100),
        ("*/" * 50 + "b", "a/" * 50 + "c"),
    ],
)
def test_a_pattern_made_to_take_for_ever_does_not(pattern: str, path: str) -> None:
    ignore = parse_ignore(pattern.encode())
    started = time.monotonic()
    for _ in range(10):
        ignore._decided = {"": -1, path.rpartition("/")[0]: -1}
        assert not ignore.leaves_out(path)
    assert time.monotonic() - started < 2


def test_ten_thousand_paths_against_twenty_patterns_take_a_fraction_of_a_second() -> None:
    ignore = parse_ignore(b"\n".join([b"**/*.pyc", b"**/node_modules", b".git", b"docs/**/*.md", b"!docs/README.md"] * 4))
    paths = [f"src/pkg{number % 97}/mod{number % 13}/file{number}.py" for number in range(10_000)]
    started = time.monotonic()
    assert not any(ignore.leaves_out(path) for path in paths)
    assert time.monotonic() - started < 1
