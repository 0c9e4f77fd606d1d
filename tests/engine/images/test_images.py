from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.images.images import Images, Use
from gitopsd.engine.registry.client import Client
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor

from ..registry.running import debians_registry, our_registry  # noqa: TID252  the tests are no installed package
from .making import LAYERS, a_config, a_docker_archive, a_manifest, a_tar, images_at, load, mirrored, names_in
from .runner import run_worker

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # from 3.12 on; the children do one thing and are gone
]


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return images_at(tmp_path / "data")


@pytest.fixture
def busybox(images: Images, tmp_path: Path) -> Images:
    load(images, a_docker_archive(tmp_path / "busybox.tar", ["busybox:stable"], Labels={"made": "here"}))
    return images


def layer(images: Images, short: str) -> Path:
    return Path(images.layer_store.folder, short)


def test_an_archive_of_docker_is_loaded_and_its_layers_are_there(images: Images, tmp_path: Path) -> None:
    said = load(images, a_docker_archive(tmp_path / "a.tar", ["busybox:stable", "shop/web:1"]))
    assert said == [{"stream": "Loaded image: busybox:stable\n"}, {"stream": "Loaded image: shop/web:1\n"}]
    image = images.find("busybox:stable")
    assert image.id == Digest.of(a_config(LAYERS))
    assert image.config["Cmd"] == ["/bin/sh"]
    top, bottom = images.layers(image.digest)
    assert (top, bottom) == ("2", "1")
    assert (layer(images, bottom) / "bin/sh").read_bytes() == b"shell" * 1000
    assert (layer(images, top) / "etc/motd").read_bytes() == b"hello"
    assert os.lstat(layer(images, top) / "bin/sh").st_rdev == 0
    assert images.count() == 1


def test_the_same_archive_gives_the_same_manifest_everywhere(tmp_path: Path) -> None:
    archive = a_docker_archive(tmp_path / "a.tar", ["a:1"])
    digests = []
    for number in range(2):
        images = images_at(tmp_path / str(number))
        load(images, archive)
        digests.append(images.find("a:1").digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_compressed_archive_with_compressed_layers_is_loaded(images: Images, tmp_path: Path, pack: Any) -> None:
    plain = a_docker_archive(tmp_path / "a.tar", ["a:1"], compress=True)
    (tmp_path / "packed").write_bytes(pack(plain.read_bytes()))
    load(images, tmp_path / "packed")
    image = images.find("a:1")
    assert {blob.media_type for blob in image.manifest.layers} == {OCI_LAYER + "+gzip"}
    assert (layer(images, images.layers(image.digest)[0]) / "etc/motd").read_bytes() == b"hello"


def test_what_was_saved_is_loaded_equal(busybox: Images, tmp_path: Path) -> None:
    busybox.tag("busybox:stable", "shop/web", "2")
    out = io.BytesIO()
    busybox.save(["busybox:stable", "shop/web:2"], out.write)
    (tmp_path / "saved.tar").write_bytes(out.getvalue())
    again = io.BytesIO()
    busybox.save(["busybox:stable", "shop/web:2"], again.write)
    assert again.getvalue() == out.getvalue()
    other = images_at(tmp_path / "other")
    load(other, tmp_path / "saved.tar")
    assert other.find("shop/web:2").digest == busybox.find("busybox:stable").digest
    assert other.find("busybox:stable").digest == busybox.find("busybox:stable").digest
    assert "oci-layout" in names_in(tmp_path / "saved.tar")


@pytest.mark.parametrize("members", [
    {}, {"manifest.json": b"["}, {"manifest.json": b"{}"}, {"manifest.json": b"[7]"}, {"manifest.json": b'[{"Config":"../x","Layers":[]}]'},
    {"manifest.json": b'[{"Config":"config.json","Layers":["l"]}]', "config.json": a_config(LAYERS[:1])},
    {"manifest.json": b'[{"Config":"config.json","Layers":["l"]}]', "config.json": a_config(LAYERS[:1]), "l": b"other bytes"},
    {"manifest.json": b'[{"Config":"config.json","Layers":["l"]}]', "config.json": a_config([b"no tar" * 100]), "l": b"no tar" * 100},
    {"oci-layout": b"{}", "index.json": b"{}"},
    {"oci-layout": b"{}", "index.json": json.dumps({"schemaVersion": 2, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": Digest.of(b"x"), "size": 1}]}).encode()},
])  # fmt: skip
def test_an_archive_that_is_no_image_is_refused_and_leaves_no_image(
    images: Images, tmp_path: Path, members: dict[str, bytes]
) -> None:
    (tmp_path / "a.tar").write_bytes(a_tar(members) if members else b"no tar at all" * 1000)
    with pytest.raises(ApiError) as caught:
        load(images, tmp_path / "a.tar")
    assert caught.value.status == 400
    assert (images.list(), images.layer_store.chains()) == ([], set())
    assert os.listdir(images.layer_store.folder) == []


def test_an_archive_cannot_name_files_outside_itself(images: Images, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("config.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        data = b'[{"Config":"config.json","Layers":[]}]'
        member = tarfile.TarInfo("manifest.json")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    with pytest.raises(ApiError, match=r"has no 'config\.json'"):
        load(images, tmp_path / "a.tar")


def test_a_name_in_an_archive_must_be_whole__cve_2026_50195(images: Images, tmp_path: Path) -> None:
    load(images, a_docker_archive(tmp_path / "a.tar", ["latest", "busybox", "a@sha256:" + "0" * 64, "UPPER:1", "ok:1"]))
    assert images.find("ok:1")
    assert images.list()[0]["RepoTags"] == ["ok:1"]


def test_an_image_is_found_by_every_name_it_has(busybox: Images) -> None:
    image = busybox.find("busybox:stable")
    for name in (
        "docker.io/library/busybox:stable",
        image.id,
        image.id[7:],
        image.id[7:19],
        image.digest,
        f"other@{image.digest}",
    ):
        assert busybox.find(name).digest == image.digest
    for name in ("busybox", "busybox:latest", "f" * 12, "sha256:" + "0" * 64, "::", "Busybox:stable"):
        with pytest.raises(ApiError, match=r"No such image: ") as caught:
            busybox.find(name)
        assert caught.value.status == 404
    with pytest.raises(ApiError, match="No such image: busybox:latest"):
        busybox.find("busybox")


def test_list_inspect_and_history_have_dockers_form(busybox: Images) -> None:
    image = busybox.find("busybox:stable")
    (shown,) = busybox.list()
    assert (shown["Id"], shown["RepoTags"], shown["RepoDigests"], shown["Labels"]) == (
        image.id,
        ["busybox:stable"],
        [],
        {"made": "here"},
    )
    assert (shown["Created"], shown["Size"]) == (1767323045, 5005)
    inspected = busybox.inspect("busybox:stable")
    assert (inspected["Id"], inspected["Architecture"], inspected["RootFS"]["Layers"]) == (
        image.id,
        "amd64",
        [Digest.of(data) for data in LAYERS],
    )
    assert inspected["Config"]["Labels"] == {"made": "here"}
    assert [step["CreatedBy"] for step in busybox.history("busybox:stable")] == ["step 1", "step 0"]
    assert busybox.summaries() == [{"digest": image.digest, "id": image.id, "references": ["docker.io/library/busybox:stable"],
                                    "size_bytes": 5005, "platform": "linux/amd64"}]  # fmt: skip


FILTERS: list[tuple[dict[str, list[str]], int]] = [
    ({"label": ["made"]}, 1), ({"label": ["made=here"]}, 1), ({"label": ["made=there"]}, 0), ({"before": ["busybox:stable"]}, 0),
    ({"dangling": ["true"]}, 0), ({"dangling": ["false"]}, 1), ({"until": ["1"]}, 0), ({"until": ["2026-06-01"]}, 1),
    ({"reference": ["busybox"]}, 1), ({"reference": ["busy*:sta*"]}, 1), ({"reference": ["other"]}, 0),
]  # fmt: skip


@pytest.mark.parametrize(("filters", "count"), FILTERS)
def test_lists_are_filtered(busybox: Images, filters: dict[str, list[str]], count: int) -> None:
    assert len(busybox.list(filters)) == count


def test_an_unknown_filter_is_named(busybox: Images) -> None:
    with pytest.raises(ApiError, match="invalid filter 'x'"):
        busybox.list({"x": ["y"]})


def test_everything_is_there_after_a_restart(busybox: Images, tmp_path: Path) -> None:
    image = busybox.find("busybox:stable")
    (tmp_path / "data/layers/.tmp-left").mkdir()
    (tmp_path / "data/layers/zz").mkdir()
    again = images_at(tmp_path / "data")
    assert again.find("busybox:stable") == image
    assert again.layers(image.digest) == busybox.layers(image.digest)
    assert sorted(os.listdir(tmp_path / "data/layers")) == ["1", "2"]
    load(again, a_docker_archive(tmp_path / "b.tar", ["b:1"], layers=[a_tar({"b": b"b"})]))
    assert again.layers(again.find("b:1").digest) == ["100"]  # zz was used once: 36 * 36 in base 36 comes after it


def test_unknown_keys_of_a_later_version_are_kept(busybox: Images, tmp_path: Path) -> None:
    for name in ("images.json", "layers.json"):
        path = tmp_path / "data" / name
        document = json.loads(path.read_text())
        document["later"] = {"x": 1}
        path.write_text(json.dumps(document))
    again = images_at(tmp_path / "data")
    again.tag("busybox:stable", "other:1")
    load(again, a_docker_archive(tmp_path / "b.tar", ["b:1"], layers=[a_tar({"b": b"b"})]))
    for name in ("images.json", "layers.json"):
        assert json.loads((tmp_path / "data" / name).read_text())["later"] == {"x": 1}
    (tmp_path / "data/images.json").write_text('{"version": 2}')
    with pytest.raises(ValueError, match="version 2 is not 1"):
        images_at(tmp_path / "data")


def test_a_tag_is_given_and_moved(busybox: Images, tmp_path: Path) -> None:
    busybox.tag("busybox:stable", "localhost:5000/busybox")
    assert busybox.find("localhost:5000/busybox:latest").id == busybox.find("busybox:stable").id
    load(busybox, a_docker_archive(tmp_path / "b.tar", ["busybox:stable"], layers=[a_tar({"b": b"b"})]))
    assert busybox.find("localhost:5000/busybox").id != busybox.find("busybox:stable").id
    for repository, tag in (("Upper", ""), ("a", "b/c"), ("a@sha256:" + "0" * 64, "")):
        with pytest.raises(ApiError) as caught:
            busybox.tag("busybox:stable", repository, tag)
        assert caught.value.status == 400


def test_removing_the_last_name_removes_the_image_and_its_layers(busybox: Images) -> None:
    image = busybox.find("busybox:stable")
    busybox.tag("busybox:stable", "other:1")
    assert busybox.remove("other:1") == [{"Untagged": "other:1"}]
    assert busybox.remove("busybox:stable") == [{"Untagged": "busybox:stable"}, {"Deleted": image.id}]
    assert (busybox.list(), busybox.layer_store.chains(), os.listdir(busybox.layer_store.folder)) == ([], set(), [])
    with pytest.raises(ApiError, match="No such image: busybox:stable"):
        busybox.remove("busybox:stable")


def test_a_digest_by_a_name_that_the_image_does_not_have_removes_nothing(busybox: Images) -> None:
    name = f"other/name@{busybox.find('busybox:stable').digest}"
    with pytest.raises(ApiError, match="No such image: other/name@sha256"):
        busybox.remove(name, force=True)
    assert busybox.list()[0]["RepoTags"] == ["busybox:stable"]


def test_layers_that_another_image_has_stay(busybox: Images, tmp_path: Path) -> None:
    load(busybox, a_docker_archive(tmp_path / "b.tar", ["b:1"], layers=[LAYERS[0], a_tar({"b": b"b"})]))
    assert busybox.layers(busybox.find("b:1").digest)[1] == busybox.layers(busybox.find("busybox:stable").digest)[1]
    busybox.remove("busybox:stable")
    assert len(busybox.layer_store.chains()) == 2
    assert (layer(busybox, "1") / "bin/sh").exists()


def test_an_image_that_containers_use_is_kept(tmp_path: Path) -> None:
    uses: list[Use] = []
    images = images_at(tmp_path / "data", uses)
    images._used = lambda: uses
    load(images, a_docker_archive(tmp_path / "a.tar", ["a:1"]))
    image = images.find("a:1")
    images.tag("a:1", "b:1")
    uses.append(Use("c" * 64, image.digest, is_running=True))
    with pytest.raises(ApiError, match="referenced in multiple repositories"):
        images.remove(image.id)
    with pytest.raises(ApiError, match=r"cannot be forced.*running container cccccccccccc"):
        images.remove(image.id, force=True)
    images.remove("b:1")
    with pytest.raises(
        ApiError, match='unable to remove repository reference "a:1" \\(must force\\) - container cccccccccccc'
    ) as caught:
        images.remove("a:1")
    assert caught.value.status == 409
    assert images.remove("a:1", force=True) == [{"Untagged": "a:1"}]
    assert images.list({"dangling": ["true"]})[0]["RepoTags"] == []
    uses[:] = [Use("c" * 64, image.digest, is_running=False)]
    with pytest.raises(ApiError, match=r"must be forced.*stopped container"):
        images.remove(image.id[:20].replace("sha256:", ""))
    assert images.remove(image.id, force=True) == [{"Deleted": image.id}]
    for path in images.blobs:
        os.utime(images.blobs.path(path), (1, 1))
    assert images.collect().removed == ()  # the container still needs it
    assert images.layers(image.digest) == ["2", "1"]
    uses.clear()
    assert images.layer_store.chains() != set()  # they may be about to be used again
    assert len(images.collect(unused_s=0).removed) == 4
    assert images.layer_store.chains() == set()


def test_an_image_that_a_container_is_being_made_of_is_in_use(busybox: Images) -> None:
    image = busybox.find("busybox:stable")
    with busybox.hold(image.digest, "c" * 64) as shorts:
        assert shorts == ["2", "1"]
        with pytest.raises(ApiError, match="container cccccccccccc is using"):
            busybox.remove("busybox:stable")
        busybox.remove(image.id, force=True)
        assert len(busybox.layer_store.chains()) == 2
    with pytest.raises(ApiError, match="No such image"), busybox.hold(image.digest, "d" * 64):
        pass
    assert busybox._held == {}


def test_layers_that_were_let_go_while_a_removal_looked_around_stay(busybox: Images) -> None:
    """Who held them may have recorded a container meanwhile, which the removal did not see."""
    image = busybox.find("busybox:stable")
    before = time.monotonic()
    with busybox.layer_store.hold(image.parsed.diff_ids):
        pass
    assert busybox.layer_store.remove_unneeded(set(), now=before) == 0
    assert len(busybox.layer_store.chains()) == 2


def test_a_pull_of_a_config_that_no_container_can_be_made_of_says_so_before_its_layers_come(tmp_path: Path) -> None:
    with our_registry(tmp_path / "registry") as address:
        push_to(address, "bad", "1", a_config(LAYERS, StopSignal="SIGNOPE"), LAYERS)
        images = images_at(tmp_path / "data")
        with pytest.raises(ApiError, match=r"image config: config.StopSignal: 'SIGNOPE' is not a signal"):
            images.pull(f"{address}/bad:1", lambda _: None)
        assert images.list() == []
        assert not images.blobs.has(Digest.of(LAYERS[0]))
        images.close()


def test_what_the_registry_of_the_data_root_has_is_not_collected(busybox: Images, tmp_path: Path) -> None:
    with our_registry(tmp_path / "data") as address:
        push_to(address, "a", "1", a_config(LAYERS[:1]), [a_tar({"only": b"there"})])
        busybox.remove("busybox:stable")
        assert len(busybox.collect(unused_s=0).removed) == 4
        assert len(list(busybox.blobs)) == 3
        images = images_at(tmp_path / "other")
        with pytest.raises(ApiError, match="its content has digest"):  # its config speaks of another layer, but all is there
            images.pull(f"{address}/a:1", lambda _: None)
        images.close()


def test_layers_that_are_held_are_not_removed(busybox: Images) -> None:
    image = busybox.find("busybox:stable")
    with busybox.layer_store.hold(image.parsed.diff_ids):
        busybox.remove("busybox:stable")
        busybox.collect(unused_s=0)
        assert len(busybox.layer_store.chains()) == 2
    busybox.collect()
    assert len(busybox.layer_store.chains()) == 2
    busybox.collect(unused_s=0)
    assert busybox.layer_store.chains() == set()


def push_to(address: str, repository: str, tag: str, config: bytes, blobs: list[bytes], media_type: str = OCI_LAYER) -> bytes:
    client = Client(address)
    for blob in (config, *blobs):
        client.upload(repository, Digest.of(blob), len(blob), lambda data=blob: io.BytesIO(data))  # type: ignore[misc]
    manifest = a_manifest(config, blobs, media_type)
    client.put_manifest(repository, tag, manifest, OCI_MANIFEST)
    client.close()
    return manifest


def test_an_image_is_pulled_by_its_name_through_a_mirror(tmp_path: Path) -> None:
    with our_registry(tmp_path / "registry") as address:
        packed = [gzip.compress(data) for data in LAYERS]
        manifest = push_to(address, "library/busybox", "stable", a_config(LAYERS), packed, OCI_LAYER + "+gzip")
        images = images_at(tmp_path / "data", registries=mirrored(address, "docker.io"))
        said: list[dict[str, Any]] = []
        image = images.pull("busybox", said.append, "stable")
        assert image.digest == Digest.of(manifest)
        texts = [message.get("status", "") for message in said]
        assert texts[0] == "Pulling from library/busybox"
        assert texts[-2:] == [f"Digest: {image.digest}", "Status: Downloaded newer image for busybox:stable"]
        for text in ("Pulling fs layer", "Download complete", "Extracting", "Pull complete"):
            assert texts.count(text) == 2
        assert images.list()[0]["RepoDigests"] == [f"busybox@{image.digest}"]
        said.clear()
        images.pull("docker.io/library/busybox:stable", said.append)
        texts = [message.get("status", "") for message in said]
        assert texts[-1] == "Status: Image is up to date for busybox:stable"
        assert texts.count("Already exists") == 2
        assert images.pull("busybox", said.append, image.digest).digest == image.digest
        assert images.pull(f"busybox:other@{image.digest}", said.append).digest == image.digest
        with pytest.raises(ApiError, match="No such image"):
            images.find("busybox:other")
        images.close()


def test_of_an_index_the_manifest_for_the_platform_is_taken(tmp_path: Path) -> None:
    with our_registry(tmp_path / "registry") as address:
        entries = []
        for architecture in ("arm64", "amd64"):
            manifest = push_to(address, "a", architecture, a_config(LAYERS, architecture), LAYERS)
            entries.append({"mediaType": OCI_MANIFEST, "digest": Digest.of(manifest), "size": len(manifest),
                            "platform": {"os": "linux", "architecture": architecture}})  # fmt: skip
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
        client = Client(address)
        client.put_manifest("a", "1", index, OCI_INDEX)
        client.close()
        images = images_at(tmp_path / "data")
        name = f"{address}/a:1"
        image = images.pull(name, lambda _: None)
        assert image.document["architecture"] == "amd64"
        assert images.find(f"{address}/a@{Digest.of(index)}").digest == image.digest == entries[1]["digest"]
        assert images.pull(name, lambda _: None, platform="linux/arm64").document["architecture"] == "arm64"
        with pytest.raises(ApiError, match=r"no image for platform linux/s390x, there are: linux/arm64, linux/amd64") as caught:
            images.pull(name, lambda _: None, platform="linux/s390x")
        assert caught.value.status == 404
        with pytest.raises(ApiError, match="is for linux/arm64, not for linux/amd64"):
            images.pull(f"{address}/a:arm64", lambda _: None, platform="linux/amd64")
        images.close()


def test_a_pull_that_cannot_be_says_why(tmp_path: Path) -> None:
    with our_registry(tmp_path / "registry") as address:
        push_to(address, "wrong", "1", a_config([b"other"]), LAYERS[:1])
        images = images_at(tmp_path / "data")
        for name, status, reason in [
            (f"{address}/none:1", 404, "manifest for .*none:1 not found"),
            (f"{address}/wrong:1", 400, "its content has digest"),
            ("127.0.0.1:1/a:1", 500, "registry 127.0.0.1:1 cannot be reached"),
            ("A:1", 400, "must be lowercase"),
        ]:
            with pytest.raises(ApiError, match=reason) as caught:
                images.pull(name, lambda _: None)
            assert caught.value.status == status
        assert (images.list(), os.listdir(images.layer_store.folder)) == ([], [])
        images.close()


def test_a_blob_that_the_disk_damaged_is_fetched_again(tmp_path: Path) -> None:
    with our_registry(tmp_path / "registry") as address:
        push_to(address, "a", "1", a_config(LAYERS), LAYERS)
        images = images_at(tmp_path / "data")
        image = images.pull(f"{address}/a:1", lambda _: None)
        images.remove(image.id)
        with open(images.blobs.path(Digest.of(LAYERS[0])), "r+b") as file:
            file.seek(600)
            file.write(b"XXXX")
        with pytest.raises(ApiError, match="was damaged on disk and has been removed"):
            images.pull(f"{address}/a:1", lambda _: None)
        assert images.pull(f"{address}/a:1", lambda _: None).id == image.id
        images.close()


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("docker-registry") is None, reason="Debian's docker-registry is not installed")
def test_an_image_is_pushed_to_debians_registry_and_pulled_elsewhere(busybox: Images, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    with debians_registry(tmp_path / "theirs") as address:
        said: list[dict[str, Any]] = []
        for name in ("shop/web", "shop/copy"):
            busybox.tag("busybox:stable", f"{address}/{name}", "1")
            digest = busybox.push(f"{address}/{name}", said.append, "1")
        texts = [message.get("status", "") for message in said]
        assert texts[0] == f"The push refers to repository [{address}/shop/web]"
        assert texts.count("Pushed") == 2
        assert texts.count("Mounted from shop/web") == 2
        assert said[-1]["aux"] == {"Tag": "1", "Digest": digest, "Size": busybox.blobs.size(digest)}
        other = images_at(tmp_path / "other")
        assert other.pull(f"{address}/shop/copy:1", said.append).digest == digest
        with pytest.raises(ApiError, match="An image does not exist locally with the tag"):
            busybox.push(f"{address}/none", said.append)
        for images in (busybox, other):
            images.close()


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_what_we_save_and_we_load_what_it_writes(busybox: Images, tmp_path: Path) -> None:
    with open(tmp_path / "saved.tar", "wb") as file:
        busybox.save(["busybox:stable"], file.write)

    def skopeo(source: str, target: str) -> None:
        done = subprocess.run(["skopeo", "--insecure-policy", "copy", source, target], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    skopeo(f"docker-archive:{tmp_path}/saved.tar", f"docker-archive:{tmp_path}/docker.tar:other/name:1")
    skopeo(f"oci-archive:{tmp_path}/saved.tar", f"oci-archive:{tmp_path}/oci.tar:localhost/third:1")
    for name, reference in (("docker.tar", "other/name:1"), ("oci.tar", "localhost/third:1")):
        images = images_at(tmp_path / name.split(".")[0])
        load(images, tmp_path / name)
        assert images.find(reference).id == busybox.find("busybox:stable").id


def put(images: Images, data: bytes, offset: int = 0, size: int = -1) -> None:
    writer = images.begin_blob(Digest.of(data), offset, size)
    try:
        writer.write(data[offset:])
        writer.commit()
    finally:
        writer.close()


def test_an_image_is_made_of_blobs_that_were_sent(images: Images) -> None:
    config = a_config(LAYERS)
    manifest = a_manifest(config, LAYERS)
    every = [Digest.of(data) for data in (manifest, config, *LAYERS)]
    assert images.missing(every) == {"missing": every, "partial": {}}
    with pytest.raises(ApiError) as caught:
        images.register(Digest.of(manifest), ["shop/web:1"])
    assert (caught.value.status, caught.value.code, caught.value.fields["missing"]) == (409, "blobs-missing", every[:1])
    put(images, manifest)
    with pytest.raises(ApiError) as caught:
        images.register(Digest.of(manifest), ["shop/web:1"])
    assert caught.value.fields["missing"] == every[1:]
    for data in (config, *LAYERS):
        put(images, data, 0, len(data))
    assert images.missing(every) == {"missing": [], "partial": {}}
    made = images.register(Digest.of(manifest), ["shop/web:1", f"shop/web@{Digest.of(manifest)}"])
    assert made.id == Digest.of(config)
    assert images.find("shop/web:1").digest == Digest.of(manifest)
    assert images.register(Digest.of(manifest), []).id == made.id


def test_a_blob_that_broke_off_goes_on_at_its_byte(images: Images) -> None:
    data = os.urandom(10_000)
    writer = images.begin_blob(Digest.of(data), 0, len(data))
    writer.write(data[:4000])
    writer.close()
    assert images.missing([Digest.of(data)]) == {"missing": [Digest.of(data)], "partial": {Digest.of(data): 4000}}
    with pytest.raises(ApiError) as caught:
        images.begin_blob(Digest.of(data), 3000, len(data))
    assert (caught.value.code, caught.value.fields["partial"]) == ("offset-differs", 4000)
    put(images, data, 4000, len(data))
    put(images, data)  # again: it is here
    assert images.blobs.verify(Digest.of(data))


def test_wrong_blobs_are_refused(images: Images) -> None:
    for data, digest in ((b"wrong", Digest.of(b"right")), (b"longer than said", Digest.of(b"right"))):
        writer = images.begin_blob(digest, 0, 5)
        with pytest.raises(ApiError) as caught:  # noqa: PT012  either of the two may find it
            writer.write(data)
            writer.commit()
        writer.close()
        assert (caught.value.status, caught.value.code) == (400, "digest-mismatch")
    assert list(images.blobs) == []
    with pytest.raises(ApiError, match="invalid digest"):
        images.begin_blob("sha256:../../x")
    index = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    put(images, index)
    with pytest.raises(ApiError, match="it is an index"):
        images.register(Digest.of(index), [])


def an_upper_folder(path: Path) -> str:
    """As an overlay leaves it, with everything that a layer has another word for, or none."""
    (path / "app").mkdir(parents=True)
    (path / "app/new").write_bytes(b"new")
    os.link(path / "app/new", path / "app/same")
    os.mknod(path / "app/gone", 0o020000)
    os.mknod(path / "app/socket", 0o140644)
    os.setxattr(path / "app", "trusted.overlay.opaque", b"y")
    os.setxattr(path / "app", "trusted.overlay.impure", b"y")
    os.setxattr(path / "app/new", "user.note", b"kept")
    os.setxattr(path / "app/new", "trusted.overlay.origin", b"x")
    os.symlink("/nowhere", path / "link")
    (path / "old").mkdir()
    os.utime(path / "old", (5, 5))
    return str(path)


def test_a_layer_is_made_of_an_upper_folder_and_an_image_of_it(busybox: Images, tmp_path: Path) -> None:
    base = busybox.find("busybox:stable")
    made = []
    for number in range(2):  # the second is later, which the epoch cuts off
        upper = an_upper_folder(tmp_path / f"upper{number}")
        with busybox.blobs.lease() as lease:
            diff_id, blob = busybox.add_layer(base.parsed.diff_ids, upper, 1_000_000_000, lease)
            config = {**base.document, "rootfs": {"type": "layers", "diff_ids": [*base.parsed.diff_ids, diff_id]}}
            made.append(busybox.commit(config, [*base.manifest.layers, blob], ["shop/web:1"], lease))
    assert made[0].digest == made[1].digest
    short = busybox.layers(made[0].digest)[0]
    top = layer(busybox, short)
    assert (top / "app/new").read_bytes() == b"new"
    assert (top / "app/same").stat().st_ino == (top / "app/new").stat().st_ino
    assert os.lstat(top / "app/gone").st_rdev == 0
    assert os.getxattr(top / "app", "trusted.overlay.opaque") == b"y"
    assert os.getxattr(top / "app/new", "user.note") == b"kept"
    assert (top / "app/new").stat().st_mtime == 1_000_000_000
    assert os.readlink(top / "link") == "/nowhere"
    assert busybox.find("shop/web:1").manifest.layers[-1].media_type == OCI_LAYER


def test_the_folder_that_became_a_layer_is_what_the_layer_unpacks_to(busybox: Images, tmp_path: Path) -> None:
    def shown(folder: Path) -> list[object]:
        return [
            (str(path.relative_to(folder)), status.st_mode, status.st_uid, status.st_nlink, status.st_rdev,
             0 if status.st_mode == 0o020000 else status.st_mtime_ns,  # a whiteout's time is nobody's
             {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)})
            for path in sorted(folder.rglob("*"))
            for status in [path.lstat()]
        ]  # fmt: skip

    upper = an_upper_folder(tmp_path / "upper")
    elsewhere = images_at(tmp_path / "elsewhere")
    with busybox.blobs.lease() as lease, elsewhere.blobs.lease():
        diff_id, blob = busybox.add_layer([], upper, 1_000_000_000, lease)
        elsewhere.blobs.put(busybox.blobs.read(blob.digest, 1 << 20))
        elsewhere.unpack([diff_id], [blob])
    adopted, unpacked = layer(busybox, busybox.layer_store.short(diff_id)), layer(elsewhere, elsewhere.layer_store.short(diff_id))
    assert not os.path.exists(upper)
    assert shown(adopted) == shown(unpacked)
    assert adopted.stat().st_mode == unpacked.stat().st_mode


def test_a_layer_of_an_overlay_that_hides_content_elsewhere_is_refused(busybox: Images, tmp_path: Path) -> None:
    (tmp_path / "upper/moved").mkdir(parents=True)
    os.setxattr(tmp_path / "upper/moved", "trusted.overlay.redirect", b"/old")
    with busybox.blobs.lease() as lease, pytest.raises(ApiError, match="redirect_dir"):
        busybox.add_layer([], str(tmp_path / "upper"), None, lease)


@pytest.mark.host
def test_an_overlay_of_the_layers_shows_the_image_and_its_changes_become_a_layer(busybox: Images, tmp_path: Path) -> None:
    from gitopsd.engine.kernel.mount import mount, unmount

    folders = {name: tmp_path / name for name in ("upper", "work", "merged")}
    for folder in folders.values():
        folder.mkdir()
    base = busybox.find("busybox:stable")
    lower = ":".join(os.path.join(busybox.layer_store.folder, short) for short in busybox.layers(base.digest))
    mount(
        "overlay", str(folders["merged"]), "overlay", 0, f"lowerdir={lower},upperdir={folders['upper']},workdir={folders['work']}"
    )
    try:
        assert sorted(os.listdir(folders["merged"])) == ["bin", "etc"]
        assert os.listdir(folders["merged"] / "bin") == []  # the second layer deleted it
        (folders["merged"] / "etc/motd").unlink()
        (folders["merged"] / "etc/new").write_bytes(b"new")
        shutil.rmtree(folders["merged"] / "bin")
        (folders["merged"] / "bin").mkdir()
    finally:
        unmount(str(folders["merged"]))
    with busybox.blobs.lease() as lease:
        diff_id, blob = busybox.add_layer(base.parsed.diff_ids, str(folders["upper"]), None, lease)
    with busybox.blobs.open(blob.digest) as file:
        import tarfile

        with tarfile.open(fileobj=file) as archive:
            names = archive.getnames()
        assert names == ["bin", "bin/.wh..wh..opq", "etc", "etc/.wh.motd", "etc/new"]
    assert diff_id == blob.digest


@pytest.mark.host
def test_a_full_disk_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    from gitopsd.engine.kernel.mount import mount, unmount

    (tmp_path / "small").mkdir()
    mount("tmpfs", str(tmp_path / "small"), "tmpfs", 0, "size=3m")
    try:
        images = images_at(tmp_path / "small/data")
        load(images, a_docker_archive(tmp_path / "a.tar", ["a:1"]))
        for size in (2_900_000, 1_600_000):  # the blob does not fit; the blob fits, and not its layer beside it
            with pytest.raises(ApiError, match="no space left on device") as caught:
                load(images, a_docker_archive(tmp_path / "b.tar", ["b:1"], layers=[a_tar({"b": os.urandom(size)})]))
            assert caught.value.status == 500
            for digest in images.blobs:
                os.utime(images.blobs.path(digest), (1, 1))
            images.collect()
        assert (len(images.list()), sorted(os.listdir(images.layer_store.folder))) == (1, ["1", "2"])
        load(images, a_docker_archive(tmp_path / "c.tar", ["c:1"], layers=[a_tar({"c": b"c"})]))
        writer = images.begin_blob(Digest.of(b"x"))
        with pytest.raises(ApiError, match="no space left on device"):
            writer.write(bytes(4_000_000))
        writer.close()
        assert os.listdir(tmp_path / "small/data/blobs/partial") == []
        images.remove("a:1")
    finally:
        unmount(str(tmp_path / "small"))


def test_many_threads_load_images_that_share_layers(images: Images, tmp_path: Path) -> None:
    archives = [
        a_docker_archive(tmp_path / f"{number}.tar", [f"a:{number}"], layers=[*LAYERS, a_tar({f"f{number % 3}": b"x"})])
        for number in range(8)
    ]
    failures: list[BaseException] = []

    def one(path: Path) -> None:
        try:
            load(images, path)
        except BaseException as error:  # noqa: BLE001  raised below
            failures.append(error)

    threads = [threading.Thread(target=one, args=[path]) for path in archives]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(images.layer_store.chains()) == 5
    assert sorted(os.listdir(images.layer_store.folder)) == ["1", "2", "3", "4", "5"]


def test_killed_at_any_moment_what_is_recorded_can_be_mounted_and_hashes_clean(tmp_path: Path) -> None:
    """A child loads, tags and removes images, and is killed; each survivor is whole, leftovers go at the next start."""
    archives = []
    for number in range(3):
        own = a_tar({f"f{number}": b"x" * 9000})
        archives.append(a_docker_archive(tmp_path / f"{number}.tar", [f"a:{number}"], layers=[*LAYERS, own]))
    seen = 0
    for _ in range(25):
        child = os.fork()
        if child == 0:
            images = images_at(tmp_path / "data")
            while True:
                for number, path in enumerate(archives):
                    load(images, path)
                    images.tag(f"a:{number}", f"b:{number}")
                for number in range(3):
                    images.remove(f"a:{number}")
                    if random.random() < 0.7:
                        images.remove(f"b:{number}")
        time.sleep(random.uniform(0.02, 0.25))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        images = images_at(tmp_path / "data")
        for shown in images.list():
            seen += 1
            image = images.find(shown["Id"])
            folders = [layer(images, short) for short in images.layers(image.digest)]
            assert (folders[-1] / "bin/sh").read_bytes() == b"shell" * 1000
            assert (folders[-2] / "etc/motd").read_bytes() == b"hello"
            assert all(images.blobs.verify(blob.digest) for blob in image.manifest.blobs)
        recorded = (
            json.loads((tmp_path / "data/layers.json").read_text())["layers"] if (tmp_path / "data/layers.json").exists() else {}
        )
        assert sorted(os.listdir(images.layer_store.folder)) == sorted(value["short"] for value in recorded.values())
    assert seen > 0


def test_descriptors_do_not_leak(images: Images, tmp_path: Path) -> None:
    archive = a_docker_archive(tmp_path / "a.tar", ["a:1"])
    load(images, archive)
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        images.remove("a:1")
        load(images, archive)
        with pytest.raises(ApiError):
            images.register(Digest.of(b"x"), [])
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_the_worker_for_tests_hands_errors_on() -> None:
    with pytest.raises(ApiError, match="KeyError"):
        run_worker("gitopsd.engine.images.diff:diff_layer", {}, [0, 1])
    assert Descriptor(OCI_LAYER, Digest.of(b""), 0).platform is None
