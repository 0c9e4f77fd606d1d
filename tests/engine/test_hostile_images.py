"""Images that were made to hurt: what a config says that stands in no specification, and what it says that other programs believe."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.engine import archives
from tests.engine.running import Engine, fails, until

pytestmark = pytest.mark.host


def test_a_label_of_an_image_does_not_remove_its_containers(own: Engine) -> None:
    image = own.load("lab", Labels={"gitopsd.build": "hello"}, Volumes={"/data": {}})
    made = own.run("sh", "-c", "echo kept > /data/file; sleep 1000", image=image, name="precious")
    own.restart()
    assert [container["Id"] for container in own.containers()] == [made]
    assert own.execute(made, "cat", "/data/file").out == "kept\n"


def test_the_containers_of_builds_that_ended_are_removed_whatever_their_labels_say(own: Engine) -> None:
    made = own.create("true")
    own.stop()
    path = own.data_root / "containers" / made / "config.json"
    path.write_text(path.read_text().replace('"version": 1,', '"version": 1,\n "build": true,', 1))
    own.start()
    assert own.containers() == []


_WRONG: list[tuple[str, Any]] = [
    ("StopSignal", "SIGNOPE"), ("StopSignal", 9), ("StopTimeout", "soon"), ("ExposedPorts", {"abc": {}}), ("ExposedPorts", {"0/tcp": {}}),
    ("ExposedPorts", {"90-80": {}}), ("ExposedPorts", ["80"]), ("Healthcheck", ["x"]), ("Healthcheck", {"Test": "true"}),
    ("Healthcheck", {"Test": ["RUN", "x"]}), ("Healthcheck", {"Test": ["CMD", "true"], "Interval": "1s"}),
    ("Healthcheck", {"Test": ["CMD", "true"], "Interval": 1}), ("Healthcheck", {"Test": ["CMD", "true"], "Timeout": 10**30}),
    ("Healthcheck", {"Test": ["CMD", "tr\0ue"]}), ("Healthcheck", {"Test": ["CMD", "true"], "Retries": -1}), ("Env", [7]), ("Env", ["A=\0"]),
    ("Env", ["=x"]), ("Env", "A=b"), ("User", 5), ("User", "a\0b"), ("WorkingDir", []), ("WorkingDir", "relative"), ("Cmd", [None]),
    ("Entrypoint", {"a": 1}), ("Labels", {"a": 1}), ("Labels", []), ("Labels", {"a": "\ud800"}), ("Volumes", {"relative": {}}),
    ("Volumes", {"/": {}}), ("Volumes", {"/v": 7}), ("OnBuild", [7]), ("Shell", "sh"),
]  # fmt: skip
_ids = [f"{field} {value!a}" for field, value in _WRONG]


@pytest.mark.parametrize(("field", "value"), _WRONG, ids=_ids)
def test_a_config_that_no_container_can_be_made_of_is_refused_by_its_field(engine: Engine, field: str, value: Any) -> None:
    with fails(400) as errors:
        engine.load("bad", **{field: value})
    assert f"config.{field}" in errors[0].message or "half a character" in errors[0].message
    with fails(404):
        engine.client.call("GET", "/images/bad/json")
    manifest = store_image(engine, {field: value})
    with fails(400) as errors:
        engine.client.call("PUT", "/gitopsd/v1/images", {"manifest": manifest, "references": ["bad:latest"]})
    assert f"config.{field}" in errors[0].message or "half a character" in errors[0].message
    assert "Traceback" not in engine.log.read_text()[engine.mark :]


def store_image(engine: Engine, settings: dict[str, Any]) -> str:
    """Put the blobs of an image there, as a controller does; the manifest's digest."""
    layer = archives.busybox()
    document = {"architecture": os.uname().machine, "os": "linux", "config": {"Cmd": ["sh"], **settings},
                "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}}  # fmt: skip
    config = json.dumps(document).encode()
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config), "size": len(config)}
    of_layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest_of(layer), "size": len(layer)}
    manifest = json.dumps({"schemaVersion": 2, "config": described, "layers": [of_layer]}).encode()
    for blob in (config, layer, manifest):
        path = engine.data_root / "blobs" / "sha256" / digest_of(blob)[7:]
        path.write_bytes(blob)
        path.chmod(0o600)
    return digest_of(manifest)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_an_image_that_is_there_from_before_is_shown_and_removed_and_makes_no_container(own: Engine) -> None:
    own.stop()
    path = own.data_root / "images.json"
    images = json.loads(path.read_text())
    (good,) = images["images"].values()
    for number, (field, value) in enumerate(_WRONG):
        manifest = store_image(own, {field: value})
        config = json.loads((own.data_root / "blobs" / "sha256" / manifest[7:]).read_text())["config"]["digest"]
        images["images"][manifest] = {**good, "config": config}
        images["references"][f"docker.io/library/old:{number}"] = manifest
    path.write_text(json.dumps(images))
    own.start()
    assert len(own.client.call("GET", "/images/json")) == len(_WRONG) + 1
    assert len(own.client.call("GET", "/gitopsd/v1/state")["images"]) == len(_WRONG) + 1
    for number, (field, _) in enumerate(_WRONG):
        own.client.call("GET", f"/images/old:{number}/json")
        own.client.call("GET", f"/images/old:{number}/history")
        if field not in ("OnBuild", "Shell"):
            with fails(400) as errors:
                own.create("true", image=f"old:{number}")
            assert f"config.{field}" in errors[0].message
        own.client.call("DELETE", f"/images/old:{number}")
    assert "Traceback" not in own.log.read_text()


@pytest.mark.parametrize(
    ("field", "value"), [item for item in _WRONG if item[0] in ("StopSignal", "Healthcheck", "ExposedPorts", "User", "Env")][::2]
)
def test_a_container_that_is_there_from_before_is_shown_stopped_and_removed(own: Engine, field: str, value: Any) -> None:
    runs, ended = own.run("sleep", "1000"), own.create("sleep", "1000")
    own.kill()
    for container in (runs, ended):
        path = own.data_root / "containers" / container / "config.json"
        record = json.loads(path.read_text())
        record["config"][field] = [*record["config"]["Env"], *value] if field == "Env" else value
        path.write_text(json.dumps(record))
    own.start()
    assert {container["Id"] for container in own.containers()} == {runs, ended}
    assert "without what its image said wrongly" in own.log.read_text()
    assert own.status(runs)["Running"]
    own.start_container(ended)
    own.client.call("POST", f"/containers/{ended}/restart", t=0)
    own.client.call("POST", f"/containers/{runs}/stop", t=1)
    own.remove(runs)
    own.remove(ended)
    assert own.containers() == []


def test_ports_of_other_protocols_and_ranges_are_shown_as_docker_has_them(engine: Engine) -> None:
    image = engine.load("ports", ExposedPorts={"9/sctp": {}, "80/TCP": {}, "8000-8002": {}})
    made = engine.run("sleep", "1000", image=image, PublishAllPorts=True)
    assert sorted(engine.inspect(made)["Config"]["ExposedPorts"]) == ["80/tcp", "8000/tcp", "8001/tcp", "8002/tcp", "9/sctp"]
    (shown,) = engine.containers()
    assert sorted(port["PrivatePort"] for port in shown["Ports"] if port.get("PublicPort")) == [80, 8000, 8001, 8002]


def test_a_forced_removal_does_not_wait_for_a_stop_that_never_ends(engine: Engine) -> None:
    made = engine.run("sh", "-c", "trap 'echo told' TERM; echo ready; while true; do sleep .1; done", StopTimeout=-1)
    until(lambda: "ready" in engine.logs(made), "the trap is set")
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(engine.call, "POST", f"/containers/{made}/stop")
        until(lambda: "told" in engine.logs(made), "it is being stopped")
        assert not stopping.done()
        engine.remove(made)
        assert stopping.result().status == 204
    assert engine.containers() == []


def test_a_name_whose_container_is_still_made_is_not_found(engine: Engine) -> None:
    wrong: list[Any] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            answer = engine.call("GET", "/containers/slow/json")
            if answer.status not in (200, 404):
                wrong.append(answer)

    with ThreadPoolExecutor(2) as pool:
        looking = [pool.submit(look) for _ in range(2)]
        for _ in range(25):
            engine.client.call("DELETE", f"/containers/{engine.create('true', name='slow')}")
        done.set()
        for look_up in looking:
            look_up.result()
    assert wrong == []


def test_an_image_that_is_removed_while_a_container_is_made_of_it_leaves_either_but_not_half(engine: Engine) -> None:
    for number in range(12):
        image = engine.load("raced", archives.a_layer({f"file-{number}": b"here"}))
        with ThreadPoolExecutor(2) as pool:
            creating = pool.submit(engine.call, "POST", "/containers/create", {"Image": image, "Cmd": ["cat", f"/file-{number}"]})
            removing = pool.submit(engine.call, "DELETE", f"/images/{image}")
        made, gone = creating.result(), removing.result()
        assert (made.status, gone.status) in ((201, 409), (404, 200)), (made, gone)
        if made.status == 201:
            engine.start_container(made.body["Id"])
            assert engine.wait(made.body["Id"]) == 0
            engine.remove(made.body["Id"])


_LINES = ["evil\n192.0.2.1 bank", "a b", "a\tb", "a#b"]


@pytest.mark.parametrize("settings", [
    *({"Hostname": text} for text in _LINES), *({"Domainname": text} for text in _LINES),
    *({"ExtraHosts": [f"{text}:192.0.2.7"]} for text in _LINES), {"ExtraHosts": ["there:192.0.2.7\n192.0.2.1 bank"]},
    {"ExtraHosts": ["there"]}, {"ExtraHosts": [":192.0.2.1"]}, {"ExtraHosts": ["there:bank"]}, {"DnsSearch": ["a\nnameserver 192.0.2.1"]},
    {"DnsOptions": ["a\nnameserver 192.0.2.1"]},
])  # fmt: skip
def test_no_name_writes_lines_into_files_below_etc(engine: Engine, settings: dict[str, Any]) -> None:
    with fails(400) as errors:
        engine.create("true", **settings)
    assert next(iter(settings)) in errors[0].message


def test_the_tail_of_a_log_of_empty_lines_takes_little_memory_of_the_daemon(engine: Engine) -> None:
    made = engine.run("sh", "-c", "yes '' | head -c 15000000")
    engine.wait(made)

    def resident() -> int:
        status = Path(f"/proc/{engine.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])

    before = resident()
    said = engine.raw_logs(made, tail=30_000_000)
    assert said.count(b"\n") == len(said) > 10_000_000
    assert resident() - before < 64 << 10
