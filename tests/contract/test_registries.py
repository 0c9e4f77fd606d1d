"""What registries/registry.py asks of each kind, and of the fake that other tests use."""

from __future__ import annotations

import json
import secrets

import pytest

from gitopsd.model.errors import GitopsdError
from gitopsd.model.secret import Redacted
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import OCI_CONFIG, OCI_LAYER, Descriptor, Index, Manifest, render_index, render_manifest
from gitopsd.oci.platform import Platform
from gitopsd.registries import DistributionRegistries
from tests.contract.conftest import PASSWORD, USER
from tests.fakes.registries import MemoryRegistries

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


class Kind:
    """One kind of registries, with an image and an index in it under a fresh repository."""

    def __init__(self, registries, address, put_blob, put_manifest) -> None:
        self.registries = registries
        self.address = address
        self.repository = f"contract/r{secrets.token_hex(4)}"
        self.location = f"{address}/{self.repository}"
        self.layer = b"layer" * 1000
        manifests = {platform: self._manifest(platform, put_blob) for platform in (AMD64, ARM64)}
        self.manifest = manifests[AMD64]
        self.digest = put_manifest(self.repository, self.manifest, "amd64")
        put_manifest(self.repository, manifests[ARM64], "arm64")
        self.other = Digest.of(manifests[ARM64])
        entries = [
            Descriptor("application/vnd.oci.image.manifest.v1+json", Digest.of(data), len(data), platform)
            for platform, data in manifests.items()
        ]
        self.index = put_manifest(self.repository, render_index(entries), "stable")

    def _manifest(self, platform, put_blob) -> bytes:
        config = json.dumps(
            {
                "os": "linux",
                "architecture": platform.architecture,
                "rootfs": {"type": "layers", "diff_ids": [Digest.of(self.layer)]},
            }
        ).encode()
        for data in (config, self.layer):
            put_blob(self.repository, data)
        layer = Descriptor(OCI_LAYER, Digest.of(self.layer), len(self.layer))
        return render_manifest(Descriptor(OCI_CONFIG, Digest.of(config), len(config)), [layer])


def memory_kind() -> Kind:
    registries = MemoryRegistries({"docker.io": "mirror:5000"})
    return Kind(
        registries,
        "mirror:5000",
        lambda repository, data: registries.put(f"mirror:5000/{repository}", data),
        lambda repository, data, tag: registries.put(f"mirror:5000/{repository}", data, tag),
    )


@pytest.fixture(params=["memory", "distribution", "distribution, signed in"])
def kind(request):
    if request.param == "memory":
        return memory_kind()
    real = request.getfixturevalue("closed_registry" if "signed in" in request.param else "real_registry")
    credentials = {real.address: (USER, Redacted(PASSWORD))} if "signed in" in request.param else None
    registries = DistributionRegistries({"docker.io": real.address}, credentials=credentials)
    return Kind(registries, real.address, real.put_blob, real.put_manifest)


def test_a_tag_is_resolved_to_a_digest_and_where_it_is(kind):
    found = kind.registries.resolve(f"{kind.location}:amd64", AMD64)
    assert (found.digest, found.location) == (kind.digest, kind.location)


def test_an_index_is_resolved_to_the_manifest_of_the_platform(kind):
    for _ in range(2):
        assert kind.registries.resolve(f"{kind.location}:stable", AMD64).digest == kind.digest
        assert kind.registries.resolve(f"{kind.location}:stable", ARM64).digest == kind.other
    assert kind.registries.resolve(f"{kind.location}@{kind.index}", ARM64).digest == kind.other


def test_a_digest_is_resolved_to_itself(kind):
    assert kind.registries.resolve(f"{kind.location}@{kind.digest}", AMD64).digest == kind.digest


def test_a_platform_that_an_index_does_not_have_is_an_error(kind):
    with pytest.raises(GitopsdError) as caught:
        kind.registries.resolve(f"{kind.location}:stable", Platform("linux", "s390x"))
    assert caught.value.code == "no-such-platform"


def test_a_name_that_is_not_there_is_none(kind):
    assert kind.registries.resolve(f"{kind.location}:nosuch", AMD64) is None
    assert kind.registries.resolve(f"{kind.address}/nosuch/repository", AMD64) is None
    assert kind.registries.resolve(f"{kind.location}@sha256:{'0' * 64}", AMD64) is None


def test_a_mirror_answers_for_the_registry_that_people_name(kind):
    found = kind.registries.resolve(f"{kind.repository}:amd64", AMD64)
    assert (found.digest, found.location) == (kind.digest, kind.location)
    assert kind.registries.locate("busybox:stable") == f"{kind.address}/library/busybox"
    assert kind.registries.locate("quay.io/a/b") == "quay.io/a/b"


def test_a_manifest_is_given_as_it_is(kind):
    parsed, data = kind.registries.manifest(kind.location, kind.digest)
    assert isinstance(parsed, Manifest)
    assert data == kind.manifest
    assert isinstance(kind.registries.manifest(kind.location, kind.index)[0], Index)


def test_a_blob_is_read_whole_in_parts_and_from_an_offset(kind):
    digest = Digest.of(kind.layer)
    with kind.registries.blob(kind.location, digest) as blob:
        assert blob.size == len(kind.layer)
        assert blob.read() == kind.layer
    with kind.registries.blob(kind.location, digest) as blob:
        assert b"".join(iter(lambda: blob.read(999), b"")) == kind.layer
    with kind.registries.blob(kind.location, digest, offset=4990) as blob:
        assert blob.read() == kind.layer[4990:]


def test_what_is_not_there_by_digest_is_an_error(kind):
    for ask in (kind.registries.manifest, kind.registries.blob):
        with pytest.raises(GitopsdError) as caught:
            ask(kind.location, f"sha256:{'0' * 64}")
        assert (caught.value.code, caught.value.next) == ("no-such-image", "retry")


@pytest.mark.parametrize("name", ["docker.io/UPPER", "a b", "../etc", "busybox:", "busybox@sha256:12", ""])
def test_what_is_no_name_is_refused_before_anybody_is_asked(kind, name):
    with pytest.raises(ValueError, match=r"invalid|digest"):
        kind.registries.resolve(name, AMD64)


def test_a_registry_that_does_not_answer_is_an_error_and_named():
    silent = MemoryRegistries()
    silent.silent.add("127.0.0.1:1")
    for registries in (silent, DistributionRegistries()):
        with pytest.raises(GitopsdError, match=r"127\.0\.0\.1:1 does not answer: Connection refused") as caught:
            registries.resolve("127.0.0.1:1/a/b", AMD64)
        assert (caught.value.code, caught.value.next) == ("registry-unreachable", "retry")


def test_a_registry_that_wants_a_password_says_how_to_give_one(closed_registry):
    for credentials in (None, {closed_registry.address: (USER, Redacted("wrong-pass"))}):
        with pytest.raises(GitopsdError) as caught:
            DistributionRegistries(credentials=credentials).resolve(f"{closed_registry.address}/a/b", AMD64)
        assert caught.value.code == "registry-refused"
        assert f"docker login {closed_registry.address}" in caught.value.hint
        assert "wrong-pass" not in str(caught.value)
