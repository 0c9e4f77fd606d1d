"""docs/engine-api.md against a running daemon."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.http.client import UnixConnection
from tests.engine import archives
from tests.engine.running import SOURCE, Answer, Engine, until

pytestmark = pytest.mark.host

DOCUMENT = (SOURCE / "docs/engine-api.md").read_text()
V1 = "/gitopsd/v1"


def digest_of(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def state(engine: Engine) -> Answer:
    answer = engine.call("GET", f"{V1}/state")
    assert answer.status == 200
    return answer


def shown(engine: Engine, identity: str) -> dict[str, Any]:
    return next(entry for entry in state(engine).body["containers"] if entry["inspect"]["Id"] == identity)


def generation(engine: Engine, identity: str) -> int:
    return shown(engine, identity)["generation"]


# ---- state and ETag


def test_the_state_has_the_shape_of_the_document(engine: Engine) -> None:
    engine.run("sleep", "1000", name="one", Volumes={"/data": {}})
    example = re.search(r"```\n(\{\"version\": 1,.*?)```", DOCUMENT, re.DOTALL)
    assert example
    documented = set(re.findall(r'"(\w+)":', example[1]))
    found = state(engine).body
    assert set(found) == {"version", "engine", "host", "containers", "networks", "volumes", "images", "leases", "intent"}
    assert found["version"] == 1
    assert found["engine"] == {"version": found["engine"]["version"], "api": "1.44", "instance": engine.instance}
    parts = {
        "host": found["host"], "containers": found["containers"][0], "networks": found["networks"][0], "volumes": found["volumes"][0],
        "images": found["images"][0], "intent": found["intent"],
    }  # fmt: skip
    assert set(parts["containers"]) == {"generation", "create", "inspect", "replaces"}
    assert set(parts["networks"]) == set(parts["volumes"]) == {"generation", "create", "inspect"}
    for part in parts.values():
        assert set(part) <= documented, set(part) - documented
    for name, kind in (
        ("kernel", str),
        ("architecture", str),
        ("os", str),
        ("cpus", int),
        ("memory_bytes", int),
        ("free_bytes", int),
        ("boot", str),
    ):
        assert isinstance(found["host"][name], kind), name


def test_create_is_what_was_said_and_inspect_is_what_docker_answers(engine: Engine) -> None:
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "Labels": {"a": "1"}, "HostConfig": {}, "Unknown": {"kept": [1, None]}}
    made = engine.client.call("POST", "/containers/create", body)["Id"]
    found = shown(engine, made)
    assert found["create"] == body
    inspected = engine.inspect(made)
    assert found["inspect"] == {**inspected, "ExecIDs": None}


def test_the_etag_is_the_same_as_long_as_nothing_happens(engine: Engine) -> None:
    engine.run("sleep", "1000", Healthcheck={"Test": ["CMD", "true"], "Interval": 10_000_000})
    until(lambda: state(engine).body["containers"][0]["inspect"]["State"]["Health"]["Status"] == "healthy", "it is healthy")
    first = state(engine)
    answer = engine.call("GET", f"{V1}/state", headers={"If-None-Match": first.headers["ETag"]})
    assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert without_free(state(engine).body) == without_free(first.body), "also while it is checked all the time"
    assert engine.call("GET", f"{V1}/state", headers={"If-None-Match": '"another"'}).status == 200


def without_free(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "host": {**found["host"], "free_bytes": 0}}


def test_the_etag_changes_whenever_the_answer_does(engine: Engine) -> None:
    image = engine.load("volatile", Volumes={"/data": {}})
    made = engine.create("sleep", "1000", image=image, name="changing", AutoRemove=False)
    engine.client.call("POST", "/networks/create", {"Name": "net-a"})

    def post(path: str, body: Any = None) -> Callable[[], Any]:
        return lambda: engine.call("POST", path, body)

    steps: list[tuple[str, Callable[[], Any]]] = [
        ("start", post(f"/containers/{made}/start")),
        ("rename", post(f"/containers/{made}/rename?name=renamed")),
        ("update", post(f"/containers/{made}/update", {"PidsLimit": 77})),
        ("connect", post("/networks/net-a/connect", {"Container": made})),
        ("disconnect", post("/networks/net-a/disconnect", {"Container": made})),
        ("end", lambda: (engine.client.call("POST", f"/containers/{made}/kill"), engine.wait(made))),
        ("volume", post("/volumes/create", {"Name": "etag-volume"})),
        ("network", post("/networks/create", {"Name": "net-b"})),
        ("image", lambda: engine.load("another", Labels={"x": "y"})),
        ("tag", post("/images/busybox/tag?repo=other&tag=1")),
        ("untag", lambda: engine.client.call("DELETE", "/images/other:1")),
        ("intent", lambda: engine.call("PUT", f"{V1}/intent", {"n": os.urandom(4).hex()}, {"If-Match": state(engine).body["intent"]["etag"]})),
        ("remove network", lambda: engine.client.call("DELETE", "/networks/net-b")),
        ("remove volume", lambda: engine.client.call("DELETE", "/volumes/etag-volume")),
        ("remove", lambda: engine.client.call("DELETE", f"/containers/{made}", v=True)),
    ]  # fmt: skip
    seen = {}
    for name, step in steps:
        before = state(engine)
        step()
        after = state(engine)
        assert after.headers["ETag"] != before.headers["ETag"], name
        assert without_free(after.body) != without_free(before.body), name
        seen[name] = after
        again = engine.call("GET", f"{V1}/state", headers={"If-None-Match": after.headers["ETag"]})
        assert again.status == 304 or without_free(again.body) != without_free(after.body), f"{name}: a tag that still changes"


def test_no_two_answers_of_one_etag_differ(engine: Engine) -> None:
    """Asked all the time, while all kinds of things happen."""
    answers: dict[str, dict[str, Any]] = {}
    wrong: list[str] = []
    with ThreadPoolExecutor(3) as pool:

        def work(number: int) -> None:
            for _ in range(4):
                made = engine.run("sleep", "1000", name=f"work-{number}", Volumes={"/v": {}}, AutoRemove=number == 1)
                engine.execute(made, "true")
                engine.client.call("POST", f"/containers/{made}/rename", name=f"worked-{number}")
                if number == 1:
                    engine.client.call("POST", f"/containers/{made}/kill")
                    with contextlib.suppress(ApiError):  # it may have gone
                        engine.wait(made, "removed")
                else:
                    engine.client.call("DELETE", f"/containers/{made}", force=True, v=True)

        working = [pool.submit(work, number) for number in range(2)]
        while not all(one.done() for one in working):
            answer = state(engine)
            body, tag = without_free(answer.body), answer.headers["ETag"]
            if answers.setdefault(tag, body) != body:
                wrong.append(tag)
        for one in working:
            one.result()
        time_tag = state(engine)
    # an answer may be newer than its tag: then the next one has another tag, and it is the last of a tag that must not be stale
    final = engine.call("GET", f"{V1}/state", headers={"If-None-Match": time_tag.headers["ETag"]})
    assert final.status == 304 or without_free(final.body) != without_free(time_tag.body)
    fresh = without_free(state(engine).body)
    assert without_free(time_tag.body) == fresh


def test_the_etag_is_another_after_a_restart_and_generations_are_kept(own: Engine) -> None:
    made = own.run("sleep", "1000")
    before = state(own)
    own.restart(hard=True)
    after = state(own)
    assert after.headers["ETag"] != before.headers["ETag"]
    assert generation(own, made) == before.body["containers"][0]["generation"]


# ---- generations


def test_each_change_of_what_is_asked_counts_once(engine: Engine) -> None:
    engine.client.call("POST", "/networks/create", {"Name": "counted"})
    made = engine.create("sleep", "1000", name="counting")
    expected = 1
    assert generation(engine, made) == expected
    for path, body in [
        (f"/containers/{made}/start", None), (f"/containers/{made}/rename?name=counted", None), (f"/containers/{made}/update", {"PidsLimit": 99}),
        ("/networks/counted/connect", {"Container": made}), ("/networks/counted/disconnect", {"Container": made}),
        (f"/containers/{made}/restart?t=0", None), (f"/containers/{made}/stop?t=0", None),
    ]:  # fmt: skip
        assert engine.call("POST", path, body).status < 300
        expected += 1
        assert generation(engine, made) == expected, path


def test_what_is_not_asked_does_not_count(engine: Engine) -> None:
    made = engine.run("sh", "-c", "exit 1", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 2},
                      Healthcheck={"Test": ["CMD", "false"], "Interval": 5_000_000})  # fmt: skip
    until(lambda: engine.status(made)["Status"] == "exited", "it has ended three times")
    assert generation(engine, made) == 2
    made = engine.run("sleep", "1000")
    engine.execute(made, "true")
    engine.call("POST", f"/containers/{made}/start")
    engine.call("POST", f"/containers/{made}/kill?signal=CONT")
    engine.logs(made)
    assert generation(engine, made) == 2
    failing = engine.create("nothing-here")
    engine.call("POST", f"/containers/{failing}/start")
    assert generation(engine, failing) == 2, "it was asked to run"


@pytest.mark.parametrize(("method", "path", "body"), [
    ("POST", "/containers/{c}/start", None), ("POST", "/containers/{c}/stop?t=0", None), ("POST", "/containers/{c}/restart?t=0", None),
    ("POST", "/containers/{c}/kill", None), ("POST", "/containers/{c}/rename?name=x2", None), ("POST", "/containers/{c}/update", {"PidsLimit": 5}),
    ("POST", "/containers/{c}/exec", {"Cmd": ["true"]}), ("DELETE", "/containers/{c}?force=1", None),
    ("POST", "/networks/guarded/connect", {"Container": "{c}"}), ("POST", "/networks/guarded/disconnect", {"Container": "{c}"}),
    ("DELETE", "/networks/guarded", None), ("DELETE", "/volumes/guarded", None), ("DELETE", "/volumes/guarded?force=1", None),
])  # fmt: skip
def test_a_call_that_expected_another_generation_does_nothing(engine: Engine, method: str, path: str, body: Any) -> None:
    engine.client.call("POST", "/networks/create", {"Name": "guarded"})
    engine.client.call("POST", "/volumes/create", {"Name": "guarded"})
    made = engine.run("sleep", "1000")
    before = without_free(state(engine).body)
    body = json.loads(json.dumps(body).replace("{c}", made))
    answer = engine.call(method, path.replace("{c}", made), body, {"X-Gitopsd-If-Generation": "77"})
    now = 2 if path.startswith("/containers") else 1
    assert (answer.status, answer.body.get("code"), answer.body.get("generation")) == (412, "generation-changed", now), answer
    assert without_free(state(engine).body) == before


def test_a_call_that_expected_the_right_generation_is_done(engine: Engine) -> None:
    made = engine.create("sleep", "1000")
    for number, path in enumerate(("start", "restart?t=0", "stop?t=0"), 1):
        answer = engine.call("POST", f"/containers/{made}/{path}", headers={"X-Gitopsd-If-Generation": str(number)})
        assert answer.status == 204, answer
    assert engine.call("DELETE", f"/containers/{made}", headers={"X-Gitopsd-If-Generation": "4"}).status == 204
    running = engine.run("sleep", "1000")
    assert engine.call("DELETE", f"/containers/{running}?force=1", headers={"X-Gitopsd-If-Generation": "2"}).status == 204
    assert (
        engine.call("POST", f"/containers/{engine.create('true')}/start", headers={"X-Gitopsd-If-Generation": "two"}).status
        == 400
    )


def test_of_two_calls_that_expected_the_same_generation_one_is_done(engine: Engine) -> None:
    made = engine.create("sleep", "1000")

    def rename(name: str) -> int:
        return engine.call("POST", f"/containers/{made}/rename?name={name}", headers={"X-Gitopsd-If-Generation": "1"}).status

    with ThreadPoolExecutor(4) as pool:
        codes = sorted(pool.map(rename, ["aa", "bb", "cc", "dd"]))
    assert codes == [204, 412, 412, 412]
    assert generation(engine, made) == 2


# ---- leases


class Lease:
    def __init__(self, engine: Engine, stack: str, holder: str = "tests") -> None:
        self.connection = UnixConnection(str(engine.socket), 10)
        self.connection.request("POST", f"{V1}/lease", json.dumps({"stack": stack, "holder": holder}).encode())
        response = self.connection.getresponse()
        line = response.readline()
        self.answer = Answer(response.status, dict(response.headers), json.loads(line))

    @property
    def token(self) -> int:
        return self.answer.body["token"]

    def close(self) -> None:
        sock = self.connection.sock
        self.connection.close()
        if sock is not None:
            sock.close()


def test_a_lease_lasts_as_long_as_its_connection(engine: Engine) -> None:
    lease = Lease(engine, "shop", "one")
    assert lease.answer.status == 200
    assert state(engine).body["leases"] == [{"stack": "shop", "holder": "one", "token": lease.token}]
    taken = Lease(engine, "shop", "two")
    assert (taken.answer.status, taken.answer.body["code"], taken.answer.body["holder"], taken.answer.body["token"]) == (
        409, "lease-held", "one", lease.token)  # fmt: skip
    other = Lease(engine, "blog")
    assert other.token > lease.token
    for one in (taken, lease):
        one.close()
    until(lambda: [held["stack"] for held in state(engine).body["leases"]] == ["blog"], "it is released")
    again = Lease(engine, "shop", "two")
    assert again.token > other.token
    again.close()
    other.close()
    until(lambda: state(engine).body["leases"] == [], "all are released")


def test_a_lease_whose_holder_is_cut_off_without_a_word_is_released(engine: Engine) -> None:
    lease = Lease(engine, "cut")
    assert lease.connection.sock is not None or lease.answer.status == 200
    lease.close()
    until(lambda: state(engine).body["leases"] == [], "it is released")


def test_a_changing_call_with_a_lost_lease_does_nothing(engine: Engine) -> None:
    lease = Lease(engine, "shop")
    made = engine.create("sleep", "1000")
    for text in (f"shop={lease.token + 1}", f"blog={lease.token}", "shop=", "shop", "", "=1"):
        answer = engine.call("POST", f"/containers/{made}/start", headers={"X-Gitopsd-Lease": text})
        assert (answer.status, answer.body["code"]) == (412, "lease-lost"), text
    answer = engine.call("POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"]}, {"X-Gitopsd-Lease": "shop=0"})
    assert answer.status == 412
    assert len(engine.containers()) == 1
    assert engine.status(made)["Status"] == "created"
    assert engine.call("POST", f"/containers/{made}/start", headers={"X-Gitopsd-Lease": f"shop={lease.token}"}).status == 204
    lease.close()
    until(lambda: state(engine).body["leases"] == [], "it is released")
    answer = engine.call("POST", f"/containers/{made}/stop", headers={"X-Gitopsd-Lease": f"shop={lease.token}"})
    assert answer.status == 412
    assert engine.status(made)["Running"]


def test_a_token_is_never_given_twice_whatever_is_killed(own: Engine) -> None:
    tokens: list[int] = []
    for hard in (True, False, True):
        leases = [Lease(own, f"s{number}") for number in range(3)]
        tokens += [lease.token for lease in leases]
        own.restart(hard=hard)
        for lease in leases:
            lease.close()
        assert state(own).body["leases"] == [], "a lease ends with the daemon"
    assert tokens == sorted(set(tokens))
    assert int((own.data_root / "fencing").read_text()) == tokens[-1]


def test_tokens_taken_at_once_are_all_different(engine: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda number: Lease(engine, f"stack-{number}"), range(16)))
    assert len({lease.token for lease in leases}) == 16
    for lease in leases:
        lease.close()
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda _: Lease(engine, "same"), range(8)))
    assert sorted(lease.answer.status for lease in leases) == [200] + [409] * 7
    for lease in leases:
        lease.close()
    until(lambda: state(engine).body["leases"] == [], "all are released")


def test_a_lease_without_a_name_is_refused(engine: Engine) -> None:
    for body in ({}, {"stack": "a"}, {"stack": "", "holder": "b"}, {"stack": 1, "holder": "b"}, []):
        assert engine.call("POST", f"{V1}/lease", body).status == 400


# ---- the host and what it is for


def test_a_host_is_told_once_whose_it_is(own: Engine) -> None:
    body = {"fleet": "shop", "host": "a", "number": 3, "block": "10.192.24.0/21", "spans": "10.208.0.0/12"}
    assert state(own).body["host"]["fleet"] is None
    assert own.call("PUT", f"{V1}/host", body).status == 200
    assert {key: state(own).body["host"][key] for key in body} == body
    assert json.loads((own.data_root / "fleet.json").read_text()) == {"version": 1, **body}
    assert own.call("PUT", f"{V1}/host", body).status == 200, "again"
    own.restart(hard=True)
    assert state(own).body["host"]["fleet"] == "shop"
    own.client.call("POST", "/networks/create", {"Name": "in-the-block"})
    assert own.client.call("GET", "/networks/in-the-block")["IPAM"]["Config"][0]["Subnet"].startswith("10.192.2")
    for other in ({**body, "host": "b"}, {**body, "fleet": "other"}, {**body, "block": "10.192.32.0/21"}):
        answer = own.call("PUT", f"{V1}/host", other)
        assert (answer.status, answer.body["code"]) == (409, "host-belongs-to"), other
    assert {key: state(own).body["host"][key] for key in body} == body
    own.client.call("DELETE", "/networks/in-the-block")
    assert own.call("PUT", f"{V1}/host", {**body, "fleet": "other", "block": "10.192.32.0/21"}).status == 200, (
        "nothing uses the old block"
    )
    for broken in (
        {},
        {**body, "number": "3"},
        {**body, "block": "10.192.24.1/21"},
        {**body, "spans": "x"},
        {**body, "number": True},
        [],
    ):
        assert own.call("PUT", f"{V1}/host", broken).status == 400, broken


def test_intent_is_kept_and_changed_only_by_who_has_read_it(own: Engine) -> None:
    first = own.call("GET", f"{V1}/intent")
    assert (first.status, first.body, first.headers["ETag"]) == (200, {}, '"0"')
    value = {"version": 1, "stacks": {"shop": {"hold": True, "bad": ["abc"], "jobs": {}}}}
    assert own.call("PUT", f"{V1}/intent", value).status == 428
    assert own.call("PUT", f"{V1}/intent", value, {"If-Match": '"1"'}).status == 412
    done = own.call("PUT", f"{V1}/intent", value, {"If-Match": '"0"'})
    assert done.status == 200
    own.restart(hard=True)
    found = own.call("GET", f"{V1}/intent")
    assert (found.body, found.headers["ETag"]) == (value, done.headers["ETag"])
    answer = own.call("PUT", f"{V1}/intent", {}, {"If-Match": '"0"'})
    assert (answer.status, answer.body["code"]) == (412, "intent-changed")
    assert own.call("PUT", f"{V1}/intent", {"x": "y" * 300_000}, {"If-Match": found.headers["ETag"]}).status == 413
    assert own.call("PUT", f"{V1}/intent", b"[1]", {"If-Match": found.headers["ETag"]}).status == 400
    assert own.call("GET", f"{V1}/intent").body == value

    def put(number: int) -> int:
        return own.call("PUT", f"{V1}/intent", {"by": number}, {"If-Match": found.headers["ETag"]}).status

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(put, range(8))) == [200] + [412] * 7


# ---- blobs and images


def put_blob(engine: Engine, data: bytes, digest: str = "", headers: dict[str, str] | None = None) -> Answer:
    return engine.call("PUT", f"{V1}/blobs/{digest or digest_of(data)}", data, headers)


def an_image(*layers: bytes, **config: Any) -> tuple[bytes, bytes, str]:
    """A manifest, its config and the manifest's digest."""
    described = {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], **config},
                 "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}}  # fmt: skip
    text = json.dumps(described).encode()

    def blob(kind: str, data: bytes) -> dict[str, Any]:
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest_of(data), "size": len(data)}

    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": blob("config.v1+json", text),
                "layers": [blob("layer.v1.tar", layer) for layer in layers]}  # fmt: skip
    data = json.dumps(manifest).encode()
    return data, text, digest_of(data)


def test_an_image_is_made_of_blobs_and_runs(engine: Engine) -> None:
    layers = [archives.busybox(), archives.a_layer({"etc/from": b"blobs"})]
    manifest, config, digest = an_image(*layers, Labels={"n": os.urandom(4).hex()})
    wanted = [digest, digest_of(config), *map(digest_of, layers)]
    missing = engine.call("POST", f"{V1}/blobs/missing", {"digests": wanted}).body
    assert set(missing) == {"missing", "partial"}
    assert digest in missing["missing"]
    refused = engine.call("PUT", f"{V1}/images", {"manifest": digest, "references": ["made:1"]})
    assert (refused.status, refused.body["code"], refused.body["missing"]) == (409, "blobs-missing", [digest])
    assert put_blob(engine, manifest).status == 201
    refused = engine.call("PUT", f"{V1}/images", {"manifest": digest, "references": ["made:1"]})
    assert digest_of(config) in refused.body["missing"]
    for data in (config, *layers):
        assert put_blob(engine, data).status == 201
    assert engine.call("POST", f"{V1}/blobs/missing", {"digests": wanted}).body["missing"] == []
    made = engine.call("PUT", f"{V1}/images", {"manifest": digest, "references": ["made:1", "made:2"]})
    assert (made.status, made.body) == (201, {"id": digest_of(config)})
    assert engine.call("PUT", f"{V1}/images", {"manifest": digest, "references": ["made:1"]}).status == 201, "again"
    listed = next(image for image in state(engine).body["images"] if image["digest"] == digest)
    assert {name.rpartition("/")[2] for name in listed["references"]} == {"made:1", "made:2"}
    assert engine.shell("cat /etc/from", image="made:2").out == "blobs"


def test_a_blob_is_resumed_where_it_broke_off(engine: Engine) -> None:
    data = os.urandom(700_000)
    digest, half = digest_of(data), 300_000
    broken = socket.socket(socket.AF_UNIX)
    broken.connect(str(engine.socket))
    broken.sendall(f"PUT {V1}/blobs/{digest} HTTP/1.1\r\nHost: d\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data[:half])
    until(
        lambda: engine.call("POST", f"{V1}/blobs/missing", {"digests": [digest]}).body["partial"].get(digest) == half,
        "half of it is here",
    )
    broken.close()

    def resume() -> Answer:
        return put_blob(engine, data[half:], digest, {"Content-Range": f"bytes {half}-{len(data) - 1}/{len(data)}"})

    differs = put_blob(engine, data[half + 5 :], digest, {"Content-Range": f"bytes {half + 5}-{len(data) - 1}/{len(data)}"})
    assert (differs.status, differs.body["code"], differs.body["partial"]) == (409, "offset-differs", half)
    answer = until(lambda: (found := resume()).status != 423 and found, "nobody holds it any more")
    assert answer.status == 201, answer
    assert engine.call("POST", f"{V1}/blobs/missing", {"digests": [digest]}).body == {"missing": [], "partial": {}}


def test_a_blob_with_another_digest_is_refused_and_not_visible(engine: Engine) -> None:
    digest = digest_of(os.urandom(8))
    answer = put_blob(engine, b"something else", digest)
    assert (answer.status, answer.body["code"]) == (400, "digest-mismatch")
    assert engine.call("POST", f"{V1}/blobs/missing", {"digests": [digest]}).body["missing"] == [digest]
    assert not (engine.data_root / "blobs/sha256" / digest[7:]).exists()
    assert put_blob(engine, b"something else", headers={"Content-Range": "bytes 0-2/3"}).status == 400, "longer than it says"


@pytest.mark.parametrize(
    "digest",
    ["sha256:..", "sha256:" + "A" * 64, "sha256:abc", "md5:" + "a" * 32, "..%2f..%2fetc%2fpasswd", "sha256:" + "a" * 63 + "/"],
)
def test_a_digest_that_is_none_is_refused(engine: Engine, digest: str) -> None:
    assert put_blob(engine, b"x", digest).status in (400, 404, 501)
    assert engine.call("POST", f"{V1}/blobs/missing", {"digests": [digest]}).status == 400
    assert engine.call("PUT", f"{V1}/images", {"manifest": digest, "references": []}).status == 400


@pytest.mark.parametrize("text", ["bytes */5", "bytes 1-2", "lines 0-1/2", "bytes x-1/2", "bytes -1-1/2", "bytes 5-1/2"])
def test_a_range_that_is_none_is_refused(engine: Engine, text: str) -> None:
    data = os.urandom(2)
    assert put_blob(engine, data, headers={"Content-Range": text}).status in (400, 409)
    assert engine.call("POST", f"{V1}/blobs/missing", {"digests": [digest_of(data)]}).body["missing"] == [digest_of(data)]


# ---- what is not there, and the table of Docker's calls


@pytest.mark.parametrize(("method", "path"), [
    ("PUT", f"{V1}/secrets/shop"), ("GET", f"{V1}/secrets/shop"), ("PUT", f"{V1}/peers"), ("GET", "/events"), ("GET", "/system/df"),
    ("POST", "/containers/x/pause"), ("GET", "/containers/x/stats"), ("GET", "/containers/x/top"), ("POST", "/commit"), ("POST", "/session"),
    ("POST", "/grpc"), ("GET", "/swarm"), ("POST", "/containers/prune"), ("GET", "/containers/x/archive?path=/"), ("POST", "/auth"),
])  # fmt: skip
def test_what_is_not_there_yet_is_501_and_named(engine: Engine, method: str, path: str) -> None:
    answer = engine.call(method, path, {} if method != "GET" else None)
    assert (answer.status, answer.body["code"]) == (501, "not-there-yet")
    assert path.partition("?")[0] in answer.body["message"]


@pytest.mark.parametrize("settings", [
    {"Privileged": True}, {"Devices": [{"PathOnHost": "/dev/fuse"}]}, {"PidMode": "host"}, {"IpcMode": "host"}, {"UsernsMode": "host"},
    {"CgroupParent": "/x"}, {"Tty": True}, {"Init": True}, {"SecurityOpt": ["seccomp={}"]}, {"NetworkMode": "container:x"}, {"GroupAdd": ["7"]},
    {"VolumesFrom": ["x"]}, {"LogConfig": {"Type": "syslog"}}, {"Mounts": [{"Type": "image", "Target": "/x"}]}, {"CgroupnsMode": "host"},
])  # fmt: skip
def test_a_field_that_asks_for_what_is_not_there_is_501_and_named(engine: Engine, settings: dict[str, Any]) -> None:
    body: dict[str, Any] = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {}}
    (name,) = settings
    (body if name == "Tty" else body["HostConfig"]).update(settings)
    answer = engine.call("POST", "/containers/create", body)
    assert (answer.status, answer.body["code"]) == (501, "not-there-yet")
    assert name in answer.body["message"]
    assert engine.containers() == []


def test_clients_older_than_130_hear_of_a_containers_ends_and_of_nothing_else(engine: Engine) -> None:
    made = engine.create("sh", "-c", "exit 5", name="web")
    filters = json.dumps({"type": {"container": True}, "container": {"web": True}})
    with contextlib.closing(UnixConnection(str(engine.socket), 30)) as connection:
        connection.request("GET", f"/v1.29/events?filters={quote(filters)}")
        heard = connection.getresponse()
        engine.start_container(made)
        died = json.loads(heard.readline())
        assert (died["status"], died["id"], died["Actor"]["Attributes"]["exitCode"]) == ("die", made, "5")
        engine.wait(made)
        engine.remove(made)
        assert json.loads(heard.readline())["Action"] == "destroy"
        assert heard.read() == b""
    made = engine.create("true", name="web")
    for path in ("/v1.30/events", "/events"):
        assert engine.call("GET", f"{path}?filters={quote(filters)}").status == 501
    assert engine.call("GET", f"/v1.29/events?since=1&filters={quote(filters)}").status == 501
    assert engine.call("GET", "/v1.29/events").status == 501


def test_versions_from_the_oldest_to_ours_are_accepted_and_others_refused(engine: Engine) -> None:
    for version in ("1.24", "1.41", "1.44"):
        assert engine.call("GET", f"/v{version}/version").body["ApiVersion"] == "1.44"
    for version in ("1.23", "1.45", "2.0", "0.1"):
        answer = engine.call("GET", f"/v{version}/version")
        assert answer.status == 400
        assert ("too old" if version in ("1.23", "0.1") else "too new") in answer.body["message"]


def test_every_call_of_the_table_is_there(engine: Engine) -> None:
    """tests/unit/docs/test_engine_api.py has the other direction."""
    table = DOCUMENT.rpartition("| call | is |")[2].partition("\n\n")[0]
    calls = re.findall(r"`([A-Z]+) (/[^`]*)`", table)
    assert len(calls) > 30
    queries = {"/logs": "?stdout=1", "/attach": "?stream=1", "/images/get": "?names=x"}
    for method, path in calls:
        if path == "/events":  # for old clients alone
            continue
        asked = path.replace("<name>", "x") + next((query for end, query in queries.items() if path.endswith(end)), "")
        assert engine.call(method, asked, {} if method == "POST" else None).status in (200, 201, 400, 404, 500), (method, path)


def test_ping_has_the_headers_that_clients_look_for(engine: Engine) -> None:
    for method, body in (("GET", b"OK"), ("HEAD", b"")):
        answer = engine.call(method, "/_ping")
        assert (answer.status, answer.body) == (200, body)
        for name, value in {
            "Api-Version": "1.44",
            "Ostype": "linux",
            "Docker-Experimental": "false",
            "Swarm": "inactive",
        }.items():
            assert answer.headers[name] == value


def test_errors_have_dockers_form(engine: Engine) -> None:
    for method, path, body, status in (
        ("GET", "/containers/none/json", None, 404), ("GET", "/images/none/json", None, 404), ("GET", "/networks/nothing", None, 404),
        ("GET", "/volumes/none", None, 404), ("POST", "/containers/create", b"{", 400), ("POST", "/containers/create", b"[]", 400),
        ("POST", "/containers/create", {"Image": "none", "Cmd": ["x"]}, 404), ("PUT", "/version", None, 501),
        ("POST", "/containers/create", b"[" * 100_000, 400), ("POST", "/containers/create", b'{"Image": "busybox", "Cmd": ["a\\ud800"]}', 400),
        ("POST", "/containers/create", b'{"Image": "busybox", "Env": ["A=\\ud800"]}', 400), ("POST", "/containers/create", b"\xff\xfe{}", 400),
        ("POST", "/containers/create", {"Image": ["busybox"]}, 400), ("POST", "/containers/create", {"Image": "busybox", "HostConfig": []}, 400),
        ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"Ulimits": [{"Name": "x"}]}}, 400),
        ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"Memory": "lots"}}, 400),
        ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"PidsLimit": "lots"}}, 400),
        ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"Tmpfs": {"/x": "size=a,b=\u0000"}}}, 400),
        ("POST", "/containers/create", {"Image": "busybox", "Cmd": ["a\u0000b"]}, 400),
        ("POST", "/containers/create", {"Image": "busybox", "StopTimeout": "soon"}, 400),
        ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"PortBindings": {"80/tcp": "x"}}}, 400),
        ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"MaskedPaths": 7}}, 400),
        ("POST", "/containers/create", {"Image": "busybox", "Healthcheck": {"Test": "curl"}}, 400),
        ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": "x"}}}, 400),
    ):  # fmt: skip
        answer = engine.call(method, path, body)
        assert answer.status == status, (path, body if not isinstance(body, bytes) else body[:80], answer)
        assert set(answer.body) <= {"message", "code"}
        assert "internal error" not in answer.body["message"]
    assert engine.containers() == []
    assert "Traceback" not in engine.log.read_text()[engine.mark :]
