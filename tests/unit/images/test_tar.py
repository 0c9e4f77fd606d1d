from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from gitopsd.engine.images.stream import BadArchive, Limits
from gitopsd.engine.images.tar.entry import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Entry
from gitopsd.engine.images.tar.reader import Reader
from gitopsd.engine.images.tar.writer import Writer


def read(data: bytes, piece: int = 700, limits: Limits | None = None) -> list[tuple[Entry, bytes]]:
    source = io.BytesIO(data)
    reader = Reader(lambda: source.read(piece), limits or Limits())
    return [(entry, b"".join(bytes(part) for part in reader.pieces())) for entry in reader]


def written(*members: tuple[Entry, bytes]) -> bytes:
    out = io.BytesIO()
    writer = Writer(out.write)
    for entry, data in members:
        writer.add(entry, [data] if data else [])
    writer.finish()
    return out.getvalue()


MEMBERS = [
    (Entry("dir/", DIRECTORY, 0o1777, 0, 0, 0, 1_700_000_000_000_000_000), b""),
    (Entry("dir/file", FILE, 0o4755, 1000, 100, 5, 1_700_000_000_123_456_789, xattrs={"user.a": b"\0\xff=\n"}), b"hello"),
    (Entry("empty", FILE), b""),
    (Entry("link", SYMLINK, 0o777, target="../x" * 60), b""),
    (Entry("hard", LINK, 0o644, target="dir/file"), b""),
    (Entry("char", CHARACTER, 0o600, major=1, minor=300), b""),
    (Entry("block", BLOCK, 0o600, major=7, minor=1), b""),
    (Entry("fifo", FIFO, 0o600), b""),
    (Entry("p" * 90 + "/" + "n" * 90, FILE, size=600), b"x" * 600),
    (Entry("n" * 255 + "/" + "m" * 255, FILE, size=1), b"y"),
    (Entry("ünï", FILE, uid=4_000_000, gid=3_000_000), b""),
    (Entry(os.fsdecode(b"raw\xff"), FILE, mtime_ns=-1_500_000_000), b""),
]


def test_what_was_written_reads_back_in_pieces_of_any_size() -> None:
    data = written(*MEMBERS)
    assert data == written(*MEMBERS)
    for piece in (1, 511, 512, 513, 100_000):
        assert read(data, piece) == MEMBERS


def test_pythons_tarfile_reads_what_was_written() -> None:
    with tarfile.open(fileobj=io.BytesIO(written(*MEMBERS)), errors="surrogateescape") as archive:
        members = archive.getmembers()
    for member, (entry, data) in zip(members, MEMBERS):  # noqa: B905  strict came after 3.9
        assert member.name == entry.name.rstrip("/")
        assert (member.size, member.uid, member.gid, member.mode, member.linkname) == (
            len(data),
            entry.uid,
            entry.gid,
            entry.mode,
            entry.target,
        )
        assert abs(float(member.mtime) - entry.mtime_ns / 1e9) < 1e-5
    assert members[1].pax_headers["SCHILY.xattr.user.a"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_pythons_tarfile_wrote_is_read(form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for entry, data in MEMBERS:
            if form == tarfile.USTAR_FORMAT and (
                len(entry.name) > 200 or len(entry.target) > 100 or entry.uid > 0o7777777 or entry.mtime_ns < 0
            ):
                continue
            member = tarfile.TarInfo(entry.name.rstrip("/"))
            member.type = {FILE: b"0", LINK: b"1", SYMLINK: b"2", CHARACTER: b"3", BLOCK: b"4", DIRECTORY: b"5", FIFO: b"6"}[
                entry.kind
            ]
            member.size, member.mode, member.uid, member.gid = len(data), entry.mode, entry.uid, entry.gid
            member.mtime, member.linkname = entry.mtime_ns // 1_000_000_000, entry.target
            member.devmajor, member.devminor = entry.major, entry.minor
            archive.addfile(member, io.BytesIO(data))
    expected = {entry.name.rstrip("/"): (entry, data) for entry, data in MEMBERS}
    found = read(out.getvalue())
    assert len(found) >= 8
    for entry, data in found:
        like, content = expected[entry.name.rstrip("/")]
        assert (entry.kind, entry.mode, entry.uid, entry.gid, entry.target, entry.major, entry.minor, data) == (
            like.kind, like.mode, like.uid, like.gid, like.target, like.major, like.minor, content)  # fmt: skip
        assert entry.mtime_ns == like.mtime_ns // 1_000_000_000 * 1_000_000_000


SPARSE_FORMS = {"gnu": ["--format=gnu"], "0.0": ["--format=pax", "--sparse-version=0.0"], "0.1": ["--format=pax", "--sparse-version=0.1"],
                "1.0": ["--format=pax", "--sparse-version=1.0"]}  # fmt: skip


@pytest.mark.parametrize("form", SPARSE_FORMS)
@pytest.mark.parametrize("regions", [0, 3, 40])
def test_gnu_tars_sparse_files_are_read(form: str, regions: int, tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        for number in range(regions):
            file.seek(number * 65536)
            file.write(bytes([65 + number % 26]) * 4096)
        file.truncate(regions * 65536 + 10_000)
    (tmp_path / "after").write_bytes(b"after")
    data = subprocess.run(
        ["tar", "-S", *SPARSE_FORMS[form], "-cf", "-", "sparse", "after"], cwd=tmp_path, check=True, capture_output=True
    ).stdout
    (sparse, stored), (after, content) = read(data)
    assert (sparse.name, after.name, content) == ("sparse", "after", b"after")
    assert sparse.sparse is not None
    whole = bytearray(sparse.size)
    at = 0
    for offset, length in sparse.sparse:
        whole[offset : offset + length] = stored[at : at + length]
        at += length
    assert bytes(whole) == (tmp_path / "sparse").read_bytes()


def test_a_name_that_ends_in_a_slash_is_a_folder_and_links_have_no_data() -> None:
    data = bytearray(written((Entry("old/", FILE), b""), (Entry("next", LINK, target="x"), b""), (Entry("last", FILE), b"")))
    assert [entry.kind for entry, _ in read(bytes(data))] == [DIRECTORY, LINK, FILE]


def record(key: str, value: str) -> bytes:
    length = next(n for n in range(200) if n == len(f"{n} {key}={value}\n"))
    return f"{length} {key}={value}\n".encode()


def patched(at: int, value: bytes, entry: Entry | None = None, flag: bytes = b"") -> bytes:
    """An archive whose first header has other bytes at a place, and a right checksum."""
    data = bytearray(written((entry or Entry("name", FILE, size=5), b"hello" if entry is None else b"")))
    data[at : at + len(value)] = value
    data[156:157] = flag or data[156:157]
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


def pax(records: bytes, flag: bytes = b"x") -> bytes:
    head = bytearray(patched(156, flag, Entry("p", FILE, size=0)))[:512]
    head[124:136] = b"%011o\0" % len(records)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + records + bytes(-len(records) % 512) + written((Entry("name", FILE, size=5), b"hello"))


HOSTILE = {
    "nothing of a tar": b"x" * 1024,
    "a torn header": written((Entry("a", FILE), b""))[:300],
    "torn data": written((Entry("a", FILE, size=5), b"hello"))[:514],
    "a wrong checksum": b"X" + patched(0, b"n")[1:],
    "a size that is no number": patched(124, b"99999999999\0"),
    "a negative size": patched(124, b"\xff" * 12),
    "a size of exabytes": patched(124, b"\x80" + b"\x7f" * 11),
    "a size beyond the data": patched(124, b"77777777777\0"),
    "a negative mode": patched(100, b"\xff" * 8),
    "an unknown base": patched(124, b"\x90" + b"\0" * 11),
    "an unknown type": patched(156, b"Z"),
    "a multi-volume piece": patched(156, b"M"),
    "a link to nothing": patched(156, b"2"),
    "uid -1": pax(record("uid", "4294967295")),
    "uid beyond 32 bits": pax(record("uid", "4294967296")),
    "a pax record without end": pax(b"10 path=ab"),
    "a pax record of length 0": pax(b"0 path=a\n"),
    "a pax record that is too long": pax(b"999 path=a\n"),
    "a pax record of absurd length": pax(b"99999999999999999999999 path=a\n"),
    "a pax record without key": pax(b"5 =a\n"),
    "a pax size that is no number": pax(record("size", "-1")),
    "a zero byte in a pax path": pax(record("path", "a\0b")),
    "a pax header of gigabytes": patched(124, b"77777777777", Entry("p", FILE), b"x"),
    "a long name of gigabytes": patched(124, b"77777777777", Entry("p", FILE), b"L"),
    "a time that is no number": pax(record("mtime", "x")),
    "only extension headers": b"".join(pax(b"")[:512] for _ in range(100)),
    "a sparse map that leaves the file": pax(record("GNU.sparse.size", "10") + record("GNU.sparse.map", "8,5")),
    "a sparse map that goes back": pax(record("GNU.sparse.size", "90") + record("GNU.sparse.map", "50,2,10,3")),
    "a sparse map of an odd count": pax(record("GNU.sparse.size", "90") + record("GNU.sparse.map", "5,2,8")),
    "a sparse map of other length": pax(record("GNU.sparse.size", "90") + record("GNU.sparse.map", "5,2")),
    "a sparse map longer than its file": pax(record("GNU.sparse.major", "1") + record("GNU.sparse.realsize", "90")),
    "a sparse file without a size": pax(record("GNU.sparse.major", "1")),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_refused_quickly__cve_2026_32288(case: str) -> None:
    with pytest.raises(BadArchive):
        read(HOSTILE[case])


def test_counts_and_lengths_have_limits() -> None:
    many = written(*[(Entry(f"f{number}", FILE), b"") for number in range(11)])
    with pytest.raises(BadArchive, match="more than 10 entries"):
        read(many, limits=Limits(entries=10))
    with pytest.raises(BadArchive, match="a name of 510 bytes"):
        read(written((Entry("n" * 255 + "/" + "m" * 254, FILE), b"")), limits=Limits(name_bytes=500))
    with pytest.raises(BadArchive, match="extended attributes"):
        read(written((Entry("a", FILE, xattrs={"user.a": b"x" * 100_000}), b"")))
    with pytest.raises(BadArchive, match="pax header of"):
        read(written((Entry("a", FILE, xattrs={"user.a": b"x" * 2_000_000}), b"")))


def test_a_file_that_changes_while_it_is_written_is_an_error() -> None:
    for data in (b"abc", b"abcdefghi"):
        with pytest.raises(BadArchive, match="changed while it was read"):
            written((Entry("a", FILE, size=5), data))
