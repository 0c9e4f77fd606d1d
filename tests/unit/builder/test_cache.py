"""Records of what steps gave."""

import os
import stat
from pathlib import Path

from gitopsd.engine.builder.cache import Cache, layer_from_json, layer_to_json
from gitopsd.engine.builder.images import Layer
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import OCI_LAYER, Descriptor


def layer(digit: str, size: int = 10) -> Layer:
    digest = Digest("sha256:" + digit * 64)
    return Layer(digest, Descriptor(OCI_LAYER, digest, size))


def put(cache: Cache, key: str, digit: str = "a", size: int = 10, used: int = 0) -> None:
    cache.put(key, layer=layer_to_json(layer(digit, size)))
    os.utime(cache._path(key), (used, used))


def test_what_was_put_is_there_also_for_the_next_daemon(tmp_path: Path) -> None:
    put(Cache(str(tmp_path / "c")), "k")
    record = Cache(str(tmp_path / "c")).get("k")
    assert record
    assert layer_from_json(record["layer"]) == layer("a")
    assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o700


def test_a_step_without_a_layer_is_a_record_too(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path))
    cache.put("k", layer=layer_to_json(None))
    assert cache.get("k") == {"version": 1, "layer": None}


def test_a_damaged_record_and_one_of_another_version_are_as_good_as_lost(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path))
    for content in (b"", b"{", b"[]", b'{"version": 2}', b"\xff"):
        (tmp_path / "k").write_bytes(content)
        assert cache.get("k") is None
    assert list(cache.roots()) == []


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), most_records=2)
    for used, key in enumerate(("a", "b", "c"), 1):
        put(cache, key, used=used)
    cache.get("a")
    cache.prune()
    assert sorted(cache._keys()) == ["a", "c"]


def test_the_size_of_their_layers_is_bounded(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), most_bytes=25)
    for used, key in enumerate(("a", "b", "c"), 1):
        put(cache, key, used=used)
    cache = Cache(str(tmp_path), most_bytes=25)
    cache.prune()
    assert sorted(cache._keys()) == ["b", "c"]


def test_the_collector_is_told_of_every_layer(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path))
    put(cache, "x", "a")
    put(cache, "y", "b")
    cache.put("z", digest="d")
    assert sorted(cache.roots()) == [layer("a").blob.digest, layer("b").blob.digest]


def test_a_write_that_was_cut_off_is_cleared_and_never_read(tmp_path: Path) -> None:
    (tmp_path / "k.tmp-1-ff").write_text("{")
    cache = Cache(str(tmp_path))
    assert cache.get("k") is None
    assert os.listdir(tmp_path) == []


def test_a_disk_that_is_full_costs_the_record_and_no_more(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "c"))
    (tmp_path / "c").rmdir()
    cache.put("k", layer=None)
    assert cache.get("k") is None
