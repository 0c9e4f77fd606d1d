"""The engine itself on a host: brought over SSH, spoken to over SSH, killed, upgraded and taken away."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable, Iterator

import pytest

from gitopsd.hosts.bootstrap import Identity, bootstrap, remove
from gitopsd.hosts.engineapi import EngineApi
from gitopsd.hosts.enginehttp import EngineError
from gitopsd.hosts.links import Links
from gitopsd.hosts.package import Package, pack, package
from gitopsd.hosts.ssh import SshLink
from gitopsd.lab import Lab, execute
from gitopsd.model.errors import GitopsdError
from gitopsd.model.fleet import Fleet, Host, Registry
from tests.hosts.busybox import Image, a_busybox_image, send
from tests.hosts.execrecorder import needed, programs, recorded_execs

pytestmark = pytest.mark.host
IDENTITY = Identity("shop", "a", 3, "10.192.0.0/11")
SLEEP = {"Image": "busybox:stable", "Cmd": ["sleep", "1000"]}


@pytest.fixture(scope="module")
def image() -> Image:
    return a_busybox_image()


@pytest.fixture(params=["root", "deploy"])
def link(request: pytest.FixtureRequest, lab: Lab) -> Iterator[SshLink]:
    first = lab.hosts[0]
    host = Host("a", first.address, user=request.param, key=str(lab.key), host_keys=(first.host_key,))
    links = Links(Fleet("test", (host,), Registry("127.0.0.1:5000"), ()))
    yield links.link("a")
    remove(links.link("a"), delete_volumes=True)
    links.close()


@pytest.fixture
def api(link: SshLink) -> Iterator[EngineApi]:
    bootstrap(link, IDENTITY)
    client = EngineApi(link)
    yield client
    client.close()


def another_version() -> Package:
    """The same engine with another digest."""
    archive = zipfile.ZipFile(io.BytesIO(package().data))
    return pack({name: archive.read(name) for name in archive.namelist()} | {"another": b""})


def pid_of(api: EngineApi, container: str) -> int:
    state = api.container(container)["State"]
    assert state["Running"], state
    return int(state["Pid"])


def code_when_refused(call: Callable[[], object]) -> str:
    """The code of the no that must come within a moment: the engine learns of an ended connection after this side has."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            call()
        except EngineError as error:
            return error.code
        time.sleep(0.02)
    return "no answer was no"


def test_an_image_is_sent_and_a_container_of_it_runs_and_says_what_it_says(api: EngineApi, image: Image) -> None:
    send(api, image, "busybox:stable")
    made = api.create_container("hello", {"Image": "busybox:stable", "Cmd": ["sh", "-c", "echo out; echo err >&2; exit 3"]})
    api.start(made)
    assert api.wait(made) == 3
    assert sorted(api.logs(made)) == [(1, b"out\n"), (2, b"err\n")]
    api.remove(made)


def test_a_command_runs_in_a_container(api: EngineApi, image: Image) -> None:
    send(api, image, "busybox:stable")
    made = api.create_container("web", SLEEP)
    api.start(made)
    assert api.execute(made, ["sh", "-c", "hostname; echo no >&2; exit 4"]) == (4, f"{made[:12]}\n".encode(), b"no\n")


def test_containers_outlive_the_death_and_the_upgrade_of_the_daemon(
    api: EngineApi, link: SshLink, lab: Lab, image: Image
) -> None:
    send(api, image, "busybox:stable")
    made = api.create_container("web", SLEEP)
    api.start(made)
    pid = pid_of(api, made)
    execute(lab, "lab-1", ["sh", "-c", "kill -9 $(cat /run/gitopsd-engine/engine.pid)"])
    deadline = time.monotonic() + 20
    while True:
        try:
            assert pid_of(api, made) == pid
            break
        except GitopsdError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    newer = another_version()
    assert bootstrap(link, IDENTITY, engine=newer).done == (f"put engine {newer.digest[:12]}", "restarted")
    assert pid_of(api, made) == pid


def test_the_state_is_read_once_and_then_only_when_it_changed(api: EngineApi) -> None:
    first = api.state()
    assert first is not None
    assert (first.value["host"]["number"], first.value["host"]["block"]) == (3, "10.192.24.0/21")
    assert api.state(first.etag) is None
    api.create_volume({"Name": "data"})
    second = api.state(first.etag)
    assert second is not None
    assert [volume["inspect"]["Name"] for volume in second.value["volumes"]] == ["data"]


def test_a_lease_keeps_another_controller_out_as_long_as_its_connection_lives(api: EngineApi, link: SshLink) -> None:
    other = EngineApi(link)
    with api.lease("shop", "first") as held:
        with pytest.raises(EngineError) as caught, other.lease("shop", "second"):
            pass
        assert (caught.value.code, caught.value.fields["holder"], caught.value.fields["token"]) == (
            "lease-held",
            "first",
            held.token,
        )
        api.create_volume({"Name": "mine"}, held)
        link.close()
        assert not held.is_held
        assert code_when_refused(lambda: other.create_volume({"Name": "late"}, held)) == "lease-lost"
    with other.lease("shop", "second") as held_too:
        assert held_too.token > held.token
    other.close()


def test_what_was_changed_meanwhile_is_not_changed_again(api: EngineApi, image: Image) -> None:
    send(api, image, "busybox:stable")
    made = api.create_container("web", SLEEP)
    api.start(made, generation=1)
    with pytest.raises(EngineError) as caught:
        api.rename(made, "other", generation=1)
    assert (caught.value.code, caught.value.fields["generation"]) == ("generation-changed", 2)


def test_a_blob_with_other_bytes_is_refused_and_not_there(api: EngineApi) -> None:
    digest = "sha256:" + "0" * 64
    with pytest.raises(EngineError) as caught:
        api.put_blob(digest, 1 << 20, lambda offset: [bytes(1 << 20)])
    assert caught.value.code == "digest-mismatch"
    assert api.blobs_missing([digest]).digests == (digest,)


def test_intent_is_kept_and_not_overwritten_by_who_has_not_read_it(api: EngineApi) -> None:
    etag, value = api.intent()
    assert (etag, value) == ('"0"', {})
    newer = api.put_intent({"version": 1, "stacks": {}}, etag)
    assert api.intent() == (newer, {"version": 1, "stacks": {}})
    with pytest.raises(EngineError) as caught:
        api.put_intent({}, etag)
    assert (caught.value.code, caught.value.next) == ("intent-changed", "retry")


def test_only_python_sshd_and_shells_are_executed_on_the_host(lab: Lab, image: Image, link: SshLink) -> None:
    with recorded_execs(lab.host("lab-1")) as found:
        bootstrap(link, IDENTITY)
        api = EngineApi(link)
        send(api, image, "busybox:stable")
        network = api.create_network({"Name": "net"})
        body = {
            **SLEEP,
            "HostConfig": {"NetworkMode": "net", "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}},
            "ExposedPorts": {"80/tcp": {}},
        }
        made = api.create_container("web", body)
        api.start(made)
        assert api.execute(made, ["true"])[0] == 0
        api.remove(made, force=True)
        api.remove_network(network)
        api.close()
        remove(link)
    assert programs(found) <= needed(link.login), programs(found) - needed(link.login)


def test_removal_takes_running_containers_networks_and_mounts_along(
    api: EngineApi, link: SshLink, lab: Lab, image: Image
) -> None:
    send(api, image, "busybox:stable")
    api.create_network({"Name": "net"})
    body = {
        **SLEEP,
        "HostConfig": {"NetworkMode": "net", "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}},
        "ExposedPorts": {"80/tcp": {}},
    }
    api.start(api.create_container("web", body))
    remove(link, delete_volumes=True)
    script = """ls /sys/class/net | grep -vx -e eth0 -e lo; find /sys/fs/cgroup -name '*gitopsd*'; pgrep -x sleep; pgrep -f '[p]yz'
        cut -d' ' -f2 /proc/mounts | grep gitopsd; ls -A /var/lib/gitopsd-engine; ls -d /run/gitopsd-engine"""
    left = execute(lab, "lab-1", ["sh", "-c", script]).stdout.decode().split()
    assert left == ["/var/lib/gitopsd-engine"]  # which the lab mounts
