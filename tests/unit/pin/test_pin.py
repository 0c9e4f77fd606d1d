from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gitopsd.model.desired import Pins
from gitopsd.model.errors import GitopsdError
from gitopsd.model.fleet import Fleet, Host, Registry
from gitopsd.model.rendered import Rendered
from gitopsd.model.stack import Build, Service, Stack
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import OCI_CONFIG, Descriptor, render_manifest
from gitopsd.pin import pin
from gitopsd.source import folder_revision
from tests.fakes.registries import MemoryRegistries

OURS = "127.0.0.1:5000"


def an_image(text: str) -> bytes:
    return render_manifest(Descriptor(OCI_CONFIG, Digest.of(text.encode()), len(text)), [])


@pytest.fixture
def registries():
    registries = MemoryRegistries({"docker.io": OURS})
    registries.put(f"{OURS}/library/busybox", an_image("busybox"), "stable")
    return registries


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "Dockerfile").write_text("ARG TAG=stable\nFROM busybox:${TAG} AS base\nFROM base\nCOPY . /srv\n")
    (tmp_path / "web" / "index.html").write_text("v1")
    return tmp_path


def rendered(*services, name="shop"):
    fleet = Fleet("demo", (Host("a", "a"),), Registry(OURS), ())
    return Rendered(fleet, (Stack(name, services, (), ()),))


def built(**more):
    return Service("web", build=Build("web", "web/Dockerfile", **more))


def pinned(repository, registries, *services, **more) -> Pins:
    return pin(folder_revision(repository), rendered(*services), registries, "linux/amd64", **more)


def test_a_tag_becomes_a_digest_and_where_it_is(repository, registries):
    pins = pinned(repository, registries, Service("store", image="busybox:stable"))
    assert pins.image("busybox:stable").digest == Digest.of(an_image("busybox"))
    assert pins.image("busybox:stable").location == f"{OURS}/library/busybox"


def test_a_name_is_asked_for_once_whoever_uses_it(repository, registries):
    pinned(repository, registries, built(), Service("a", image="busybox:stable"), Service("b", image="busybox:stable"))
    assert registries.asked.count("busybox:stable") == 1


def test_a_build_gets_a_key_its_bases_by_digest_and_where_it_will_be(repository, registries):
    want = pinned(repository, registries, built(args=(("A", "1"),))).build("shop", "web")
    assert want.repository == f"{OURS}/shop/web"
    assert want.bases == (("busybox:stable", Digest.of(an_image("busybox"))),)
    assert want.key.startswith("key-")
    assert want.context_tree == folder_revision(repository).tree.tree_id("web")
    assert (want.digest, want.error, want.args, want.platform) == (None, None, (("A", "1"),), "linux/amd64")


def test_an_image_that_was_built_before_is_found_by_its_key(repository, registries):
    want = pinned(repository, registries, built()).build("shop", "web")
    digest = registries.put(want.repository, an_image("web"), want.key)
    assert pinned(repository, registries, built()).build("shop", "web") == replace(want, digest=digest)


def test_a_changed_file_base_argument_or_salt_is_another_key_and_a_file_elsewhere_is_not(repository, registries):
    def key(**more):
        return pinned(repository, registries, built(**more)).build("shop", "web").key

    first = key()
    (repository / "README").write_text("not in the context")
    assert key() == first
    assert len({first, key(args=(("A", "1"),)), key(salt="again")}) == 3
    registries.put(f"{OURS}/library/busybox", an_image("busybox 2"), "stable")
    second = key()
    assert second != first, "the base moved"
    (repository / "web" / "index.html").write_text("v2")
    third = key()
    assert third not in (first, second)
    (repository / "web" / "index.html").write_text("v1")
    assert key() == second, "a revert has its image again"


def test_arguments_reach_the_names_of_bases(repository, registries):
    registries.put(f"{OURS}/library/busybox", an_image("musl"), "musl")
    want = pinned(repository, registries, built(args=(("TAG", "musl"),))).build("shop", "web")
    assert want.bases == (("busybox:musl", Digest.of(an_image("musl"))),)


def test_a_name_that_nobody_has_is_an_error_of_that_name_with_who_was_asked(repository, registries):
    pins = pinned(repository, registries, Service("x", image="nosuch:1"), Service("y", image="busybox:stable"))
    assert pins.image("nosuch:1").digest is None
    assert pins.image("nosuch:1").error == f"{OURS} has no library/nosuch by this tag or digest"
    assert pins.image("busybox:stable").digest


def test_a_base_that_nobody_has_is_an_error_of_the_build(repository, registries):
    want = pinned(repository, registries, built(args=(("TAG", "nosuch"),))).build("shop", "web")
    assert want.error == f"base busybox:nosuch: {OURS} has no library/busybox by this tag or digest"


def test_a_dockerfile_that_is_wrong_is_an_error_of_the_build_with_every_line(repository, registries):
    (repository / "web" / "Dockerfile").write_text("FROM busybox:stable\nRUNN x\nCOPYY y z\n")
    error = pinned(repository, registries, built()).build("shop", "web").error
    assert "web/Dockerfile:2: " in error
    assert "web/Dockerfile:3: " in error


def test_a_registry_that_does_not_answer_is_an_error_unless_it_answered_before(repository, registries):
    services = (built(), Service("store", image="busybox:stable"))
    before = pinned(repository, registries, *services)
    digest = registries.put(f"{OURS}/shop/web", an_image("web"), before.build("shop", "web").key)
    known = pinned(repository, registries, *services)
    assert known.build("shop", "web").digest == digest
    registries.silent.add(OURS)
    pins = pinned(repository, registries, *services)
    assert "does not answer" in pins.image("busybox:stable").error
    assert "does not answer" in pins.build("shop", "web").error
    assert pinned(repository, registries, *services, known=known) == known
    (repository / "web" / "index.html").write_text("v2")
    changed = pinned(repository, registries, *services, known=known).build("shop", "web")
    assert "does not answer" in changed.error, "nobody knows whether this one was built"


def test_a_broken_mirror_is_not_taken_for_a_broken_build(repository, registries):
    revision = folder_revision(repository)

    class Broken(type(revision.tree)):
        def tree_id(self, path):
            raise GitopsdError("mirror-broken", "x", next="retry")

    with pytest.raises(GitopsdError) as caught:
        pin(replace(revision, tree=Broken(repository)), rendered(built()), registries, "linux/amd64")
    assert caught.value.code == "mirror-broken"


def test_an_index_is_pinned_to_the_platform(repository, registries):
    from gitopsd.oci.manifest import render_index
    from gitopsd.oci.platform import parse_platform

    entries = [
        Descriptor(
            "application/vnd.oci.image.manifest.v1+json", Digest.of(an_image(name)), len(an_image(name)), parse_platform(name)
        )
        for name in ("linux/amd64", "linux/arm64")
    ]
    registries.put(f"{OURS}/library/multi", render_index(entries), "1")
    assert json.loads(render_index(entries))["manifests"]
    pins = pinned(repository, registries, Service("x", image="multi:1"))
    assert pins.image("multi:1").digest == Digest.of(an_image("linux/amd64"))
