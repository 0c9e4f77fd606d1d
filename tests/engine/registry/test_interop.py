"""Somebody else's registry with our client, and somebody else's client with our registry."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gitopsd.engine.content.blobs import Blobs
from gitopsd.engine.registry.client import Client, NotFound
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST

from .running import ask, debians_registry, our_registry

needs_registry = pytest.mark.skipif(shutil.which("docker-registry") is None, reason="Debian's docker-registry is not installed")
needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
DATA = os.urandom(3_000_000)


def an_image(client: Client, repository: str, tag: str) -> bytes:
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [Digest.of(DATA)]}}
    ).encode()
    for blob in (config, DATA):
        client.upload(repository, Digest.of(blob), len(blob), lambda data=blob: io.BytesIO(data))  # type: ignore[misc]
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {"mediaType": OCI_CONFIG, "digest": Digest.of(config), "size": len(config)},
         "layers": [{"mediaType": OCI_LAYER, "digest": Digest.of(DATA), "size": len(DATA)}]}
    ).encode()  # fmt: skip
    client.put_manifest(repository, tag, manifest, OCI_MANIFEST)
    return manifest


@pytest.mark.interop
@needs_registry
def test_our_client_with_debians_registry(tmp_path: Path) -> None:
    with debians_registry(tmp_path) as address:
        client = Client(address)
        client.check()
        manifest = an_image(client, "shop/web", "v1")
        assert client.upload("shop/web", Digest.of(DATA), len(DATA), lambda: io.BytesIO(DATA)) == "exists"
        assert client.upload("other", Digest.of(DATA), len(DATA), lambda: io.BytesIO(DATA), source="shop/web") == "mounted"
        assert client.manifest("shop/web", "v1") == (manifest, OCI_MANIFEST, Digest.of(manifest))
        assert client.resolve("shop/web", "v1") == Digest.of(manifest)
        for number in range(5):
            client.put_manifest("shop/web", f"t{number}", manifest, OCI_MANIFEST)
        assert sorted(client.tags("shop/web")) == ["t0", "t1", "t2", "t3", "t4", "v1"]
        blobs = Blobs(str(tmp_path / "store"))
        with blobs.ingest(Digest.of(DATA)) as ingest:
            ingest.write(DATA[:1_000_000])
        with blobs.ingest(Digest.of(DATA), len(DATA)) as ingest:
            client.download("shop/web", Digest.of(DATA), ingest)
        assert blobs.verify(Digest.of(DATA))
        client.delete_manifest("shop/web", Digest.of(manifest))
        with pytest.raises(NotFound):
            client.manifest("shop/web", "v1")
        client.close()


@pytest.mark.interop
@needs_skopeo
def test_skopeo_copies_to_our_registry_and_back(tmp_path: Path) -> None:
    with our_registry(tmp_path / "data") as address:
        client = Client(address)
        manifest = an_image(client, "shop/web", "v1")
        client.close()

        def skopeo(*arguments: str) -> str:
            done = subprocess.run(["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            return done.stdout

        insecure = ("--src-tls-verify=false", "--dest-tls-verify=false")
        skopeo("copy", *insecure, "--preserve-digests", f"docker://{address}/shop/web:v1", f"docker://{address}/copy/web:v2")
        skopeo("copy", *insecure, f"docker://{address}/copy/web:v2", f"oci:{tmp_path}/layout:x")
        skopeo("copy", *insecure, "--format", "v2s2", f"oci:{tmp_path}/layout:x", f"docker://{address}/docker/web:v3")
        assert json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{address}/copy/web:v2"))["Digest"] == Digest.of(
            manifest
        )
        assert json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{address}/copy/web"))["Tags"] == ["v2"]
        assert ask(address, "GET", "/v2/docker/web/manifests/v3").headers["content-type"].endswith("manifest.v2+json")
        skopeo("delete", "--tls-verify=false", f"docker://{address}/copy/web:v2")
        assert ask(address, "GET", "/v2/copy/web/manifests/v2").status == 404


@pytest.mark.interop
@needs_skopeo
@needs_registry
def test_skopeo_copies_between_debians_registry_and_ours(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    with debians_registry(tmp_path / "theirs") as theirs, our_registry(tmp_path / "ours") as ours:
        client = Client(theirs)
        manifest = an_image(client, "a", "v1")
        client.close()
        for source, target in ((theirs, ours), (ours, theirs)):
            subprocess.run(
                ["skopeo", "--insecure-policy", "copy", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false",
                 f"docker://{source}/a:v1", f"docker://{target}/a:v1"], check=True, capture_output=True, timeout=60,
            )  # fmt: skip
        assert ask(ours, "GET", "/v2/a/manifests/v1").body == manifest
