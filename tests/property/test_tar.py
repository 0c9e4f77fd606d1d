from __future__ import annotations

import io
import os

from hypothesis import given, settings
from hypothesis import strategies as st

from gitopsd.engine.images.stream import BadArchive
from gitopsd.engine.images.tar.entry import DIRECTORY, FILE, LINK, SYMLINK, Entry
from gitopsd.engine.images.tar.reader import Reader
from gitopsd.engine.images.tar.writer import Writer

name = st.binary(min_size=1, max_size=300).filter(lambda data: b"\0" not in data and not data.endswith(b"/")).map(os.fsdecode)
number = st.integers(0, 2**32 - 2)
xattrs = st.dictionaries(st.from_regex(r"user\.[a-z]{1,8}", fullmatch=True), st.binary(max_size=50), max_size=3)


@st.composite
def members(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(st.sampled_from([FILE, DIRECTORY, LINK, SYMLINK]))
    data = draw(st.binary(max_size=1500)) if kind == FILE else b""
    return Entry(
        draw(name) + ("/" if kind == DIRECTORY else ""), kind, draw(st.integers(0, 0o7777)), draw(number), draw(number), len(data),
        draw(st.integers(-(10**18), 10**19)), draw(name) if kind in (LINK, SYMLINK) else "", xattrs=draw(xattrs),
    ), data  # fmt: skip


@settings(max_examples=200)
@given(st.lists(members(), max_size=4), st.integers(1, 2000))
def test_reading_what_was_written_gives_the_same_entries(given_members: list[tuple[Entry, bytes]], piece: int) -> None:
    out = io.BytesIO()
    writer = Writer(out.write)
    for entry, data in given_members:
        writer.add(entry, [data])
    writer.finish()
    assert len(out.getvalue()) % 512 == 0
    source = io.BytesIO(out.getvalue())
    reader = Reader(lambda: source.read(piece))
    assert [(entry, b"".join(bytes(part) for part in reader.pieces())) for entry in reader] == given_members


@settings(max_examples=300)
@given(st.lists(members(), min_size=1, max_size=3), st.data())
def test_a_damaged_archive_is_read_or_refused_and_nothing_else(
    given_members: list[tuple[Entry, bytes]], data: st.DataObject
) -> None:
    out = io.BytesIO()
    writer = Writer(out.write)
    for entry, content in given_members:
        writer.add(entry, [content])
    damaged = bytearray(out.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    source = io.BytesIO(bytes(damaged))
    reader = Reader(lambda: source.read(999))
    try:
        for _ in reader:
            for _ in reader.pieces():
                pass
    except BadArchive:
        pass
