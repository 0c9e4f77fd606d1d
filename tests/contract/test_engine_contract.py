"""What the controller relies on in an engine, asked of the real one and of the fake that other tests use.

docs/engine-api.md has it in words. Everything here goes through the controller's own client and the controller's own bodies.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gitopsd.hosts import bodies
from gitopsd.hosts.engineapi import EngineApi
from gitopsd.hosts.enginehttp import EngineError
from gitopsd.hosts.local import LocalLink
from gitopsd.model.desired import (
    ContainerSpec,
    DesiredContainer,
    DesiredNetwork,
    DesiredVolume,
    ImageChoice,
    NetworkSpec,
    VolumeSpec,
)
from gitopsd.model.errors import GitopsdError
from gitopsd.model.observed import HostObserved, ObservedContainer
from gitopsd.model.stack import Attachment, Healthcheck, Mount, Port, Restart
from gitopsd.observe import read_host
from tests.fakes.fakeengine import Behaviour, Container, FakeEngine
from tests.hosts.busybox import Image, a_busybox_image, send

FLEET = "test"
SLEEP = ("sleep", "1000")
NETWORK = DesiredNetwork("shop", NetworkSpec("shop_net", labels=(("tier", "back"),)), "1:net")
_SECOND = 1_000_000_000


class Engine:
    """One engine, and the few words that these tests need."""

    def __init__(self, api: EngineApi, image: Image, end: Callable[[], None]) -> None:
        self.api = api
        self.image = ImageChoice("busybox:stable", image.manifest)
        self.end = end

    def observed(self) -> HostObserved:
        state = self.api.state()
        assert state is not None
        return read_host("a", FLEET, state.etag, state.value)

    def find(self, name: str) -> ObservedContainer:
        return next(container for container in self.observed().containers if container.spec.name == name)

    def spec(self, name: str = "shop-web-1", **given: object) -> DesiredContainer:
        given.setdefault("command", SLEEP)
        given.setdefault("image", self.image)
        given.setdefault("stop_grace_ns", _SECOND)
        return DesiredContainer("shop", "web", 1, ContainerSpec(name, **given), "1:config")  # type: ignore[arg-type]

    def create(self, wanted: DesiredContainer, replaces: str | None = None, name: str | None = None) -> str:
        return self.api.create_container(name or wanted.spec.name, bodies.container_body(wanted, FLEET, replaces))

    def run(self, wanted: DesiredContainer, replaces: str | None = None, name: str | None = None) -> str:
        made = self.create(wanted, replaces, name)
        self.api.start(made)
        return made

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline, f"{what} did not come"
            time.sleep(0.05)


def behaves(container: Container) -> Behaviour:
    """What the fake does of what a shell would."""
    words = container.create.get("Cmd") or []
    code = int(words[2].rsplit(" ", 1)[1]) if words[:2] == ["sh", "-c"] else None
    output = b"out\n" if words[:2] == ["sh", "-c"] else b""
    test = (container.create.get("Healthcheck") or {}).get("Test") or []
    return Behaviour("unhealthy" if test == ["CMD", "false"] else "healthy", code, output)


def a_fake(image: Image) -> Engine:
    folder = Path(tempfile.mkdtemp())
    fake = FakeEngine(folder)
    fake.behaves = behaves
    api = EngineApi(LocalLink("a"), str(fake.socket), timeout_s=10)

    def end() -> None:
        api.close()
        fake.close()
        shutil.rmtree(folder)

    return Engine(api, image, end)


def a_real_one(image: Image) -> Engine:
    folder = Path(tempfile.mkdtemp(prefix="gitopsd-", dir="/var/tmp"))
    roots = ["--data-root", str(folder / "data"), "--exec-root", str(folder / "run")]
    options = ["--address-block", f"10.{random.randrange(200, 255)}.{random.randrange(0, 256, 8)}.0/21"]

    def command(*words: str) -> list[str]:
        return [sys.executable, "-c", f"import sys; from gitopsd.engine.main import main; sys.exit(main({list(words)!r}))"]

    log = (folder / "log").open("wb")
    process = subprocess.Popen(command("daemon", *roots, *options), stdout=log, stderr=log)
    api = EngineApi(LocalLink("a"), str(folder / "run" / "engine.sock"), timeout_s=30)

    def end() -> None:
        api.close()
        process.terminate()
        process.wait(20)
        log.close()
        subprocess.run(command("uninstall", *roots, *options), check=True)
        shutil.rmtree(folder, ignore_errors=True)

    deadline = time.monotonic() + 20
    while True:
        try:
            api.ping()
        except GitopsdError:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        else:
            return Engine(api, image, end)


@pytest.fixture(scope="module")
def image() -> Image:
    return a_busybox_image()


@pytest.fixture(scope="module", params=["fake", pytest.param("real", marks=pytest.mark.host)])
def kept(request: pytest.FixtureRequest, image: Image) -> Iterator[Engine]:
    if request.param == "real" and os.geteuid() != 0:
        pytest.skip("the engine needs root")
    made = a_fake(image) if request.param == "fake" else a_real_one(image)
    try:
        send(made.api, image, "busybox:stable")
        yield made
    finally:
        made.end()


@pytest.fixture
def engine(kept: Engine) -> Iterator[Engine]:
    """With the network there, and nothing of it left afterwards."""
    kept.api.create_network(bodies.network_body(NETWORK, FLEET))
    yield kept
    for container in kept.observed().containers:
        kept.api.remove(container.id, force=True)
    for network in kept.observed().networks:
        if network.stack:
            kept.api.remove_network(network.id)


def a_port() -> Port:
    return Port(80, random.randrange(20000, 30000))


def refused(call: Callable[[], object], status: int, code: str | None = None) -> None:
    with pytest.raises(EngineError) as caught:
        call()
    assert caught.value.status == status, caught.value
    assert code is None or caught.value.code == code, caught.value


def test_what_was_asked_for_is_read_back_as_what_is_desired(engine: Engine) -> None:
    engine.api.create_volume(bodies.volume_body(DesiredVolume("shop", VolumeSpec("shop_data"), "1:vol"), FLEET))
    wanted = engine.spec(
        environment=(("A", "1"), ("B", "x=y")),
        labels=(("mine", "yes"),),
        ports=(a_port(),),
        mounts=(Mount("/data", "volume", "shop_data"), Mount("/scratch", "tmpfs")),
        networks=(Attachment("shop_net", ("alias", "web")),),
        healthcheck=Healthcheck(("CMD", "true"), interval_ns=_SECOND, timeout_ns=_SECOND, retries=2),
        restart=Restart("on-failure", 3),
        memory_bytes=64 << 20,
        nano_cpus=500_000_000,
        user="0:0",
        working_dir="/tmp",
        hostname="web",
        read_only=True,
        cap_drop=("NET_RAW",),
        stop_grace_ns=1_500_000_000,
        stop_signal="SIGINT",
    )
    engine.run(wanted)
    found = engine.find("shop-web-1")
    assert found.spec == wanted.spec
    assert (found.stack, found.service, found.replica, found.config) == ("shop", "web", 1, "1:config")
    (network,) = [item for item in engine.observed().networks if item.stack]
    assert (network.spec, network.config) == (NETWORK.spec, "1:net")
    assert [(item.spec.name, item.stack, item.config) for item in engine.observed().volumes if item.stack] == [
        ("shop_data", "shop", "1:vol")
    ]


def test_the_image_is_known_by_its_bytes(engine: Engine) -> None:
    assert engine.image.digest in {image.digest for image in engine.observed().images}
    made = engine.create(engine.spec())
    assert engine.api.container(made)["Image"] == engine.api.image(bodies.image_name(engine.image))["Id"]
    nothing = replace(engine.image, digest="sha256:" + "0" * 64)
    refused(lambda: engine.create(engine.spec("other", image=nothing)), 404)


def test_the_state_is_not_sent_again_while_nothing_happens(engine: Engine) -> None:
    made = engine.run(engine.spec())
    state = engine.api.state()
    assert state is not None
    assert engine.api.state(state.etag) is None
    engine.api.stop(made, 1)
    assert engine.api.state(state.etag) is not None


def test_each_thing_that_is_asked_counts_a_generation(engine: Engine) -> None:
    made = engine.create(engine.spec(networks=(Attachment("shop_net"),)))
    assert engine.find("shop-web-1").generation == 1
    limits = bodies.update_body(engine.spec(memory_bytes=64 << 20).spec)
    asked: list[Callable[[], object]] = [
        lambda: engine.api.start(made),
        lambda: engine.api.update(made, limits),
        lambda: engine.api.rename(made, "other"),
        lambda: engine.api.disconnect("shop_net", made),
        lambda: engine.api.connect("shop_net", made),
        lambda: engine.api.stop(made, 1),
    ]
    for count, call in enumerate(asked, 2):
        call()
        assert [item.generation for item in engine.observed().containers] == [count]


def test_what_is_as_it_is_asked_to_be_does_not_count(engine: Engine) -> None:
    made = engine.run(engine.spec())
    engine.api.start(made)
    before = engine.find("shop-web-1").generation
    engine.api.start(made)
    assert engine.find("shop-web-1").generation == before
    engine.api.stop(made, 1)
    engine.api.stop(made, 1)
    engine.api.remove(made)
    refused(lambda: engine.api.remove(made), 404)


def test_a_call_that_saw_another_generation_does_nothing(engine: Engine) -> None:
    made = engine.run(engine.spec())
    old: list[Callable[[], object]] = [
        lambda: engine.api.stop(made, 1, generation=1),
        lambda: engine.api.rename(made, "other", generation=1),
        lambda: engine.api.update(made, bodies.update_body(engine.spec(memory_bytes=64 << 20).spec), generation=1),
        lambda: engine.api.remove(made, force=True, generation=1),
    ]
    for call in old:
        refused(call, 412, "generation-changed")
    found = engine.find("shop-web-1")
    assert (found.state, found.spec.memory_bytes, found.generation) == ("running", 0, 2)
    engine.api.stop(made, 1, generation=2)


def test_names_are_there_once_and_running_ones_are_not_removed(engine: Engine) -> None:
    made = engine.run(engine.spec())
    refused(lambda: engine.create(engine.spec()), 409)
    refused(lambda: engine.api.remove(made), 409)
    refused(lambda: engine.create(engine.spec("other", networks=(Attachment("nosuch"),))), 400, "no-such-network")


def test_a_replacement_waits_and_takes_over_at_the_transition(engine: Engine) -> None:
    port, networks = (a_port(),), (Attachment("shop_net", ("web",)),)
    old = engine.run(engine.spec(ports=port, networks=networks))
    new = engine.run(engine.spec(ports=port, networks=networks, environment=(("A", "1"),)), replaces=old, name="shop-web-1.next")
    waiting = engine.find("shop-web-1.next")
    assert (waiting.state, waiting.replaces) == ("running", old)
    refused(lambda: engine.api.transition(old, new, {old: 99}), 412, "generation-changed")
    generations = {item.id: item.generation for item in engine.observed().containers}
    engine.api.transition(old, new, {old: generations[old]})
    found = {item.spec.name: item for item in engine.observed().containers}
    assert {name: item.id for name, item in found.items()} == {"shop-web-1": new, "shop-web-1.old": old}
    assert found["shop-web-1"].replaces is None
    assert {item.state for item in found.values()} == {"running"}
    assert all(found[name].generation > generations[item.id] for name, item in found.items())
    engine.api.transition(old, new, {})  # again: it is done
    engine.api.stop(old, 1)
    engine.api.remove(old)
    assert engine.find("shop-web-1").state == "running"


def test_a_transition_that_cannot_be_leaves_all_as_it_was(engine: Engine) -> None:
    old = engine.run(engine.spec(ports=(a_port(),)))
    new = engine.create(engine.spec(ports=(a_port(),)), replaces=old, name="shop-web-1.next")
    refused(lambda: engine.api.transition(old, new, {}), 409, "not-running")
    engine.api.start(new)
    refused(lambda: engine.api.transition(old, new, {}), 409, "ports-differ")
    assert {item.spec.name: item.id for item in engine.observed().containers} == {"shop-web-1": old, "shop-web-1.next": new}


def test_a_replacement_of_one_that_does_not_run_takes_its_place_at_start(engine: Engine) -> None:
    port = (a_port(),)
    old = engine.run(engine.spec(ports=port))
    new = engine.create(engine.spec(ports=port), replaces=old, name="shop-web-1.next")
    engine.api.stop(old, 1)
    engine.api.start(new)
    found = engine.find("shop-web-1.next")
    assert (found.state, found.replaces) == ("running", None)
    other = engine.create(engine.spec("other", ports=port))
    with pytest.raises(EngineError):
        engine.api.start(other)
    engine.api.remove(old)
    engine.api.rename(new, "shop-web-1")
    assert engine.find("shop-web-1").state == "running"


def test_a_port_that_is_taken_is_said_and_nothing_runs(engine: Engine) -> None:
    port = (a_port(),)
    engine.run(engine.spec(ports=port))
    other = engine.create(engine.spec("other", ports=port))
    with pytest.raises(EngineError, match="port"):
        engine.api.start(other)
    assert engine.find("other").state != "running"


def test_limits_and_restart_policy_change_in_place(engine: Engine) -> None:
    made = engine.run(engine.spec(memory_bytes=64 << 20))
    wanted = engine.spec(memory_bytes=128 << 20, nano_cpus=500_000_000, restart=Restart("always"))
    engine.api.update(made, bodies.update_body(wanted.spec))
    found = engine.find("shop-web-1")
    assert found.spec == wanted.spec
    assert found.said is not None
    assert found.said.memory_bytes == 64 << 20, "what it was created with stays what it was"


def test_networks_are_attached_with_their_aliases_and_taken_away(engine: Engine) -> None:
    made = engine.run(engine.spec(networks=(Attachment("shop_net", ("web",)),)))
    engine.api.disconnect("shop_net", made)
    assert engine.find("shop-web-1").spec.networks == ()
    engine.api.connect("shop_net", made, bodies.endpoint_body(Attachment("shop_net", ("web", "www"))))
    assert engine.find("shop-web-1").spec.networks == (Attachment("shop_net", ("web", "www")),)
    refused(lambda: engine.api.create_network(bodies.network_body(NETWORK, FLEET)), 409)
    with pytest.raises(EngineError):
        engine.api.remove_network("shop_net")


def test_how_a_container_ended_is_known(engine: Engine) -> None:
    made = engine.run(engine.spec(command=("sh", "-c", "echo out; exit 3")))
    engine.wait(lambda: engine.find("shop-web-1").state == "exited", "its end")
    assert engine.find("shop-web-1").exit_code == 3
    assert b"".join(data for _, data in engine.api.logs(made, tail=10)) == b"out\n"


def test_health_is_that_of_this_start(engine: Engine) -> None:
    check = Healthcheck(("CMD", "true"), interval_ns=200_000_000, timeout_ns=_SECOND, retries=1, start_interval_ns=100_000_000)
    engine.run(engine.spec(healthcheck=check))
    engine.wait(lambda: engine.find("shop-web-1").health == "healthy", "health")
    engine.run(engine.spec("other", healthcheck=replace(check, test=("CMD", "false"))))
    engine.wait(lambda: engine.find("other").health == "unhealthy", "no health")
    engine.run(engine.spec("third"))
    assert engine.find("third").health == "none"


def test_a_stack_has_one_controller_at_a_time(engine: Engine) -> None:
    with engine.api.lease("shop", "first") as held:
        assert [(lease.stack, lease.holder) for lease in engine.observed().leases] == [("shop", "first")]
        with pytest.raises(EngineError) as caught, engine.api.lease("shop", "second"):
            pass
        assert (caught.value.code, caught.value.fields["holder"]) == ("lease-held", "first")
        made = engine.api.create_container("shop-web-1", bodies.container_body(engine.spec(), FLEET), held)
        with engine.api.lease("blog", "second") as other:
            assert other.token > held.token
    engine.wait(lambda: not engine.observed().leases, "the end of the leases")
    refused(lambda: engine.api.start(made, held), 412, "lease-lost")
    assert engine.find("shop-web-1").state == "created"


def test_images_arrive_by_blobs_and_only_whole_ones_count(engine: Engine, image: Image) -> None:
    missing = engine.api.blobs_missing([*image.blobs, "sha256:" + "1" * 64])
    assert missing.digests == ("sha256:" + "1" * 64,)
    refused(lambda: engine.api.put_blob("sha256:" + "1" * 64, 3, lambda offset: [b"abc"]), 400, "digest-mismatch")
    assert engine.api.blobs_missing(["sha256:" + "1" * 64]).digests
    refused(lambda: engine.api.put_image("sha256:" + "1" * 64, ["other:1"]), 409, "blobs-missing")
    engine.api.put_image(image.manifest, ["other:1"])
    (found,) = [item for item in engine.observed().images if item.digest == image.manifest]
    assert any("other:1" in name for name in found.references)


def test_intent_is_only_overwritten_by_who_has_read_it(engine: Engine) -> None:
    etag, value = engine.api.intent()
    newer = engine.api.put_intent({**value, "version": 1, "stacks": {"shop": {}}}, etag)
    assert engine.api.intent() == (newer, {"version": 1, "stacks": {"shop": {}}})
    assert dict(engine.observed().intent)["stacks"] == {"shop": {}}
    refused(lambda: engine.api.put_intent({}, etag), 412, "intent-changed")


def test_a_volume_is_made_once(engine: Engine) -> None:
    body = bodies.volume_body(DesiredVolume("shop", VolumeSpec("twice"), "1:vol"), FLEET)
    engine.api.create_volume(body)
    engine.api.create_volume(body)
    assert [item.spec.name for item in engine.observed().volumes].count("twice") == 1


def test_somebody_elses_containers_are_strangers(engine: Engine) -> None:
    made = engine.api.create_container("theirs", {"Image": "busybox:stable", "Cmd": ["sleep", "1"]})
    found = engine.find("theirs")
    assert (found.id, found.stack, found.service) == (made, None, None)
