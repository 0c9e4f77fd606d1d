from __future__ import annotations

import errno
import os
import random
import resource
import signal
import threading
import time
from pathlib import Path

import pytest

from gitopsd.engine.content.blobs import BlobMissing, Blobs, DigestMismatch
from gitopsd.engine.content.gc import collect
from gitopsd.oci.digest import Digest

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*fork:DeprecationWarning"
)  # from 3.12 on; the children do one thing and are gone

DATA = b"some content " * 1000
DIGEST = Digest.of(DATA)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path))


def files(blobs: Blobs) -> list[str]:
    top = Path(blobs.folder).parent
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())


class Owner:
    def __init__(self, *digests: Digest) -> None:
        self.digests = digests

    def roots(self) -> tuple[Digest, ...]:
        return self.digests


def test_a_blob_is_stored_read_and_removed(blobs: Blobs) -> None:
    assert blobs.put(DATA) == blobs.put(DATA) == DIGEST
    assert (blobs.size(DIGEST), blobs.read(DIGEST, 1 << 20), list(blobs)) == (len(DATA), DATA, [DIGEST])
    assert os.stat(blobs.path(DIGEST)).st_mode & 0o777 == 0o600
    assert blobs.remove(DIGEST) == len(DATA)
    assert blobs.remove(DIGEST) == 0
    for attempt in (blobs.open, blobs.size):
        with pytest.raises(BlobMissing, match=DIGEST):
            attempt(DIGEST)
    assert files(blobs) == []


def test_nothing_is_visible_before_it_is_whole(blobs: Blobs) -> None:
    with blobs.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[:-1])
        assert not blobs.has(DIGEST)
        assert list(blobs) == []
        ingest.write(DATA[-1:])
        assert not blobs.has(DIGEST)
        ingest.commit()
    assert blobs.has(DIGEST)


def test_an_ingest_goes_on_where_the_last_one_broke_off(blobs: Blobs) -> None:
    with blobs.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[:700])
    assert blobs.partials([DIGEST, Digest.of(b"other")]) == {DIGEST: 700}
    with blobs.ingest(DIGEST, len(DATA)) as ingest:
        assert ingest.offset == 700
        ingest.write(DATA[700:])
        ingest.commit()
    assert blobs.read(DIGEST, 1 << 20) == DATA
    assert blobs.partials([DIGEST]) == {}


def test_wrong_bytes_leave_nothing(blobs: Blobs) -> None:
    with blobs.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(b"x" * len(DATA))
        with pytest.raises(DigestMismatch, match="the bytes that came have digest"):
            ingest.commit()
    with blobs.ingest(DIGEST, len(DATA)) as ingest, pytest.raises(DigestMismatch, match="more than"):
        ingest.write(DATA + b"x")
    assert files(blobs) == []


def test_a_partial_that_is_wrong_is_found_out_and_thrown_away(blobs: Blobs) -> None:
    with blobs.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(b"\0" * 700)  # as after a pulled plug
    with blobs.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[700:])
        with pytest.raises(DigestMismatch):
            ingest.commit()
    assert files(blobs) == []


def test_a_short_blob_keeps_its_partial(blobs: Blobs) -> None:
    with blobs.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[:10])
        with pytest.raises(DigestMismatch, match=f"{len(DATA)} bytes expected, 10 came"):
            ingest.commit()
    assert blobs.partials([DIGEST]) == {DIGEST: 10}


def test_a_second_ingest_of_a_blob_keeps_to_itself_or_waits(blobs: Blobs) -> None:
    with blobs.ingest(DIGEST, len(DATA)) as first:
        first.write(DATA[:10])
        with blobs.ingest(DIGEST, len(DATA), wait=False) as second:
            assert second.offset == 0
            second.write(DATA)
            second.commit()
        done: list[int] = []

        def third() -> None:
            with blobs.ingest(DIGEST, len(DATA)) as waiting:
                done.append(waiting.offset)

        thread = threading.Thread(target=third)
        thread.start()
        first.write(DATA[10:])
        assert done == []
        first.commit()
        thread.join()
    assert done == [0]
    assert files(blobs) == [f"sha256/{DIGEST.hex}"]


def test_many_threads_store_the_same_blobs(blobs: Blobs) -> None:
    contents = [os.urandom(20_000) for _ in range(5)]

    def store() -> None:
        for data in random.sample(contents, len(contents)):
            with blobs.ingest(Digest.of(data), len(data), wait=random.random() < 0.5) as ingest:
                for at in range(ingest.offset, len(data), 3000):
                    ingest.write(data[at : at + 3000])
                ingest.commit()

    threads = [threading.Thread(target=store) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files(blobs) == sorted(f"sha256/{Digest.of(data).hex}" for data in contents)
    assert all(blobs.verify(digest) for digest in blobs)


def test_a_damaged_blob_is_not_read_as_a_document(blobs: Blobs) -> None:
    blobs.put(DATA)
    with open(blobs.path(DIGEST), "r+b") as file:
        file.write(b"X")
    with pytest.raises(DigestMismatch, match="damaged"):
        blobs.read(DIGEST, 1 << 20)
    assert not blobs.verify(DIGEST)


def test_an_unnamed_blob_gets_its_digest_and_so_does_a_file(blobs: Blobs, tmp_path: Path) -> None:
    with blobs.ingest_unnamed() as ingest:
        ingest.write(DATA)
        assert ingest.commit() == DIGEST
    path = str(tmp_path / "upload")
    for part in (b"", b"up", b"load"):
        with blobs.ingest_file(path, create=part == b"") as ingest:
            ingest.write(part)
    with blobs.ingest_file(path, create=False) as ingest:
        assert (ingest.offset, ingest.digest) == (6, Digest.of(b"upload"))
        ingest.commit()
    with pytest.raises(FileNotFoundError):
        blobs.ingest_file(path, create=False)
    assert blobs.read(Digest.of(b"upload"), 6) == b"upload"


def test_what_is_named_held_or_young_is_not_collected(blobs: Blobs) -> None:
    named, held, young, old = (blobs.put(text) for text in (b"named", b"held", b"young", b"old"))
    for digest in (named, held, old):
        os.utime(blobs.path(digest), (1, 1))
    with blobs.lease() as lease:
        assert lease.keep(held)
        os.utime(blobs.path(held), (1, 1))
        found = collect(blobs, [Owner(named), Owner(Digest.of(b"not here"))])
    assert (found.removed, found.freed_bytes) == ((old,), 3)
    assert set(blobs) == {named, held, young}
    assert set(collect(blobs, [], grace_s=0).removed) == {named, held, young}


def test_relying_on_a_blob_makes_it_young(blobs: Blobs) -> None:
    digest = blobs.put(b"x")
    os.utime(blobs.path(digest), (1, 1))
    with blobs.lease() as lease:
        assert lease.keep(digest)
        assert not lease.keep(Digest.of(b"other"))
    assert collect(blobs, []).removed == ()


def test_nothing_is_collected_when_an_owner_cannot_say_what_it_needs(blobs: Blobs) -> None:
    class Broken:
        def roots(self) -> list[Digest]:
            raise ValueError("unreadable")

    blobs.put(b"x")
    with pytest.raises(ValueError, match="unreadable"):
        collect(blobs, [Owner(), Broken()], grace_s=0)
    assert len(list(blobs)) == 1


def test_partials_go_when_they_are_old_and_nobody_appends(blobs: Blobs) -> None:
    other = Digest.of(b"other")
    with blobs.ingest(DIGEST) as left:
        left.write(DATA[:5])
    with blobs.ingest(other) as active:
        active.write(b"o")
        assert collect(blobs, []).freed_bytes == 0
        assert collect(blobs, [], partial_grace_s=0).freed_bytes == 5
        active.write(b"ther")
        active.commit()
    assert list(blobs) == [other]


def test_a_full_disk_leaves_the_store_valid_and_frees_what_came(blobs: Blobs) -> None:
    """A limit on the size of files stands for a full disk: the kernel cuts the write, then refuses."""
    data = os.urandom(100_000)
    kept = blobs.put(b"kept")
    child = os.fork()
    if child == 0:  # the limit cannot be taken back, so it is for a child
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            with blobs.ingest(Digest.of(data), len(data)) as ingest:
                ingest.write(data)
        except OSError as error:
            os._exit(0 if error.errno == errno.EFBIG else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(blobs) == [kept]
    with blobs.ingest(Digest.of(data), len(data)) as ingest:  # and it goes on when there is room
        ingest.write(data[ingest.offset :])
        ingest.commit()
    assert blobs.verify(Digest.of(data))


@pytest.mark.host
def test_no_space_left_drops_the_partial_and_says_so(tmp_path: Path) -> None:
    from gitopsd.engine.kernel.mount import mount, unmount

    mount("tmpfs", str(tmp_path), "tmpfs", 0, "size=256k")
    try:
        blobs = Blobs(str(tmp_path))
        kept = blobs.put(b"kept")
        data = os.urandom(600_000)
        with pytest.raises(OSError, match="No space left") as caught, blobs.ingest(Digest.of(data), len(data)) as ingest:
            ingest.write(data)
        assert caught.value.errno == errno.ENOSPC
        assert files(blobs) == [f"sha256/{kept.hex}"]
        assert blobs.put(b"more") in set(blobs)
    finally:
        unmount(str(tmp_path))


def test_killed_at_any_moment_what_is_listed_hashes_clean(blobs: Blobs) -> None:
    """A child stores, resumes and collects as fast as it can, and is killed; another goes on in the same store."""
    contents = [os.urandom(random.randrange(1, 60_000)) for _ in range(20)]
    stored = 0
    for _ in range(40):
        child = os.fork()
        if child == 0:
            while True:
                for data in random.sample(contents, len(contents)):
                    with blobs.ingest(Digest.of(data), len(data)) as ingest:
                        for at in range(ingest.offset, len(data), 5000):
                            ingest.write(data[at : at + 5000])
                        ingest.commit()
                    if random.random() < 0.2:
                        collect(blobs, [Owner(Digest.of(contents[0]))], grace_s=0)
        time.sleep(random.uniform(0.001, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        present = list(blobs)
        stored += len(present)
        assert all(blobs.verify(digest) for digest in present)
    assert stored > 0
    for data in contents:
        with blobs.ingest(Digest.of(data), len(data)) as ingest:
            ingest.write(data[ingest.offset :])
            ingest.commit()
    assert len(list(blobs)) == len(contents)
