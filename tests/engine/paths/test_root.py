from __future__ import annotations

import errno
import os
import random
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitopsd.engine.kernel.files import RENAME_EXCHANGE, renameat2
from gitopsd.engine.paths.resolve import open_by_kernel, open_by_walk
from gitopsd.engine.paths.root import Root, disk_usage, remove_tree

SECRET = b"outside"


@pytest.fixture(params=[open_by_kernel, open_by_walk], ids=["kernel", "walk"])
def opener(request: pytest.FixtureRequest) -> Callable[[int, str, int, int], int]:
    return request.param


@pytest.fixture
def root(tmp_path: Path, opener: Callable[[int, str, int, int], int]) -> Iterator[Root]:
    """A root with `a/b/file`; beside it, outside, `secret` and `dir/`."""
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/a/b/file").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "dir").mkdir()
    with Root(os.open(tmp_path / "root", os.O_RDONLY | os.O_DIRECTORY), opener) as found:
        yield found


def content(root: Root, path: str) -> bytes:
    return root.read(path, 1000)


PATHS = ["a/b/file", "/a/b/file", "a//b/./file", "../../a/b/file", "a/b/../b/file", "a/../../a/b/file", "link/file",
         "up/a/b/file", "absolute/file", "chain/file"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_links_and_dots_are_followed_inside_the_root(root: Root, path: str) -> None:
    root.symlink("a/b", "link")
    root.symlink("../../..", "a/up")
    root.symlink("a/up", "up")
    root.symlink("/a/b", "absolute")
    root.symlink("link", "chain")
    assert content(root, path) == b"inside"


@pytest.mark.parametrize(
    "text", ["../secret", "/../secret", "../../../../../../../../etc/passwd", "a/../../secret", "/etc/hostname"]
)
def test_a_link_leads_nowhere_outside(root: Root, text: str) -> None:
    root.symlink(text, "trap")
    for path in ("trap", text):
        with pytest.raises(FileNotFoundError):
            content(root, path)
    with pytest.raises(FileNotFoundError):
        os.close(root.open("trap/x", os.O_WRONLY | os.O_CREAT))


def test_loops_and_magic_links_are_refused(root: Root) -> None:
    root.symlink("loop2", "loop1")
    root.symlink("loop1", "loop2")
    with pytest.raises(OSError, match="symbolic links") as caught:
        root.open("loop1")
    assert caught.value.errno == errno.ELOOP


def test_a_magic_link_of_procfs_is_refused__cve_2024_21626(opener: Callable[[int, str, int, int], int]) -> None:
    with Root(os.open("/", os.O_RDONLY), opener) as root:
        assert root.read("proc/self/mounts", 1 << 20)  # /proc/self is a plain link
        for path in (
            "proc/self/exe",
            "proc/self/root/etc",
            "proc/self/cwd",
            "proc/self/ns/net",
            f"proc/self/fd/{root.descriptor}/etc",
        ):
            with pytest.raises(OSError, match="symbolic links"):
                root.open(path)


def test_errors_are_those_of_the_kernel(root: Root) -> None:
    not_found, not_a_folder = FileNotFoundError, NotADirectoryError
    for path, error in {
        "a/b/file/x": not_a_folder,
        "a/b/file/": not_a_folder,
        "none": not_found,
        "x" * 5000: OSError,
        "a\0": OSError,
    }.items():
        with pytest.raises(error):
            root.open(path)


def test_creating_replaces_a_link_and_never_follows_it__cve_2014_9357(root: Root, tmp_path: Path) -> None:
    root.symlink("../secret", "trap")
    root.symlink(str(tmp_path / "secret"), "a/trap")
    for path in ("trap", "a/trap"):
        with os.fdopen(root.create(path, 0o640), "wb") as file:
            file.write(b"new")
        assert content(root, path) == b"new"
        assert stat.S_ISREG(root.status(path, follow=False).st_mode)
    assert (tmp_path / "secret").read_bytes() == SECRET


def test_opening_with_creation_stays_inside(root: Root, tmp_path: Path) -> None:
    root.symlink("/made", "a/b/link")
    os.close(root.open("a/b/link", os.O_WRONLY | os.O_CREAT))
    assert stat.S_ISREG(root.status("made").st_mode)
    root.symlink("/again", "a/b/other")
    with pytest.raises(FileExistsError):
        root.open("a/b/other", os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def test_folders_are_made_inside_and_never_through_a_link_to_nowhere__cve_2024_45310(root: Root, tmp_path: Path) -> None:
    made: list[str] = []
    root.symlink("/a", "to-a")
    os.close(root.make_directories("to-a/x/y", 0o700, lambda _, path: made.append(path)))
    assert made == ["to-a/x", "to-a/x/y"]
    assert stat.S_IMODE(root.status("a/x/y").st_mode) == 0o700
    os.close(root.make_directories("/../../z/", 0o755))
    assert root.status("z")
    root.symlink("../dir/new", "trap")
    with pytest.raises((FileNotFoundError, NotADirectoryError)):
        root.make_directories("trap/deeper")
    with pytest.raises(FileNotFoundError):
        root.make_directories("n/../../m")
    assert os.listdir(tmp_path / "dir") == []


def test_a_hard_link_to_what_is_outside_cannot_be_made__cve_2026_17106(root: Root, tmp_path: Path) -> None:
    root.symlink("../secret", "trap")
    root.symlink("..", "up")
    for target in ("../secret", "up/secret", str(tmp_path / "secret")):
        with pytest.raises(FileNotFoundError):
            root.link(target, "taken")
    root.link("trap", "taken")  # the link itself, not what it names
    assert stat.S_ISLNK(root.status("taken", follow=False).st_mode)
    root.link("a/b/file", "second")
    root.link("second", "second")
    assert root.status("second").st_nlink == 2
    assert (tmp_path / "secret").stat().st_nlink == 1


@pytest.mark.parametrize("path", ["", "/", ".", "..", "a/..", "a/."])
def test_the_root_itself_cannot_be_replaced_or_removed(root: Root, path: str) -> None:
    for attempt in (root.create, root.remove, root.mknod, lambda p: root.symlink("x", p)):
        with pytest.raises(OSError, match="not a path to something inside"):
            attempt(path, 0o600) if attempt in (root.create, root.mknod) else attempt(path)


def test_removing_takes_the_link_not_its_target(root: Root, tmp_path: Path) -> None:
    (tmp_path / "dir/keep").write_bytes(b"")
    root.symlink(str(tmp_path / "dir"), "a/trap")
    root.symlink("../../../dir", "a/b/trap")
    root.remove("a")
    root.remove("a", missing_ok=True)
    with pytest.raises(FileNotFoundError):
        root.remove("a")
    assert os.listdir(root.descriptor) == []
    assert os.listdir(tmp_path / "dir") == ["keep"]


def test_a_tree_deeper_than_any_limit_is_removed(tmp_path: Path) -> None:
    top = os.open(tmp_path, os.O_RDONLY)
    here = os.dup(top)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        os.close(os.open("f", os.O_CREAT, dir_fd=here))
        following = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = following
    os.close(here)
    remove_tree(top, "d")
    assert os.listdir(top) == ["f"]
    os.close(top)


def test_a_tree_that_somebody_still_writes_into_is_removed(root: Root, tmp_path: Path) -> None:
    os.makedirs(tmp_path / "root/busy/inner")
    started = threading.Event()

    def write() -> None:
        for number in range(20_000):
            try:
                (tmp_path / f"root/busy/inner/{number}").touch()
            except FileNotFoundError:
                return
            started.set()

    writer = threading.Thread(target=write)
    writer.start()
    started.wait()
    root.remove("busy")
    writer.join()
    assert os.listdir(root.descriptor) == ["a"]


def test_a_walk_meets_links_and_does_not_follow_them(root: Root, tmp_path: Path) -> None:
    root.symlink("..", "up")
    root.symlink(str(tmp_path), "z")
    root.symlink("a", "again")
    assert [found.path for found in root.walk()] == ["a", "again", "up", "z", "a/b", "a/b/file"]
    assert [found.path for found in root.walk("a/b")] == ["a/b/file"]


def test_names_of_any_bytes_come_back(root: Root) -> None:
    name = os.fsdecode(b"\xff\xfe\n \x80")
    os.close(root.create(name))
    assert [found.name for found in root.walk() if "/" not in found.path] == ["a", name]


def test_a_fifo_is_not_read__cve_2026_47262(root: Root) -> None:
    root.mknod("fifo", stat.S_IFIFO | 0o600)
    with pytest.raises(OSError, match="not a regular file"):
        root.read("fifo", 10)
    with pytest.raises(OSError, match="larger than 3 bytes"):
        root.read("a/b/file", 3)


def test_a_subroot_cannot_reach_its_parent(root: Root) -> None:
    with root.subroot("a") as inner, pytest.raises(FileNotFoundError):
        inner.read("../a/b/file", 10)


def test_swapping_folders_and_links_meanwhile_never_leads_outside__cve_2018_15664(root: Root, tmp_path: Path) -> None:
    """One thread swaps a folder with a link to the outside all the time; whatever the others get is inside."""
    (tmp_path / "root/swap").mkdir()
    (tmp_path / "root/swap/secret").write_bytes(b"inside")
    os.symlink(tmp_path, tmp_path / "root/evil")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            renameat2(root.descriptor, "swap", root.descriptor, "evil", RENAME_EXCHANGE)
            stop.wait(random.random() * 1e-4)  # two threads in step would meet the link each time

    attacker = threading.Thread(target=swap)
    attacker.start()
    read = 0
    try:
        for count in range(3000):
            try:
                assert content(root, "swap/secret") == b"inside"
                read += 1
                os.close(root.create(f"swap/new{count % 7}"))
                os.close(root.make_directories(f"swap/made{count % 7}/x"))
            except OSError:
                continue
    finally:
        stop.set()
        attacker.join()
    assert read > 0
    assert sorted(os.listdir(tmp_path)) == ["dir", "root", "secret"]
    assert (tmp_path / "secret").read_bytes() == SECRET


def test_disk_usage_counts_a_file_with_two_names_once_and_nothing_outside(root: Root, tmp_path: Path) -> None:
    os.link(tmp_path / "root/a/b/file", tmp_path / "root/second")
    (tmp_path / "root/out").symlink_to("../dir")
    (tmp_path / "dir/large").write_bytes(bytes(100_000))
    assert disk_usage(str(tmp_path / "root")) == len(b"inside") + len("../dir")


def test_disk_usage_ends_where_a_path_would_be_too_long(root: Root, tmp_path: Path) -> None:
    folder = os.open(tmp_path / "root", os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=folder)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    os.close(folder)
    assert disk_usage(str(tmp_path / "root")) == len(b"inside")
    root.empty()
