"""COPY's corner cases, each as BuildKit documents or does it, in real overlays."""

import os
from typing import Any

import pytest

from gitopsd.engine.builder.errors import BuildError
from tests.engine.builder.rig import Rig, link

pytestmark = pytest.mark.host

FILES: dict[str, Any] = {
    "a.txt": "A",
    "b.txt": "B",
    "script": (0o755, "#!/bin/sh\n"),
    "dir": None,
    "dir/one": "1",
    "dir/sub/two": (0o600, "2"),
    "dir/link": link("one"),
    "dir/away": link("/etc/passwd"),
    "tolink": link("dir/one"),
    "todir": link("dir"),
    "round": link("../../../a.txt"),
    ".hidden": "H",
    "we ird": "W",
}

CASES: dict[str, tuple[str, dict[str, str]]] = {
    "a file gets the destination's name": ("COPY a.txt /x", {"/x": "644 0:0 'A'"}),
    "a slash makes the destination a folder": ("COPY a.txt /x/", {"/x": "755 0:0 /", "/x/a.txt": "644 0:0 'A'"}),
    "a folder that is there is copied into": ("COPY a.txt /tmp", {"/tmp": "1777 0:0 /", "/tmp/a.txt": "644 0:0 'A'"}),
    "folders on the way are made": ("COPY a.txt /p/q/x", {"/p": "755 0:0 /", "/p/q": "755 0:0 /", "/p/q/x": "644 0:0 'A'"}),
    "a folder on the way keeps its mode": ("COPY a.txt /tmp/q/x", {"/tmp": "1777 0:0 /", "/tmp/q": "755 0:0 /", "/tmp/q/x": "644 0:0 'A'"}),
    "relative to the working folder": ("WORKDIR /w\nCOPY a.txt .", {"/w": "755 0:0 /", "/w/a.txt": "644 0:0 'A'"}),
    "several files": ("COPY a.txt b.txt /x/", {"/x": "755 0:0 /", "/x/a.txt": "644 0:0 'A'", "/x/b.txt": "644 0:0 'B'"}),
    "a mode is kept": ("COPY script /x", {"/x": "755 0:0 '#!/bin/sh\\n'"}),
    "of a folder its content": (
        "COPY dir /x",
        {
            "/x": "755 0:0 /",
            "/x/one": "644 0:0 '1'",
            "/x/sub": "755 0:0 /",
            "/x/sub/two": "600 0:0 '2'",
            "/x/link": "-> one",
            "/x/away": "-> /etc/passwd",
        },
    ),
    "folder and file together": (
        "COPY dir/sub a.txt /x/",
        {"/x": "755 0:0 /", "/x/two": "600 0:0 '2'", "/x/a.txt": "644 0:0 'A'"},
    ),
    "a link named as a source is followed and keeps its name": ("COPY tolink /x/", {"/x": "755 0:0 /", "/x/tolink": "644 0:0 '1'"}),
    "a link to a folder too": ("COPY todir/sub /x/", {"/x": "755 0:0 /", "/x/two": "600 0:0 '2'"}),
    "what leads above the context stays in it": ("COPY round /x", {"/x": "644 0:0 'A'"}),
    "dots stay in it": ("COPY ../../../a.txt /x", {"/x": "644 0:0 'A'"}),
    "a pattern": ("COPY *.txt /x/", {"/x": "755 0:0 /", "/x/a.txt": "644 0:0 'A'", "/x/b.txt": "644 0:0 'B'"}),
    "a question mark and a class": ("COPY ?.tx[t] /x/", {"/x": "755 0:0 /", "/x/a.txt": "644 0:0 'A'", "/x/b.txt": "644 0:0 'B'"}),
    "a star takes hidden files": ("COPY *hidden /x/", {"/x": "755 0:0 /", "/x/.hidden": "644 0:0 'H'"}),
    "a star in the middle": ("COPY d*/on* /x", {"/x": "644 0:0 '1'"}),
    "a pattern that matches nothing is nothing": ("COPY a.txt none* /x/", {"/x": "755 0:0 /", "/x/a.txt": "644 0:0 'A'"}),
    "names with blanks": ('COPY ["we ird", "/o ut"]', {"/o ut": "644 0:0 'W'"}),
    "owner by number is the group too": ("COPY --chown=5 a.txt /x/", {"/x": "755 5:5 /", "/x/a.txt": "644 5:5 'A'"}),
    "owner by name": ("COPY --chown=web:staff a.txt /x", {"/x": "644 33:50 'A'"}),
    "owner with its own group": ("COPY --chown=web a.txt /x", {"/x": "644 33:34 'A'"}),
    "mode in octal, for folders as well": ("COPY --chmod=750 dir/sub /x", {"/x": "750 0:0 /", "/x/two": "750 0:0 '2'"}),
    "mode in letters": ("COPY --chmod=u=rwX,go=rX dir/sub /x", {"/x": "755 0:0 /", "/x/two": "644 0:0 '2'"}),
    "the user of the stage is not the owner": ("USER web\nCOPY a.txt /x", {"/x": "644 0:0 'A'"}),
    "but of a working folder": ("USER web\nWORKDIR /p/w", {"/p": "755 33:34 /", "/p/w": "755 33:34 /"}),
    "content from the Dockerfile": (
        "COPY <<one <<'two' /x/\n$PATH\none\n$PATH\ntwo",
        {"/x": "755 0:0 /", "/x/one": "644 0:0 '/bin\\n'", "/x/two": "644 0:0 '$PATH\\n'"},
    ),
    "into the root": ("COPY dir/sub /", {"/two": "600 0:0 '2'"}),
}  # fmt: skip


@pytest.mark.parametrize(("instructions", "expected"), CASES.values(), ids=CASES)
def test_copy_writes_what_it_should_and_nothing_else(rig: Rig, instructions: str, expected: dict[str, str]) -> None:
    assert rig.files(rig.build(f"FROM busybox:stable\n{instructions}\n", FILES)) == expected


def test_a_folder_below_the_destination_takes_the_source_s_mode_and_the_destination_keeps_its_own(rig: Rig) -> None:
    image = rig.build("FROM busybox:stable\nRUN mkdir -p /x/sub && chmod 700 /x /x/sub\nCOPY dir /x\n", FILES)
    files = rig.files(image)
    assert (files["/x"], files["/x/sub"]) == ("700 0:0 /", "755 0:0 /")


def test_a_file_replaces_a_file_and_a_link_below_the_destination(rig: Rig) -> None:
    image = rig.build("FROM busybox:stable\nRUN mkdir /x && echo old > /x/one && ln -s /etc/passwd /x/link\nCOPY dir /x\n", FILES)
    files = rig.files(image)
    assert (files["/x/one"], files["/x/link"]) == ("644 0:0 '1'", "-> one")
    assert "/etc/passwd" not in files


def test_a_destination_that_is_a_link_is_followed_inside_the_stage(rig: Rig) -> None:
    image = rig.build("FROM busybox:stable\nRUN ln -s /../../tmp /x && ln -s tmp/f /y\nCOPY a.txt /x/\nCOPY b.txt /y\n", FILES)
    files = rig.files(image)
    assert (files["/tmp/a.txt"], files["/tmp/f"]) == ("644 0:0 'A'", "644 0:0 'B'")
    assert files["/x"] == "-> /../../tmp"


def test_a_time_is_kept_and_cut_at_the_epoch(rig: Rig) -> None:
    image = rig.build("FROM busybox:stable\nCOPY a.txt /x\nRUN stat -c %Y /x\n", FILES)
    assert "\n1600000000\n" in rig.printed
    first = rig.build("FROM busybox:stable\nCOPY a.txt /x/\n", FILES, epoch=1_500_000_000, nocache=True)
    second = rig.build("FROM busybox:stable\nCOPY a.txt /x/\n", FILES, epoch=1_500_000_000, nocache=True)
    assert first.id == second.id != image.id


def test_copying_from_a_stage_keeps_owners_links_and_hard_links(rig: Rig) -> None:
    image = rig.build(
        """FROM busybox:stable AS made
RUN mkdir -p /o/d && echo x > /o/d/f && chown 7:8 /o/d /o/d/f && chmod 4755 /o/d/f && ln /o/d/f /o/g && ln -s d/f /o/l
FROM busybox:stable
COPY --from=made /o /p
COPY --from=0 --chown=9:9 /o/l /q
"""
    )
    files = rig.files(image)
    assert files["/p/d"] == "755 7:8 /"
    assert files["/p/d/f"] == files["/p/g"] == "4755 7:8 'x\\n'"
    assert files["/p/l"] == "-> d/f"
    assert files["/q"] == "4755 9:9 'x\\n'"
    place = rig.layers(image)[1]
    assert os.stat(f"{place}/p/d/f").st_ino == os.stat(f"{place}/p/g").st_ino


def test_copying_from_an_image_by_its_name(rig: Rig) -> None:
    image = rig.build("FROM scratch\nCOPY --from=busybox:stable /etc/passwd /etc/\n")
    assert rig.read(image, "/etc/passwd").startswith("root:")
    assert len(image.manifest.layers) == 1


def test_what_dockerignore_leaves_out_is_not_there(rig: Rig) -> None:
    files = {**FILES, ".dockerignore": "**/*.txt\n!b.txt\ndir/sub\n"}
    image = rig.build("FROM busybox:stable\nCOPY . /x/\n", files)
    assert sorted(rig.files(image)) == [
        "/x", "/x/.dockerignore", "/x/.hidden", "/x/Dockerfile", "/x/b.txt", "/x/dir", "/x/dir/away", "/x/dir/link", "/x/dir/one",
        "/x/round", "/x/script", "/x/todir", "/x/tolink", "/x/we ird",
    ]  # fmt: skip
    with pytest.raises(BuildError, match=r"Dockerfile:2: COPY a.txt /x: not found: a\.txt"):
        rig.build("FROM busybox:stable\nCOPY a.txt /x\n", files)


ERRORS = {
    "a source that is not there": ("COPY none /x", "not found: none"),
    "a folder onto a file": ("COPY dir /etc/passwd", r"something on the way is no folder|onto something that is none"),
    "a file through a file": ("COPY a.txt /etc/passwd/x", "no folder|not a directory"),
    "a file onto a folder below": ("RUN mkdir -p /x/one\nCOPY dir /x", "/x/one: cannot replace a folder with a file"),
    "a folder onto a link below": (
        "RUN mkdir /x && ln -s /tmp /x/sub\nCOPY dir /x",
        "/x/sub: cannot copy a folder onto something",
    ),
    "several without a slash": ("COPY a.txt b.txt /x", "expected a / at the end of /x"),
    "a pattern that matches several without a slash": ("COPY *.txt /x", "expected a folder with a slash"),
    "an owner that is not there": ("COPY --chown=nobody a.txt /x", "unable to find user nobody"),
    "a mode that is none": ("COPY --chmod=rwx a.txt /x", "--chmod=rwx: expected octal"),
}


@pytest.mark.parametrize(("instructions", "message"), ERRORS.values(), ids=ERRORS)
def test_copy_says_what_is_wrong_with_its_line(rig: Rig, instructions: str, message: str) -> None:
    with pytest.raises(BuildError, match=message) as caught:
        rig.build(f"FROM busybox:stable\n{instructions}\n", FILES)
    assert caught.value.message.startswith(f"Dockerfile:{instructions.count(chr(10)) + 2}: ")
