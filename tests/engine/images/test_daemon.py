"""Images through the daemon: real workers, the Docker API, and docker-py as the client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gitopsd.engine.images.images import Images
from gitopsd.engine.runtime.launcher import Launcher
from gitopsd.engine.wiring import worker_runner
from gitopsd.oci.digest import Digest

from ..registry.running import our_registry  # noqa: TID252  the tests are no installed package
from .making import LAYERS, a_config, a_docker_archive, a_manifest, a_tar, load

pytestmark = [pytest.mark.host, pytest.mark.skipif(os.geteuid() != 0, reason="the daemon is root")]


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Images]:
    """With the daemon's own workers."""
    launcher = Launcher()
    launcher.start()
    (tmp_path / "data").mkdir(mode=0o700)
    yield Images(str(tmp_path / "data"), worker_runner(launcher), machine="x86_64")
    launcher.close()


@pytest.mark.parametrize("compression", ["gzip", "zstd", "xz"])
def test_a_worker_loads_a_compressed_archive_and_is_gone(images: Images, tmp_path: Path, compression: str) -> None:
    plain = a_docker_archive(tmp_path / "a.tar", ["a:1"])
    packed = tmp_path / "packed"
    packed.write_bytes(subprocess.run([compression, "-c", plain], check=True, capture_output=True).stdout)
    load(images, packed)
    top = images.layers(images.find("a:1").digest)[0]
    assert Path(images.layer_store.folder, top, "etc/motd").read_bytes() == b"hello"


def test_a_large_layer_fits_into_a_workers_memory(images: Images, tmp_path: Path) -> None:
    large = a_tar({f"f{number}": os.urandom(1 << 20) * 64 for number in range(5)})
    load(images, a_docker_archive(tmp_path / "a.tar", ["a:1"], layers=[large]))
    assert images.find("a:1").record.size_bytes == 5 * (64 << 20)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    docker = pytest.importorskip("docker")
    arguments = ["--data-root", str(tmp_path / "data"), "--exec-root", str(tmp_path / "run")]
    with open(tmp_path / "log", "wb") as log:
        daemon = subprocess.Popen([sys.executable, "-m", "gitopsd.engine.main", "daemon", *arguments], stdout=log, stderr=log)
    try:
        for _ in range(200):
            if "instance" in (tmp_path / "log").read_text():
                break
            time.sleep(0.05)
        connected = docker.DockerClient(base_url=f"unix://{tmp_path}/run/engine.sock", version="1.44")
        yield connected
        connected.close()
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)
        subprocess.run([sys.executable, "-m", "gitopsd.engine.main", "uninstall", *arguments], check=True, timeout=30)


@pytest.mark.interop
def test_docker_py_loads_tags_pushes_removes_pulls_and_saves(client: Any, tmp_path: Path) -> None:
    import docker.errors

    (loaded,) = client.images.load(a_docker_archive(tmp_path / "a.tar", ["busybox:stable"]).read_bytes())
    assert (loaded.id, loaded.tags) == (Digest.of(a_config(LAYERS)), ["busybox:stable"])
    with our_registry(tmp_path / "registry") as address:
        name = f"{address}/shop/web"
        assert loaded.tag(name, "1")
        said = list(client.images.push(name, tag="1", stream=True, decode=True))
        assert not [line for line in said if "error" in line]
        digest = said[-1]["aux"]["Digest"]
        client.images.remove(f"{name}:1")
        client.images.remove("busybox:stable")
        assert client.images.list() == []
        pulled = client.images.pull(name, tag="1")
        assert (pulled.id, pulled.attrs["RepoDigests"]) == (loaded.id, [f"{name}@{digest}"])
        assert [step["CreatedBy"] for step in pulled.history()] == ["step 1", "step 0"]
        with pytest.raises(docker.errors.NotFound, match="manifest unknown"):
            client.images.pull(f"{address}/none", tag="1")
        archive = b"".join(client.images.get(f"{name}:1").save(named=True))
        client.images.remove(f"{name}:1")
        assert client.images.load(archive)[0].id == loaded.id
        with pytest.raises(docker.errors.ImageNotFound, match="No such image: none:latest"):
            client.images.get("none")


def test_a_controller_sends_blobs_and_makes_an_image_of_them(client: Any, tmp_path: Path) -> None:
    base = "http+docker://localhost/gitopsd/v1"
    config = a_config(LAYERS)
    manifest = a_manifest(config, LAYERS)
    every = {Digest.of(data): data for data in (manifest, config, *LAYERS)}
    asked = client.api.post(f"{base}/blobs/missing", json={"digests": list(every)}).json()
    assert asked == {"missing": list(every), "partial": {}}
    refused = client.api.put(f"{base}/images", json={"manifest": Digest.of(manifest), "references": ["shop/web:1"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "blobs-missing")
    for digest, data in every.items():
        assert client.api.put(f"{base}/blobs/{digest}", data=data).status_code == 201
    wrong = client.api.put(f"{base}/blobs/{Digest.of(b'right')}", data=b"wrong")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "digest-mismatch")
    made = client.api.put(f"{base}/images", json={"manifest": Digest.of(manifest), "references": ["shop/web:1"]})
    assert (made.status_code, made.json()) == (201, {"id": Digest.of(config)})
    (shown,) = client.api.get(f"{base}/state").json()["images"]
    assert (shown["digest"], shown["references"]) == (Digest.of(manifest), ["docker.io/shop/web:1"])
