from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.images.stream import BadArchive, Limits, Stream
from gitopsd.engine.images.tar.entry import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Entry
from gitopsd.engine.images.tar.writer import Writer
from gitopsd.engine.images.unpack import JOB, LOOKS_JOB
from gitopsd.oci.digest import Digest

from .runner import run_worker

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # from 3.12 on; the children do one thing and are gone
]

Member = tuple[Entry, bytes]


def tar(*members: Member | Entry) -> bytes:
    out = io.BytesIO()
    writer = Writer(out.write)
    for member in members:
        entry, data = member if isinstance(member, tuple) else (member, b"")
        entry.size = len(data)
        writer.add(entry, [data])
    writer.finish()
    return out.getvalue()


def a_file(name: str, data: bytes = b"data", **more: object) -> Member:
    return Entry(name, FILE, **more), data  # type: ignore[arg-type]


def a_folder(name: str, mode: int = 0o755, **more: object) -> Entry:
    return Entry(name, DIRECTORY, mode, **more)  # type: ignore[arg-type]


def a_link(name: str, target: str) -> Entry:
    return Entry(name, LINK, target=target)


def a_symlink(name: str, target: str) -> Entry:
    return Entry(name, SYMLINK, 0o777, target=target)


class Layers:
    """A folder of layers as the engine keeps it, beside a secret that no layer may touch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "layers"
        self.folder.mkdir(mode=0o700)
        self.secret = folder / "secret"
        self.secret.write_bytes(b"secret")
        self.count = 0

    def unpack(self, data: bytes, *lower: Path, compression: str = "", diff_id: Digest | None = None) -> Path:
        self.count += 1
        target = self.folder / str(self.count)
        target.mkdir()
        blob = self.folder.parent / "blob"
        blob.write_bytes(gzip.compress(data) if compression == "gzip" else data)
        descriptors = [os.open(blob, os.O_RDONLY), os.open(target, os.O_RDONLY), os.open(self.folder, os.O_RDONLY)]
        try:
            done = run_worker(JOB, {"compression": compression, "diff_id": diff_id or Digest.of(data)}, descriptors[:2])
            run_worker(LOOKS_JOB, {"paths": done["implied"], "lower": [path.name for path in lower]}, descriptors[1:])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return target


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path)


def is_whiteout(path: Path) -> bool:
    status = os.lstat(path)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path: Path) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path)


def test_a_layer_comes_out_as_it_was(layers: Layers) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service+ep
    top = layers.unpack(
        tar(
            a_folder("./", 0o711, uid=5),
            a_folder("tmp", 0o1777, mtime_ns=1_600_000_000_000_000_000),
            a_folder("staff", 0o2775, gid=50),
            a_file("staff/plain"),
            a_file("tmp/suid", b"x" * 3_000_000, mode=0o4755, uid=7, gid=8, mtime_ns=1_600_000_000_123_456_789),
            a_file("bin", mode=0o755, xattrs={"security.capability": capability, "user.note": b"n", "trusted.overlay.redirect": b"/",
                                              "user.overlay.opaque": b"y"}),
            a_link("again", "./tmp/suid"),
            a_symlink("sym", "/etc/passwd"),
            a_link("hardsym", "sym"),
            Entry("null", CHARACTER, 0o666, major=1, minor=3),
            Entry("loop", BLOCK, 0o660, gid=6, major=7, minor=0),
            Entry("pipe", FIFO, 0o622),
        )
    )  # fmt: skip
    assert (stat.S_IMODE(top.stat().st_mode), top.stat().st_uid) == (0o711, 5)
    assert (stat.S_IMODE((top / "tmp").stat().st_mode), (top / "tmp").stat().st_mtime) == (0o1777, 1_600_000_000)
    assert (stat.S_IMODE((top / "staff").stat().st_mode), (top / "staff").stat().st_gid) == (0o2775, 50)
    assert (top / "staff/plain").stat().st_gid == 0
    suid = (top / "tmp/suid").stat()
    assert (stat.S_IMODE(suid.st_mode), suid.st_uid, suid.st_gid, suid.st_size, suid.st_nlink) == (0o4755, 7, 8, 3_000_000, 2)
    assert suid.st_mtime_ns == 1_600_000_000_123_456_789
    assert sorted(os.listxattr(top / "bin")) == ["security.capability", "user.note"]
    assert os.getxattr(top / "bin", "security.capability") == capability
    assert os.readlink(top / "sym") == os.readlink(top / "hardsym") == "/etc/passwd"
    assert [os.lstat(top / name).st_rdev for name in ("null", "loop")] == [os.makedev(1, 3), os.makedev(7, 0)]
    assert stat.S_ISFIFO((top / "pipe").stat().st_mode)


def test_whiteouts_become_overlays(layers: Layers) -> None:
    top = layers.unpack(tar(a_folder("a"), a_file("a/.wh.gone", b""), a_file(".wh.top", b""), a_folder("b"), a_file("b/.wh..wh..opq", b""),
                            a_file(".wh..wh.plnk", b""), a_file(".wh..wh.aufs/x", b"")))  # fmt: skip
    assert is_whiteout(top / "a/gone")
    assert is_whiteout(top / "top")
    assert is_opaque(top / "b")
    assert sorted(os.listdir(top)) == ["a", "b", "top"]


def test_a_whiteout_hides_only_what_lies_below_it(layers: Layers) -> None:
    top = layers.unpack(
        tar(
            a_file("file"), a_file(".wh.file", b""),
            a_folder("folder"), a_file("folder/new"), a_file(".wh.folder", b""),
            a_file(".wh.later", b""), a_folder("later"), a_file("later/new"),
            a_file(".wh.implied", b""), a_file("implied/new"),
            a_file(".wh.refilled", b""), a_file("refilled"),
        )
    )  # fmt: skip
    assert (top / "file").read_bytes() == (top / "refilled").read_bytes() == b"data"
    for name in ("folder", "later", "implied"):
        assert is_opaque(top / name)
        assert os.listdir(top / name) == ["new"]


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh...", "a/.wh.."])
def test_a_whiteout_cannot_hide_the_folder_it_is_in(layers: Layers, name: str) -> None:
    with pytest.raises(ApiError, match="hides no name"):
        layers.unpack(tar(a_folder("a"), a_file(name, b"")))


def test_nothing_is_put_inside_a_whiteout(layers: Layers) -> None:
    with pytest.raises(ApiError, match="inside a whiteout"):
        layers.unpack(tar(a_file(".wh.a/file")))
    with pytest.raises(ApiError, match="links to a whiteout"):
        layers.unpack(tar(a_file(".wh.a", b""), a_link("b", "a")))
    with pytest.raises(ApiError, match="0:0"):
        layers.unpack(tar(Entry("a", CHARACTER)))


def test_folders_that_a_layer_uses_without_bringing_look_as_below(layers: Layers) -> None:
    bottom = layers.unpack(
        tar(a_folder("a", 0o700, uid=9, gid=8, mtime_ns=1_000_000_000), a_folder("a/b", 0o2750, xattrs={"user.x": b"1"}))
    )
    top = layers.unpack(tar(a_file("a/b/c/file")), bottom)
    assert (stat.S_IMODE((top / "a").stat().st_mode), (top / "a").stat().st_uid, (top / "a").stat().st_mtime) == (0o700, 9, 1)
    assert stat.S_IMODE((top / "a/b").stat().st_mode) == 0o2750
    assert os.getxattr(top / "a/b", "user.x") == b"1"
    assert ((top / "a/b/c/file").stat().st_gid, (top / "a/b/c").stat().st_mtime) == (0, 0)


def test_an_entry_replaces_what_came_before(layers: Layers) -> None:
    top = layers.unpack(
        tar(
            a_folder("x"), a_file("x/y"), a_file("x", b"file now"),
            a_file("f"), a_folder("f"), a_file("f/in"),
            a_file("twice", b"1"), a_file("twice", b"2"),
            a_folder("kept", 0o700), a_file("kept/in"), a_folder("kept", 0o755),
            a_symlink("s", "x"), a_file("s", b"no link"),
        )
    )  # fmt: skip
    assert ((top / "x").read_bytes(), (top / "twice").read_bytes(), (top / "s").read_bytes()) == (b"file now", b"2", b"no link")
    assert (os.listdir(top / "f"), os.listdir(top / "kept"), stat.S_IMODE((top / "kept").stat().st_mode)) == (
        ["in"],
        ["in"],
        0o755,
    )


ESCAPES: dict[str, Callable[[Layers], list[Member | Entry]]] = {
    "dots": lambda _: [a_file("../secret", b"evil")],
    "dots in the middle": lambda _: [a_folder("a"), a_file("a/../../secret", b"evil")],
    "an absolute path": lambda layers: [a_file(str(layers.secret), b"evil")],
    "a link, then a file of its name": lambda layers: [a_symlink("a", str(layers.secret)), a_file("a", b"evil")],
    "a link as a folder": lambda layers: [a_symlink("a", str(layers.folder.parent)), a_file("a/secret", b"evil")],
    "a relative link as a folder": lambda _: [a_symlink("a", "../.."), a_file("a/secret", b"evil")],
    "a link to a link": lambda _: [a_symlink("a", "b"), a_symlink("b", "../.."), a_file("a/secret", b"evil")],
    "a hard link to the outside": lambda layers: [a_link("a", str(layers.secret)), a_file("a", b"evil")],
    "a hard link by dots": lambda _: [a_link("a", "../../secret")],
    "a hard link by a link": lambda _: [a_symlink("s", "../.."), a_link("a", "s/secret"), a_file("a", b"evil")],
    "a hard link to a link, then a file": lambda layers: [a_symlink("s", str(layers.secret)), a_link("a", "s"), a_file("a", b"evil")],
    "a hard link's folder swapped": lambda layers: [a_folder("d"), a_file("d/secret"), a_symlink("d2", str(layers.folder.parent)),
                                                    a_link("a", "d2/secret"), a_file("a", b"evil")],
    "a folder that becomes a link": lambda layers: [a_folder("d"), a_file("d/x"), a_symlink("d", str(layers.folder.parent)),
                                                    a_file("d/secret", b"evil")],
    "a whiteout through a link": lambda _: [a_symlink("a", "../.."), a_file("a/.wh.secret", b"")],
    "an opaque marker through a link": lambda _: [a_symlink("a", "../.."), a_file("a/.wh..wh..opq", b"")],
    "a folder's mode through a link": lambda layers: [a_symlink("a", str(layers.folder.parent)), a_folder("a", 0o777)],
    "a device over a link": lambda layers: [a_symlink("a", str(layers.secret)), Entry("a", FIFO, 0o600)],
    "a long chain of links": lambda _: [*(a_symlink(f"l{number}", f"l{number + 1}") for number in range(50)), a_file("l0/x")],
    "another layer": lambda _: [a_symlink("a", "../1"), a_file("a/taken", b"evil")],
}  # fmt: skip


@pytest.mark.parametrize("case", ESCAPES)
def test_no_entry_reaches_outside__cve_2014_9357__cve_2026_17106(layers: Layers, case: str) -> None:
    other = layers.unpack(tar(a_file("own")))
    before = {path: os.lstat(path) for path in (layers.secret, layers.folder.parent)}
    with contextlib.suppress(BadArchive, ApiError):
        layers.unpack(tar(*ESCAPES[case](layers)))
    assert layers.secret.read_bytes() == b"secret"
    for path, status in before.items():
        after = os.lstat(path)
        assert (after.st_mode, after.st_uid, after.st_nlink) == (status.st_mode, status.st_uid, status.st_nlink)
    assert sorted(os.listdir(layers.folder.parent)) == ["blob", "layers", "secret"]
    assert os.listxattr(layers.folder.parent) == []
    assert os.listdir(other) == ["own"]


def test_a_link_in_a_folder_above_is_followed_inside_the_layer(layers: Layers) -> None:
    top = layers.unpack(tar(a_folder("usr"), a_folder("usr/bin"), a_symlink("bin", "/usr/bin"), a_file("bin/tool")))
    assert (top / "usr/bin/tool").read_bytes() == b"data"


@pytest.mark.parametrize("entry", [a_link("a", "missing"), a_link("a", "missing/x"), a_file("f/x/y"), a_symlink("a", "t" * 4096), a_file("n" * 256)],
                         ids=["link to nothing", "link into nothing", "file as folder", "endless target", "endless name"])  # fmt: skip
def test_an_entry_that_cannot_be_is_named(layers: Layers, entry: Member | Entry) -> None:
    with pytest.raises(ApiError, match=r"unpack layer [0-9a-f]{12}: entry '") as caught:
        layers.unpack(tar(a_file("f"), entry))
    assert caught.value.status == 400


def test_the_digest_covers_every_byte(layers: Layers) -> None:
    data = tar(a_file("a"))
    layers.unpack(data, compression="gzip")
    layers.unpack(data + bytes(10_000))
    with pytest.raises(ApiError, match="the image config says"):
        layers.unpack(data, diff_id=Digest.of(b"other"))
    with pytest.raises(ApiError, match="the image config says"):
        layers.unpack(data + b"more", diff_id=Digest.of(data))


@pytest.mark.parametrize("compression", ["gzip", "zstd", "bzip2", "xz"])
def test_compressed_data_is_read_and_damage_is_found(tmp_path: Path, compression: str) -> None:
    data = os.urandom(100) * 50_000
    packed = subprocess.run([compression, "-c"], input=data, check=True, capture_output=True).stdout

    def digest(given: bytes) -> Digest:
        (tmp_path / "file").write_bytes(given)
        with open(tmp_path / "file", "rb") as file:
            stream = Stream(file.fileno(), compression)
            try:
                return stream.finish()
            finally:
                stream.close()

    assert digest(packed) == Digest.of(data)
    assert digest(packed + packed) == Digest.of(data + data)
    for wrong in (
        packed[:-3],
        packed[: len(packed) // 2],
        packed[:20] + b"\xff\xff\xff" + packed[23:],
        b"",
        b"no " + packed,
        packed + b"x",
    ):
        with pytest.raises(BadArchive):
            digest(wrong)


def test_a_decompression_bomb_ends_early__cve_2021_20291(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(gzip.compress(bytes(80_000_000), 9))
    for limits, reason in (
        (Limits(total_bytes=50_000_000), "more than 50000000"),
        (Limits(ratio_floor_bytes=20_000_000), "as a bomb"),
    ):
        with open(tmp_path / "bomb", "rb") as file:
            stream = Stream(file.fileno(), "gzip", limits)
            with pytest.raises(BadArchive, match=reason):
                stream.finish()
            stream.close()


def test_pythons_own_archive_of_a_real_tree_comes_out_equal(layers: Layers, tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add("/usr/lib/python3", arcname="lib")
    top = layers.unpack(out.getvalue())
    assert subprocess.run(["diff", "-r", "--no-dereference", "/usr/lib/python3", top / "lib"], capture_output=True).stdout == b""
