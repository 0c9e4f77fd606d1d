"""docker-py against the engine: the same life of containers, images, networks and volumes, and the errors by their classes."""

from __future__ import annotations

import gc
import io
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import docker.types
import pytest
import requests

from tests.engine import archives
from tests.engine.running import Engine, until

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="the engine is root"),
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    ),  # docker-py leaves its raw sockets to the collector
]

SLEEP = ["sleep", "1000"]
THREE_LINES = ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done; echo e >&2; exit 2"]


@pytest.fixture(autouse=True)
def sockets_are_collected() -> Iterator[None]:
    """Those that docker-py leaves, here where that is no error."""
    yield
    gc.collect()


@pytest.fixture(params=["newest", "1.24"])
def client(engine: Engine, request: pytest.FixtureRequest) -> Iterator[docker.DockerClient]:
    made = docker.DockerClient(
        base_url=engine.host, timeout=30, **({} if request.param == "newest" else {"version": request.param})
    )
    yield made
    made.close()


@pytest.fixture
def newest(engine: Engine) -> Iterator[docker.DockerClient]:
    made = docker.DockerClient(base_url=engine.host, timeout=30)
    yield made
    made.close()


# ---- containers


def test_the_engine_says_what_it_is(newest: docker.DockerClient) -> None:
    assert newest.ping()
    assert newest.api.api_version == "1.44"
    assert newest.version()["MinAPIVersion"] == "1.24"
    assert newest.info()["Images"] == 1


def test_run_gives_the_output(client: docker.DockerClient) -> None:
    assert client.containers.run("busybox", "echo hello") == b"hello\n"
    assert client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], stderr=True) == b"out\nerr\n"
    assert b"".join(client.containers.run("busybox", ["sh", "-c", "echo a; echo b"], stream=True)) == b"a\nb\n"


def test_run_raises_what_the_program_said_as_it_failed(newest: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.ContainerError) as caught:
        newest.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    assert (caught.value.exit_status, caught.value.stderr) == (3, b"bad\n")
    assert newest.containers.list(all=True) == []


def test_errors_have_their_classes(newest: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.ImageNotFound, match="No such image: none:latest"):
        newest.containers.create("none")
    with pytest.raises(docker.errors.NotFound, match="No such container: none"):
        newest.containers.get("none")
    with pytest.raises(docker.errors.ImageNotFound):
        newest.images.get("none")
    with pytest.raises(docker.errors.NotFound, match="network none-such not found"):
        newest.networks.get("none-such")
    with pytest.raises(docker.errors.NotFound):
        newest.volumes.get("none-such")
    with pytest.raises(docker.errors.APIError, match="executable file not found") as caught:
        newest.containers.run("busybox", ["no-such-program"], remove=True)
    assert caught.value.status_code == 400
    newest.containers.create("busybox", name="web")
    with pytest.raises(docker.errors.APIError, match="already in use") as caught:
        newest.containers.create("busybox", name="web")
    assert caught.value.status_code == 409
    with pytest.raises(docker.errors.APIError, match="network none-such not found"):
        newest.containers.run("busybox", "true", network="none-such")


def test_a_container_is_what_was_asked_for(engine: Engine, newest: docker.DockerClient) -> None:
    made = newest.containers.run(
        "busybox", SLEEP, detach=True, name="web", ports={"80/tcp": None, "81/udp": ("127.0.0.1", 8181)}, environment={"A": "b"},
        labels={"x": "y"}, volumes={"data": {"bind": "/d", "mode": "rw"}}, mem_limit="64m", hostname="box", working_dir="/tmp", user="web",
        cap_drop=["ALL"], restart_policy={"Name": "on-failure", "MaximumRetryCount": 2}, tmpfs={"/t": "size=1m"}, shm_size="1m",
        extra_hosts={"other": "10.1.2.3"}, ulimits=[docker.types.Ulimit(name="nofile", soft=77, hard=77)], read_only=True,
    )  # fmt: skip
    made.reload()
    assert (made.status, made.name, made.labels["x"], made.image.tags) == ("running", "web", "y", ["busybox:latest"])
    assert made.ports["81/udp"] == [{"HostIp": "127.0.0.1", "HostPort": "8181"}]
    assert int(made.ports["80/tcp"][0]["HostPort"]) > 1024
    script = "id -un; pwd; hostname; echo $A; ulimit -n; touch /d/x 2>/dev/null || echo not mine; grep other /etc/hosts"
    assert made.exec_run(["sh", "-c", script]).output.decode().split("\n") == [
        "web", "/tmp", "box", "b", "77", "not mine", "10.1.2.3\tother", "",
    ]  # fmt: skip
    assert newest.containers.list(filters={"label": ["x=y"], "status": "running", "name": "web"}) == [made]
    assert newest.containers.list(filters={"label": "x=z"}) == []


def test_a_container_lives_and_ends(client: docker.DockerClient) -> None:
    made = client.containers.run("busybox", SLEEP, detach=True, stop_signal="SIGKILL")
    made.rename("renamed")
    made.update(mem_limit="70m", memswap_limit="140m", cpu_shares=512)
    made.reload()
    assert (made.name, made.attrs["HostConfig"]["Memory"], made.attrs["HostConfig"]["CpuShares"]) == ("renamed", 70 << 20, 512)
    with pytest.raises(docker.errors.APIError, match="container is running"):
        made.remove()
    made.stop(timeout=20)
    assert made.wait()["StatusCode"] == 137
    made.start()
    made.start()
    made.restart(timeout=0)
    made.reload()
    assert made.status == "running"
    with pytest.raises(docker.errors.APIError, match="Invalid signal: NOPE"):
        made.kill("NOPE")
    made.kill()
    assert made.wait(timeout=20)["StatusCode"] == 137
    with pytest.raises(docker.errors.APIError, match="not running"):
        made.kill()
    made.remove(v=True)
    with pytest.raises(docker.errors.NotFound):
        made.reload()


def test_wait_takes_conditions_and_gives_up_in_time(newest: docker.DockerClient) -> None:
    made = newest.containers.run("busybox", SLEEP, detach=True)
    with pytest.raises((requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError)):
        made.wait(timeout=0.2)
    made.kill()
    assert made.wait(condition="not-running") == {"StatusCode": 137}
    with pytest.raises(docker.errors.APIError, match="invalid condition"):
        made.wait(condition="full-moon")


def test_logs_follow_and_choose(client: docker.DockerClient) -> None:
    made = client.containers.run("busybox", THREE_LINES, detach=True)
    assert b"".join(made.logs(stream=True, follow=True)) == b"1\n2\n3\ne\n"
    assert made.logs(stderr=False) == b"1\n2\n3\n"
    assert made.logs(stdout=False, tail=1) == b"e\n"
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9}Z e\n", made.logs(stdout=False, timestamps=True))
    assert made.wait()["StatusCode"] == 2


def test_attach_gives_streams_apart_and_takes_input(newest: docker.DockerClient) -> None:
    made = newest.containers.create("busybox", ["sh", "-c", "read x; echo got $x; echo e >&2"], stdin_open=True)
    taken = made.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    made.start()
    taken._sock.sendall(b"word\n")
    taken._sock.shutdown(socket.SHUT_WR)
    data = b"".join(iter(lambda: taken._sock.recv(4096), b""))
    assert data == b"\x01\0\0\0\0\0\0\x09got word\n\x02\0\0\0\0\0\0\x02e\n"
    taken.close()
    assert list(made.attach(logs=True, stream=False, demux=True)) == [b"got word\n", b"e\n"]
    assert made.attach(logs=True, stream=False) == b"got word\ne\n"


# ---- exec


@pytest.fixture
def running(client: docker.DockerClient) -> Any:
    return client.containers.run("busybox", SLEEP, detach=True)


def test_nothing_of_what_an_exec_says_at_once_is_lost(running: Any) -> None:
    assert [running.exec_run("echo word") for _ in range(20)] == [(0, b"word\n")] * 20


def test_exec_gives_streams_and_the_exit_code(running: Any) -> None:
    script = ["sh", "-c", "echo out; echo err >&2; exit 4"]
    assert running.exec_run(script, demux=True) == (4, (b"out\n", b"err\n"))
    assert running.exec_run(script, stderr=False) == (4, b"out\n")
    slow = ["sh", "-c", "echo a; sleep 0.1; echo b >&2"]
    assert list(running.exec_run(slow, stream=True).output) == [b"a\n", b"b\n"]
    assert list(running.exec_run(slow, stream=True, demux=True).output) == [(b"a\n", None), (None, b"b\n")]
    assert running.exec_run(["sh", "-c", "id -un"], user="web").output == b"web\n"


def test_exec_takes_settings_and_input(newest: docker.DockerClient) -> None:
    made = newest.containers.run("busybox", SLEEP, detach=True)
    assert made.exec_run(["sh", "-c", "echo $Q; pwd"], environment={"Q": "q"}, workdir="/etc").output == b"q\n/etc\n"
    _, taken = made.exec_run("cat", stdin=True, socket=True)
    taken._sock.sendall(b"hey\n")
    taken._sock.shutdown(socket.SHUT_WR)
    assert b"".join(iter(lambda: taken._sock.recv(4096), b"")) == b"\x01\0\0\0\0\0\0\x04hey\n"
    taken.close()
    made.exec_run(["touch", "/done"], detach=True)
    until(lambda: made.exec_run(["test", "-e", "/done"]).exit_code == 0, "it was done")


def test_an_exec_that_cannot_run_has_its_exit_code_and_says_why(running: Any) -> None:
    code, output = running.exec_run("no-such-program")
    assert code == 127
    assert b'exec: "no-such-program": executable file not found in $PATH' in output
    assert running.exec_run("/etc").exit_code == 126
    running.kill()
    with pytest.raises(docker.errors.APIError, match="is not running") as caught:
        running.exec_run("true")
    assert caught.value.status_code == 409


# ---- networks and volumes


def test_containers_of_a_network_find_each_other(client: docker.DockerClient) -> None:
    network = client.networks.create("front", driver="bridge", labels={"a": "b"})
    assert client.networks.list(filters={"label": "a=b"}) == [network]
    aliases = {"front": client.api.create_endpoint_config(aliases=["db"])}
    store = client.containers.run("busybox", SLEEP, detach=True, name="store", network="front", networking_config=aliases)
    web = client.containers.run("busybox", SLEEP, detach=True, name="web")
    network.connect(web, aliases=["site"])
    network.reload()
    assert sorted(found.name for found in network.containers) == ["store", "web"]
    address = network.attrs["Containers"][store.id]["IPv4Address"].partition("/")[0]
    for name in ("store", "db"):
        assert f"Address: {address}\n".encode() in web.exec_run(f"nslookup {name}").output
    assert store.exec_run("nslookup site").exit_code == 0
    with pytest.raises(docker.errors.APIError, match="active endpoints"):
        network.remove()
    network.disconnect(web)
    assert store.exec_run("nslookup site").exit_code != 0
    store.remove(force=True)
    network.remove()
    with pytest.raises(docker.errors.NotFound):
        network.reload()


def test_a_network_has_the_addresses_that_were_asked_for(newest: docker.DockerClient) -> None:
    pool = docker.types.IPAMPool(subnet="10.77.0.0/24", gateway="10.77.0.1")
    network = newest.networks.create("fixed", ipam=docker.types.IPAMConfig(pool_configs=[pool]), internal=True)
    assert network.attrs["IPAM"]["Config"] == [{"Subnet": "10.77.0.0/24", "Gateway": "10.77.0.1"}]
    made = newest.containers.create("busybox", SLEEP)
    network.connect(made, ipv4_address="10.77.0.99")
    made.start()
    made.reload()
    assert made.attrs["NetworkSettings"]["Networks"]["fixed"]["IPAddress"] == "10.77.0.99"
    with pytest.raises(docker.errors.APIError, match="already exists") as caught:
        newest.networks.create("fixed")
    assert caught.value.status_code == 409


def test_volumes_keep_data(client: docker.DockerClient) -> None:
    volume = client.volumes.create("data", labels={"a": "b"})
    assert client.volumes.list(filters={"name": "data"}) == [volume]
    assert (volume.attrs["Labels"], volume.attrs["Driver"]) == ({"a": "b"}, "local")
    mounted: Any = {"volumes": {"data": {"bind": "/d", "mode": "rw"}}, "remove": True}
    client.containers.run("busybox", ["sh", "-c", "echo kept > /d/file"], **mounted)
    assert client.containers.run("busybox", ["cat", "/d/file"], **mounted) == b"kept\n"
    user = client.containers.create("busybox", volumes={"data": {"bind": "/d", "mode": "ro"}})
    with pytest.raises(docker.errors.APIError, match="volume is in use") as caught:
        volume.remove()
    assert caught.value.status_code == 409
    user.remove()
    volume.remove()
    with pytest.raises(docker.errors.NotFound):
        volume.reload()


def test_mounts_are_made(newest: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("the host's\n")
    mounts = [
        docker.types.Mount("/h", str(tmp_path), type="bind", read_only=True),
        docker.types.Mount("/t", None, type="tmpfs", tmpfs_size=1 << 20),
    ]
    script = ["sh", "-c", "cat /h/file; touch /h/x || echo read-only; df /t | tail -n 1 | cut -d ' ' -f 1"]
    assert newest.containers.run("busybox", script, mounts=mounts) == b"the host's\nread-only\ntmpfs\n"


# ---- images


def test_an_image_is_built_pushed_pulled_and_run(newest: docker.DockerClient, registry: str, context: Path) -> None:
    name = f"{registry}/shop/py"
    built, said = newest.images.build(path=str(context), tag=f"{name}:1", buildargs={"A": "9"}, labels={"l": "m"}, rm=True)
    assert (built.tags, built.labels) == ([f"{name}:1"], {"l": "m"})
    assert any("Step 3/5" in line.get("stream", "") for line in said)
    lines = list(newest.images.push(name, tag="1", stream=True, decode=True))
    assert not [line for line in lines if "error" in line]
    digest = lines[-1]["aux"]["Digest"]
    newest.images.remove(f"{name}:1")
    pulled = newest.images.pull(name, tag="1")
    assert (pulled.id, pulled.attrs["RepoDigests"]) == (built.id, [f"{name}@{digest}"])
    assert newest.containers.run(f"{name}:1", remove=True) == b"built with 9\npage\n"
    assert newest.images.list(name=name) == [pulled]
    with pytest.raises(docker.errors.NotFound, match="manifest unknown"):
        newest.images.pull(name, tag="9")
    with pytest.raises(docker.errors.APIError, match="all tags of a name are not there yet"):
        newest.images.pull(name, all_tags=True)


def test_a_build_that_fails_says_where(newest: docker.DockerClient, context: Path) -> None:
    with pytest.raises(docker.errors.BuildError, match="returned a non-zero code: 7") as caught:
        newest.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN echo why; exit 7\n"))
    assert any(line.get("stream") == "why\n" for line in caught.value.build_log)
    with pytest.raises(docker.errors.APIError, match="Dockerfile:2: SHELL is not there yet"):
        newest.images.build(fileobj=io.BytesIO(b'FROM busybox\nSHELL ["a"]\n'))
    quiet, _ = newest.images.build(path=str(context), quiet=True)
    assert newest.containers.run(quiet.id) == b"built with 1\npage\n"


def test_an_image_is_loaded_tagged_saved_and_removed(client: docker.DockerClient) -> None:
    (loaded,) = client.images.load(archives.an_archive("shop/py:1", archives.busybox(), Labels={"n": "1"}))
    assert loaded.tags == ["shop/py:1"]
    assert loaded.tag("shop/other", "2")
    archive = b"".join(client.images.get("shop/other:2").save(named=True))
    client.images.remove(loaded.id, force=True)
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("shop/other:2")
    (again,) = client.images.load(archive)
    assert again.id == loaded.id
    client.containers.create("shop/other:2")
    with pytest.raises(docker.errors.APIError, match="conflict") as caught:
        client.images.remove("shop/other:2")
    assert caught.value.status_code == 409
    with pytest.raises(docker.errors.APIError, match="load: "):
        client.images.load(b"this is no archive")


# ---- what is not there yet


@pytest.mark.parametrize(("settings", "name"), [
    ({"tty": True}, "Tty"), ({"privileged": True}, "Privileged"), ({"init": True}, "Init"), ({"devices": ["/dev/null"]}, "Devices"),
    ({"pid_mode": "host"}, "PidMode"), ({"log_config": docker.types.LogConfig(type="syslog")}, "syslog"), ({"volumes_from": ["x"]}, "VolumesFrom"),
    ({"network_mode": "container:x"}, "container:x"), ({"security_opt": ["apparmor=x"]}, "apparmor=x"),
    ({"mac_address": "02:42:ac:11:00:02"}, "MacAddress"),
])  # fmt: skip
def test_an_option_that_is_not_there_is_refused_by_name(newest: docker.DockerClient, settings: dict[str, Any], name: str) -> None:
    with pytest.raises(docker.errors.APIError, match=f"{name} is not there yet in this engine") as caught:
        newest.containers.run("busybox", "true", **settings)
    assert caught.value.status_code == 501
    assert newest.containers.list(all=True) == []


def test_a_call_that_is_not_there_says_so(newest: docker.DockerClient) -> None:
    made = newest.containers.run("busybox", SLEEP, detach=True)
    for call in (
        lambda: made.stats(stream=False), made.top, made.pause, made.diff, made.commit, lambda: made.get_archive("/etc"),
        lambda: made.put_archive("/", b""), lambda: made.exec_run("true", tty=True), lambda: made.exec_run("true", privileged=True),
        newest.df, newest.images.prune, newest.containers.prune, newest.volumes.prune, newest.networks.prune, newest.services.list,
        newest.plugins.list, lambda: newest.images.search("x"), lambda: newest.login("a", "b", registry="localhost:1"),
    ):  # fmt: skip
        with pytest.raises(docker.errors.APIError, match="is not there yet in this engine") as caught:
            call()
        assert caught.value.status_code == 501


def test_events_are_not_there_yet(newest: docker.DockerClient) -> None:
    """`client.events()` takes any error for the end of the events, so the answer itself is looked at."""
    assert list(newest.events()) == []
    answer = newest.api.get(newest.api._url("/events"))
    assert (answer.status_code, answer.json()["message"]) == (501, "GET /events is not there yet in this engine")
