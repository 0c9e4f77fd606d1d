"""The embedded registry's folder, as the engine's registry writes it and the controller reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gitopsd.engine.content.blobs import Blobs
from gitopsd.engine.registry.repositories import Repositories
from gitopsd.model.errors import GitopsdError
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Descriptor, render_index, render_manifest
from gitopsd.oci.platform import Platform
from gitopsd.registries import DistributionRegistries, Found, StoredRegistries

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
ADDRESS = "127.0.0.1:9"


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """What was pushed, and the registries that read it while no registry runs."""
    repositories = Repositories(str(tmp_path), blobs := Blobs(str(tmp_path)))

    def image(platform: Platform, tag: str) -> bytes:
        config = json.dumps({"os": "linux", "architecture": platform.architecture, "rootfs": {"type": "layers", "diff_ids": []}})
        digest = blobs.put(config.encode())
        repositories.link_blob("library/busybox", digest)
        data = render_manifest(Descriptor(OCI_CONFIG, digest, len(config)), [])
        repositories.put_manifest("library/busybox", None, tag, data, OCI_MANIFEST)
        return data

    pushed = {platform: image(platform, platform.architecture) for platform in (AMD64, ARM64)}
    entries = [Descriptor(OCI_MANIFEST, Digest.of(data), len(data), platform) for platform, data in pushed.items()]
    repositories.put_manifest("library/busybox", None, "stable", render_index(entries), OCI_INDEX)
    found = StoredRegistries(DistributionRegistries({"docker.io": ADDRESS}), ADDRESS, tmp_path)
    return found, {platform: Digest.of(data) for platform, data in pushed.items()}, tmp_path


def test_tags_digests_and_indexes_are_found_as_the_registry_would_say(made: Any) -> None:
    registries, digests, _ = made
    location = f"{ADDRESS}/library/busybox"
    assert registries.resolve("busybox:amd64", AMD64) == Found(digests[AMD64], location)
    assert registries.resolve("busybox:stable", ARM64) == Found(digests[ARM64], location)
    assert registries.resolve(f"{location}@{digests[ARM64]}", ARM64) == Found(digests[ARM64], location)
    with pytest.raises(GitopsdError) as caught:
        registries.resolve("busybox:stable", Platform("linux", "s390x"))
    assert caught.value.code == "no-such-platform"


def test_what_was_never_pushed_is_not_there(made: Any) -> None:
    registries, _, _ = made
    for name in ("busybox:nosuch", "nosuch/image", f"busybox@sha256:{'0' * 64}", "busybox:_tags"):
        assert registries.resolve(name, AMD64) is None


def test_other_registries_are_asked_themselves(made: Any) -> None:
    registries, _, _ = made
    with pytest.raises(GitopsdError) as caught:
        registries.resolve("127.0.0.1:7/library/busybox", AMD64)
    assert caught.value.code == "registry-unreachable"


def test_bytes_that_are_not_those_of_the_digest_are_refused(made: Any) -> None:
    registries, digests, root = made
    (root / "blobs" / "sha256" / digests[AMD64].hex).write_bytes(b"{}")
    with pytest.raises(GitopsdError) as caught:
        registries.resolve("busybox:amd64", AMD64)
    assert caught.value.code == "bad-manifest"
