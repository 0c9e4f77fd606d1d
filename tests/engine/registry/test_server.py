"""The behaviours that the OCI distribution specification asks for, and the advisories of registries."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.content.blobs import Blobs
from gitopsd.engine.registry.server import Registry, serve
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import LARGEST_MANIFEST, OCI_CONFIG, OCI_EMPTY, OCI_INDEX, OCI_LAYER, OCI_MANIFEST

from .running import Reply, ask, our_registry, push_blob


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with our_registry(tmp_path) as address:
        yield address


def a_manifest(address: str, repository: str, name: bytes = b"layer", **more: Any) -> bytes:
    """A manifest whose blobs are pushed."""
    config, layer = b'{"for":"%s"}' % name, name * 100
    push_blob(address, repository, config)
    push_blob(address, repository, layer)
    return json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST,
         "config": {"mediaType": OCI_CONFIG, "digest": Digest.of(config), "size": len(config)},
         "layers": [{"mediaType": OCI_LAYER, "digest": Digest.of(layer), "size": len(layer)}], **more}, indent=3
    ).encode()  # fmt: skip


def put(address: str, repository: str, target: str, data: bytes, kind: str = OCI_MANIFEST) -> Reply:
    return ask(address, "PUT", f"/v2/{repository}/manifests/{target}", data, Content_Type=kind)


def test_it_says_that_it_is_a_registry(registry: str) -> None:
    assert ask(registry, "GET", "/v2/").status == 200


def test_a_blob_is_pushed_in_one_request_in_two_and_in_chunks(registry: str) -> None:
    data = os.urandom(300_000)
    single = ask(registry, "POST", f"/v2/a/b/blobs/uploads/?digest={Digest.of(data)}", data)
    assert (single.status, single.headers["location"]) == (201, f"/v2/a/b/blobs/{Digest.of(data)}")
    assert push_blob(registry, "a/c", data) == Digest.of(data)

    begun = ask(registry, "POST", "/v2/a/d/blobs/uploads/")
    assert begun.status == 202
    location = begun.headers["location"]
    first = ask(registry, "PATCH", location, data[:100_000], Content_Range="0-99999")
    assert (first.status, first.headers["range"]) == (202, "0-99999")
    wrong = ask(registry, "PATCH", location, data[:10], Content_Range="0-9")
    assert (wrong.status, wrong.headers["range"], wrong.headers["location"]) == (416, "0-99999", location)
    state = ask(registry, "GET", location)
    assert (state.status, state.headers["range"], state.body) == (204, "0-99999", b"")
    assert ask(registry, "PATCH", location, data[100_000:200_000], Content_Range="100000-199999").headers["range"] == "0-199999"
    done = ask(registry, "PUT", f"{location}?digest={Digest.of(data)}", data[200_000:], Content_Range="200000-299999")
    assert (done.status, done.headers["docker-content-digest"]) == (201, Digest.of(data))
    for repository in ("a/b", "a/c", "a/d"):
        answer = ask(registry, "GET", f"/v2/{repository}/blobs/{Digest.of(data)}")
        assert (answer.status, answer.body, answer.headers["docker-content-digest"]) == (200, data, Digest.of(data))
    assert ask(registry, "GET", location).status == 404


def test_a_blob_is_read_in_parts_and_asked_about(registry: str) -> None:
    digest = push_blob(registry, "a", b"0123456789")
    head = ask(registry, "HEAD", f"/v2/a/blobs/{digest}")
    assert (head.status, head.headers["content-length"], head.body) == (200, "10", b"")
    for asked, status, body, said in [("bytes=2-4", 206, b"234", "bytes 2-4/10"), ("bytes=7-", 206, b"789", "bytes 7-9/10"),
                                      ("bytes=-2", 206, b"89", "bytes 8-9/10"), ("bytes=0-1,3-4", 200, b"0123456789", None)]:  # fmt: skip
        answer = ask(registry, "GET", f"/v2/a/blobs/{digest}", Range=asked)
        assert (answer.status, answer.body, answer.headers.get("content-range")) == (status, body, said)
    outside = ask(registry, "GET", f"/v2/a/blobs/{digest}", Range="bytes=10-")
    assert (outside.status, outside.headers["content-range"]) == (416, "bytes */10")
    missing = ask(registry, "GET", f"/v2/a/blobs/{Digest.of(b'none')}")
    assert (missing.status, missing.code) == (404, "BLOB_UNKNOWN")


def test_wrong_bytes_are_refused_and_leave_nothing(registry: str, tmp_path: Path) -> None:
    location = ask(registry, "POST", "/v2/a/blobs/uploads/").headers["location"]
    answer = ask(registry, "PUT", f"{location}?digest={Digest.of(b'right')}", b"wrong")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert ask(registry, "PUT", f"{location}?digest={Digest.of(b'right')}", b"right").status == 404
    assert list(Blobs(str(tmp_path))) == []
    assert os.listdir(tmp_path / "registry/uploads") == []
    assert ask(registry, "POST", f"/v2/a/blobs/uploads/?digest={Digest.of(b'right')}", b"wrong").status == 400


def test_a_blob_is_mounted_from_another_repository(registry: str) -> None:
    digest = push_blob(registry, "a", b"shared")
    for query in (f"mount={digest}&from=a", f"mount={digest}"):
        target = "b" + query[-1]
        assert ask(registry, "POST", f"/v2/{target}/blobs/uploads/?{query}").status == 201
        assert ask(registry, "GET", f"/v2/{target}/blobs/{digest}").body == b"shared"
    for query in (f"mount={digest}&from=elsewhere", f"mount={Digest.of(b'none')}&from=a", f"mount={digest}&from=../../../etc"):
        answer = ask(registry, "POST", f"/v2/c/blobs/uploads/?{query}")
        assert (answer.status, "location" in answer.headers) == (202, True)
    assert ask(registry, "GET", f"/v2/c/blobs/{digest}").status == 404


def test_a_blob_of_the_store_that_no_repository_has_cannot_be_mounted(registry: str, tmp_path: Path) -> None:
    private = Blobs(str(tmp_path)).put(b"of the engine alone")
    assert ask(registry, "POST", f"/v2/a/blobs/uploads/?mount={private}").status == 202
    assert ask(registry, "GET", f"/v2/a/blobs/{private}").status == 404


def test_a_manifest_comes_back_byte_for_byte_by_tag_and_by_digest(registry: str) -> None:
    data = a_manifest(registry, "a/b")
    answer = put(registry, "a/b", "v1", data)
    digest = Digest.of(data)
    assert (answer.status, answer.headers["docker-content-digest"], answer.headers["location"]) == (
        201,
        digest,
        f"/v2/a/b/manifests/{digest}",
    )
    for target in ("v1", digest):
        found = ask(registry, "GET", f"/v2/a/b/manifests/{target}")
        assert (found.status, found.body, found.headers["content-type"], found.headers["docker-content-digest"]) == (
            200,
            data,
            OCI_MANIFEST,
            digest,
        )
        head = ask(registry, "HEAD", f"/v2/a/b/manifests/{target}")
        assert (head.status, head.headers["content-length"]) == (200, str(len(data)))
    assert ask(registry, "GET", "/v2/a/b/manifests/v1", If_None_Match=f'"{digest}"').status == 304
    assert ask(registry, "GET", "/v2/a/b/manifests/v2").code == "MANIFEST_UNKNOWN"
    assert put(registry, "a/b", Digest.of(b"other"), data).code == "DIGEST_INVALID"
    assert put(registry, "a/b", digest, data).status == 201


def test_a_manifest_needs_its_blobs_in_its_own_repository(registry: str) -> None:
    data = a_manifest(registry, "a")
    answer = put(registry, "b", "v1", data)
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert ask(registry, "GET", "/v2/b/manifests/v1").status == 404
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX,
                        "manifests": [{"mediaType": OCI_MANIFEST, "digest": Digest.of(data), "size": len(data)}]}).encode()  # fmt: skip
    assert put(registry, "a", "multi", index, OCI_INDEX).code == "MANIFEST_BLOB_UNKNOWN"
    assert put(registry, "a", Digest.of(data), data).status == 201
    assert put(registry, "a", "multi", index, OCI_INDEX).status == 201
    lying = json.loads(data)
    lying["layers"][0]["size"] += 1
    assert put(registry, "a", "v1", json.dumps(lying).encode()).code == "MANIFEST_INVALID"


def test_documents_that_are_no_manifest_are_refused__cve_2021_41190(registry: str) -> None:
    data = a_manifest(registry, "a")
    for body, kind in [(b"", OCI_MANIFEST), (b"{}", OCI_MANIFEST), (data, OCI_INDEX), (b'{"schemaVersion":1}', OCI_MANIFEST),
                       (json.dumps({**json.loads(data), "manifests": []}).encode(), OCI_MANIFEST)]:  # fmt: skip
        answer = put(registry, "a", "v1", body, kind)
        assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


def test_a_manifest_of_four_mebibytes_is_taken_and_a_larger_one_refused(registry: str) -> None:
    data = a_manifest(registry, "a")
    large = data + b" " * (LARGEST_MANIFEST - len(data))
    assert put(registry, "a", "large", large).status == 201
    assert ask(registry, "GET", "/v2/a/manifests/large").body == large
    assert put(registry, "a", "larger", large + b" ").status == 413


def test_tags_are_listed_in_order_and_by_pages(registry: str) -> None:
    data = a_manifest(registry, "a")
    for tag in ("c", "a", "B", "latest.tmp", "b"):
        assert put(registry, "a", tag, data).status == 201
    every = ["B", "a", "b", "c", "latest.tmp"]
    assert ask(registry, "GET", "/v2/a/tags/list").json == {"name": "a", "tags": every}
    page = ask(registry, "GET", "/v2/a/tags/list?n=2")
    assert page.json["tags"] == ["B", "a"]
    assert page.headers["link"] == '</v2/a/tags/list?n=2&last=a>; rel="next"'
    page = ask(registry, "GET", "/v2/a/tags/list?n=3&last=a")
    assert (page.json["tags"], "link" in page.headers) == (["b", "c", "latest.tmp"], False)
    empty = ask(registry, "GET", "/v2/a/tags/list?n=0")
    assert (empty.json["tags"], "link" in empty.headers) == ([], False)
    assert ask(registry, "GET", "/v2/a/tags/list?last=zzz").json["tags"] == []
    assert (ask(registry, "GET", "/v2/none/tags/list").status, ask(registry, "GET", "/v2/none/tags/list").code) == (
        404,
        "NAME_UNKNOWN",
    )


@pytest.mark.parametrize("n", ["9999999999999999999999", "-1", "1e9", "x", "\u0661"])
def test_a_count_beyond_reason_takes_no_memory__cve_2023_2253(registry: str, n: str) -> None:
    from urllib.parse import quote

    for path in ("/v2/_catalog", "/v2/a/tags/list"):
        assert ask(registry, "GET", f"{path}?n={quote(n)}").status == 400


def test_the_catalog_lists_repositories(registry: str) -> None:
    for name in ("b", "a/c", "a"):
        push_blob(registry, name, b"x")
    assert ask(registry, "GET", "/v2/_catalog").json["repositories"] == ["a", "a/c", "b"]
    assert ask(registry, "GET", "/v2/_catalog?n=999999999").json["repositories"] == ["a", "a/c", "b"]
    assert ask(registry, "GET", "/v2/_catalog?n=1").headers["link"] == '</v2/_catalog?n=1&last=a>; rel="next"'


def test_a_tag_a_manifest_and_a_blob_are_deleted(registry: str) -> None:
    data = a_manifest(registry, "a")
    digest = Digest.of(data)
    for tag in ("one", "two", "three"):
        put(registry, "a", tag, data)
    assert ask(registry, "DELETE", "/v2/a/manifests/one").status == 202
    assert (ask(registry, "GET", "/v2/a/manifests/one").status, ask(registry, "GET", f"/v2/a/manifests/{digest}").status) == (
        404,
        200,
    )
    assert ask(registry, "DELETE", f"/v2/a/manifests/{digest}").status == 202
    for target in ("two", "three", digest):
        assert ask(registry, "GET", f"/v2/a/manifests/{target}").status == 404
        assert ask(registry, "DELETE", f"/v2/a/manifests/{target}").status == 404
    assert ask(registry, "GET", "/v2/a/tags/list").json["tags"] == []
    blob = Digest.of(b"layer" * 100)
    assert ask(registry, "DELETE", f"/v2/a/blobs/{blob}").status == 202
    assert ask(registry, "GET", f"/v2/a/blobs/{blob}").status == 404
    assert ask(registry, "DELETE", f"/v2/a/blobs/{blob}").status == 404


def test_referrers_are_listed_also_of_a_subject_that_is_not_there(registry: str) -> None:
    subject = {"mediaType": OCI_MANIFEST, "digest": Digest.of(b"subject"), "size": 7}
    assert ask(registry, "GET", f"/v2/a/referrers/{Digest.of(b'subject')}").json["manifests"] == []
    signature = a_manifest(registry, "a", b"s", subject=subject, artifactType="example/signature", annotations={"who": "me"})
    other = a_manifest(registry, "a", b"o", subject=subject)
    assert put(registry, "a", Digest.of(signature), signature).headers["oci-subject"] == Digest.of(b"subject")
    put(registry, "a", Digest.of(other), other)
    found = ask(registry, "GET", f"/v2/a/referrers/{Digest.of(b'subject')}")
    assert found.headers["content-type"] == OCI_INDEX
    assert {entry["digest"]: entry["artifactType"] for entry in found.json["manifests"]} == {
        Digest.of(signature): "example/signature", Digest.of(other): OCI_CONFIG}  # fmt: skip
    some = ask(registry, "GET", f"/v2/a/referrers/{Digest.of(b'subject')}?artifactType=example/signature")
    assert [(entry["digest"], entry["annotations"]) for entry in some.json["manifests"]] == [
        (Digest.of(signature), {"who": "me"})
    ]
    assert some.headers["oci-filters-applied"] == "artifactType"
    ask(registry, "DELETE", f"/v2/a/manifests/{Digest.of(signature)}")
    assert len(ask(registry, "GET", f"/v2/a/referrers/{Digest.of(b'subject')}").json["manifests"]) == 1


def test_artifacts_with_an_empty_config_are_taken(registry: str) -> None:
    push_blob(registry, "a", b"{}")
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "example/x",
                       "config": {"mediaType": OCI_EMPTY, "digest": Digest.of(b"{}"), "size": 2}, "layers": []}).encode()  # fmt: skip
    assert put(registry, "a", "x", data).status == 201


@pytest.mark.parametrize(
    "path",
    ["/v2/../tags/list", "/v2/a/../../b/tags/list", "/v2/%2e%2e/%2e%2e/tags/list", "/v2/A/tags/list", "/v2/a%00b/tags/list", "/v2/_x/tags/list",
     "/v2/a/blobs/sha256:..%2f..%2f..%2fetc%2fpasswd", "/v2/a/blobs/sha512:" + "a" * 128, "/v2/a/manifests/%2e%2e", "/v2/a/manifests/.hidden",
     "/v2/" + "a" * 256 + "/tags/list"],
)  # fmt: skip
def test_names_that_would_leave_their_folder_are_refused(registry: str, path: str) -> None:
    assert ask(registry, "GET", path).status in (400, 404)
    assert ask(registry, "PUT", path, b"{}").status in (400, 404, 405)


def test_an_upload_of_another_repository_cannot_be_used_or_guessed(registry: str) -> None:
    location = ask(registry, "POST", "/v2/a/blobs/uploads/").headers["location"]
    session = location.rpartition("/")[2]
    assert len(session) == 32
    for other in (f"/v2/b/blobs/uploads/{session}", "/v2/a/blobs/uploads/" + "0" * 32):
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            assert ask(registry, method, f"{other}?digest={Digest.of(b'')}", b"x" if method != "GET" else b"").status == 404
    assert ask(registry, "DELETE", location).status == 204
    assert ask(registry, "GET", location).status == 404


def test_an_upload_goes_on_after_the_client_and_the_registry_were_gone(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    with our_registry(tmp_path) as address:
        location = ask(address, "POST", "/v2/a/blobs/uploads/").headers["location"]
        host, port = address.split(":")
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(
                f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data[:2_000_000]
            )
            raw.shutdown(socket.SHUT_WR)
            raw.recv(1)
        assert ask(address, "GET", location).headers["range"] == "0-1999999"
    with our_registry(tmp_path) as address:
        assert ask(address, "GET", location).headers["range"] == "0-1999999"
        assert ask(address, "PATCH", location, data[2_000_000:], Content_Range=f"2000000-{len(data) - 1}").status == 202
        assert ask(address, "PUT", f"{location}?digest={Digest.of(data)}").status == 201
        assert ask(address, "GET", f"/v2/a/blobs/{Digest.of(data)}").body == data


def test_what_was_pushed_is_there_after_a_restart(tmp_path: Path) -> None:
    with our_registry(tmp_path) as address:
        data = a_manifest(address, "a")
        put(address, "a", "v1", data)
    with our_registry(tmp_path) as address:
        assert ask(address, "GET", "/v2/a/manifests/v1").body == data


def test_a_second_registry_on_the_same_data_root_is_refused(tmp_path: Path) -> None:
    with our_registry(tmp_path), pytest.raises(ApiError, match="another one runs"):
        asyncio.run(serve(str(tmp_path), "127.0.0.1:0"))
    with our_registry(tmp_path):
        pass


def test_it_ends_quietly_with_connections_open(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with our_registry(tmp_path) as address:
        host, port = address.split(":")
        kept = socket.create_connection((host, int(port)))
        kept.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.recv(12) == b"HTTP/1.1 200"
    kept.close()
    assert caplog.records == []


def test_collecting_keeps_what_repositories_have_and_removes_the_rest(tmp_path: Path) -> None:
    with our_registry(tmp_path) as address:
        data = a_manifest(address, "a")
        put(address, "a", "v1", data)
        orphan = push_blob(address, "a", b"pushed and never named")
        gone = a_manifest(address, "a", b"gone")
        put(address, "a", "gone", gone)
        ask(address, "DELETE", f"/v2/a/manifests/{Digest.of(gone)}")
    registry = Registry(str(tmp_path))
    assert registry.collect() == 0  # all of it is young
    (tmp_path / "images.json").touch()
    assert registry.collect(grace_s=0) == 0  # blobs are the engine's to collect
    assert orphan in set(Blobs(str(tmp_path)))
    (tmp_path / "images.json").unlink()
    assert registry.collect(grace_s=0) > 0
    assert orphan not in set(Blobs(str(tmp_path)))
    with our_registry(tmp_path) as address:
        found = ask(address, "GET", "/v2/a/manifests/v1")
        assert (found.body, ask(address, "GET", f"/v2/a/blobs/{orphan}").status) == (data, 404)
        for blob in (found.json["config"], *found.json["layers"]):
            assert ask(address, "GET", f"/v2/a/blobs/{blob['digest']}").status == 200


def test_a_collection_does_not_run_into_a_push(tmp_path: Path) -> None:
    """Blobs that were just pushed, or relied on, stay; what no manifest names and nobody asked for goes."""
    registry = Registry(str(tmp_path))
    with our_registry(tmp_path) as address:
        shared = a_manifest(address, "r0")
        put(address, "r0", "v1", shared)
        stop = threading.Event()

        def collect() -> None:
            while not stop.is_set():
                registry.collect(grace_s=1.0)

        thread = threading.Thread(target=collect)
        thread.start()
        try:
            for number in range(60):
                data = a_manifest(address, f"r{number % 4}", b"%d" % number)
                assert put(address, f"r{number % 4}", f"v{number}", data).status == 201
                assert put(address, "r0", "again", shared).status == 201
        finally:
            stop.set()
            thread.join()
        for number in range(60):
            found = ask(address, "GET", f"/v2/r{number % 4}/manifests/v{number}").json
            for blob in (found["config"], *found["layers"]):
                assert ask(address, "HEAD", f"/v2/r{number % 4}/blobs/{blob['digest']}").status == 200


def test_many_clients_push_the_same_image_at_once(registry: str) -> None:
    failures: list[BaseException] = []

    def push(number: int) -> None:
        try:
            data = a_manifest(registry, f"r{number % 3}")
            assert put(registry, f"r{number % 3}", "v1", data).status == 201
        except BaseException as error:  # noqa: BLE001  the main thread raises it
            failures.append(error)

    threads = [threading.Thread(target=push, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(ask(registry, "GET", f"/v2/r{number}/manifests/v1").status == 200 for number in range(3))


def test_other_methods_are_refused_in_the_specifications_form(registry: str) -> None:
    for method, path in (("POST", "/v2/"), ("PUT", "/v2/_catalog"), ("PATCH", "/v2/a/manifests/x")):
        answer = ask(registry, method, path)
        assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert ask(registry, "GET", "/v1/").status == 404
