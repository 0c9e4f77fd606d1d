from __future__ import annotations

import json
from typing import Any

import pytest

from gitopsd.oci import manifest as m
from gitopsd.oci.digest import Digest

D = [str(Digest.of(bytes([number]))) for number in range(4)]


def a_descriptor(media_type: str = m.OCI_LAYER, number: int = 0, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": D[number], "size": 3, **more}


def a_manifest(**more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "config": a_descriptor(m.OCI_CONFIG, 1), "layers": [a_descriptor()], **more}


def an_index(**more: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "manifests": [a_descriptor(m.OCI_MANIFEST, platform={"os": "linux", "architecture": "amd64"})],
        **more,
    }


def parse(document: Any, content_type: str | None = None) -> m.Manifest | m.Index:
    return m.parse_manifest(json.dumps(document).encode(), content_type)


def test_a_manifest_is_read() -> None:
    found = parse(a_manifest(mediaType=m.OCI_MANIFEST, annotations={"a": "b"}))
    assert isinstance(found, m.Manifest)
    assert [blob.digest for blob in found.blobs] == [D[1], D[0]]
    assert found.kind == m.OCI_CONFIG


def test_an_index_is_read() -> None:
    found = parse(an_index(), m.DOCKER_INDEX + "; charset=utf-8")
    assert isinstance(found, m.Index)
    assert found.media_type == m.DOCKER_INDEX
    assert str(found.manifests[0].platform) == "linux/amd64"


REFUSED: dict[str, tuple[Any, str | None, str]] = {
    "manifest and index at once": ({**a_manifest(), **an_index()}, None, "both"),
    "index with a config": (an_index(config=a_descriptor()), None, "both"),
    "index that came as a manifest": (an_index(), m.OCI_MANIFEST, "its form is that of an index"),
    "manifest that came as an index": (a_manifest(), m.OCI_INDEX, "its form is that of a manifest"),
    "manifest that says it is an index": (a_manifest(mediaType=m.OCI_INDEX), None, "its form is that of a manifest"),
    "OCI inside, Docker outside": (a_manifest(mediaType=m.OCI_MANIFEST), m.DOCKER_MANIFEST, "but it came as"),
    "schema 1 by number": ({"schemaVersion": 1, "fsLayers": []}, None, "schema 1"),
    "schema 1 by type": (a_manifest(), "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"),
    "schema 1 layers beside": (a_manifest(fsLayers=[]), None, "schema 1"),
    "no version": ({"config": a_descriptor(), "layers": []}, None, "schemaVersion is None"),
    "neither": ({"schemaVersion": 2}, None, "neither"),
    "no config": ({"schemaVersion": 2, "layers": []}, None, "config is not an object"),
    "layers no list": (a_manifest(layers={}), None, "layers is not a list"),
    "no list": ([], None, "not a JSON object"),
    "a path for a digest": (
        a_manifest(layers=[a_descriptor() | {"digest": "sha256:../../etc"}]),
        None,
        r"layers\[0\].digest: invalid digest",
    ),
    "a number for a digest": (a_manifest(layers=[a_descriptor() | {"digest": 7}]), None, "invalid digest"),
    "negative size": (a_manifest(layers=[a_descriptor() | {"size": -1}]), None, "size -1"),
    "absurd size": (a_manifest(layers=[a_descriptor() | {"size": 1 << 60}]), None, "size"),
    "true for a size": (a_manifest(layers=[a_descriptor() | {"size": True}]), None, "size True"),
    "a fraction for a size": (a_manifest(layers=[a_descriptor() | {"size": 1.5}]), None, "size 1.5"),
    "no media type": (a_manifest(layers=[{"digest": D[0], "size": 1}]), None, "mediaType is missing"),
    "too many layers": (a_manifest(layers=[a_descriptor()] * 4097), None, "at most 4096"),
    "annotations of numbers": (a_manifest(annotations={"a": 1}), None, "annotations"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_manifest_is_refused__cve_2021_41190(case: str) -> None:
    document, content_type, reason = REFUSED[case]
    with pytest.raises(m.InvalidManifest, match=reason):
        parse(document, content_type)


def test_keys_that_stand_twice_are_refused_since_two_readers_may_differ() -> None:
    with pytest.raises(m.InvalidManifest, match="'layers' stands twice"):
        m.parse_manifest(b'{"schemaVersion":2,"layers":[],"layers":[]}')


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":NaN}', b"{}" + b" " * m.LARGEST_MANIFEST])
def test_bytes_that_are_no_document_are_refused(data: bytes) -> None:
    with pytest.raises(m.InvalidManifest):
        m.parse_manifest(data)


def a_config(**more: Any) -> dict[str, Any]:
    return {"os": "linux", "architecture": "aarch64", "rootfs": {"type": "layers", "diff_ids": [D[0]]}, **more}


def test_a_config_is_read_against_its_manifest() -> None:
    found = parse(a_manifest())
    assert isinstance(found, m.Manifest)
    config = m.parse_config(json.dumps(a_config(config={"Cmd": ["sh"]})).encode(), found)
    assert (str(config.platform), config.diff_ids, config.settings["Cmd"]) == ("linux/arm64", (D[0],), ["sh"])
    with pytest.raises(m.InvalidManifest, match="2 diff_ids, its manifest 1 layers"):
        m.parse_config(json.dumps(a_config(rootfs={"type": "layers", "diff_ids": D[:2]})).encode(), found)
    artifact = parse(a_manifest(config=a_descriptor(m.OCI_EMPTY)))
    assert isinstance(artifact, m.Manifest)
    with pytest.raises(m.InvalidManifest, match="not an image"):
        m.parse_config(b"{}", artifact)


@pytest.mark.parametrize("document", [a_config(architecture=""), a_config(rootfs=None), a_config(rootfs={"type": "x"}),
                                      a_config(rootfs={"type": "layers", "diff_ids": ["x"]}), a_config(config=[]),
                                      a_config(rootfs={"type": "layers", "diff_ids": D[:1] * 501})])  # fmt: skip
def test_a_config_of_another_form_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(m.InvalidManifest):
        m.parse_config(json.dumps(document).encode())


def test_chain_ids_follow_the_image_specification() -> None:
    first, second = Digest.of(b"a"), Digest.of(b"b")
    assert m.chain_ids([]) == []
    assert m.chain_ids([first, second]) == [first, Digest.of(f"{first} {second}".encode())]


def test_a_new_manifest_has_the_same_bytes_each_time_and_reads_back() -> None:
    config = m.Descriptor(m.OCI_CONFIG, Digest(D[0]), 2)
    layer = m.Descriptor(m.OCI_LAYER, Digest(D[1]), 3)
    data = m.render_manifest(config, [layer], {"b": "2", "a": "1"})
    assert data == m.render_manifest(config, [layer], {"a": "1", "b": "2"})
    found = m.parse_manifest(data, m.OCI_MANIFEST)
    assert found == m.Manifest(m.OCI_MANIFEST, config, (layer,), annotations={"a": "1", "b": "2"})


def test_compressions_are_told_by_media_type() -> None:
    assert [m.compression(kind) for kind in (m.OCI_LAYER, m.OCI_LAYER + "+zstd", m.DOCKER_LAYER + ".gzip", m.DOCKER_LAYER)] == [
        "",
        "zstd",
        "gzip",
        "",
    ]
    with pytest.raises(m.InvalidManifest, match="text/plain"):
        m.compression("text/plain")
