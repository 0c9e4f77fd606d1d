"""Plans carried out on engines in memory, over real HTTP on unix sockets."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from gitopsd.apply import Timing, Watch, apply
from gitopsd.apply.intent import forget, write_applied
from gitopsd.hosts.engineapi import EngineApi
from gitopsd.hosts.local import LocalLink
from gitopsd.model.desired import Desired, ImageChoice
from gitopsd.model.errors import GitopsdError
from gitopsd.model.observed import Observed
from gitopsd.model.outcome import FailedBuild, Images, Outcome, StepOutcome
from gitopsd.model.plan import Plan, Step
from gitopsd.model.record import Applied
from gitopsd.model.stack import Attachment, Dependency, Mount, Port
from gitopsd.observe import observe
from gitopsd.plan import Limits, plan
from tests.fakes.fakeengine import Behaviour, Container, CrashError, FakeEngine, FakeImages, NoError
from tests.fakes.values import NOW, REVISION, a_build, a_container, a_desired, a_healthcheck, a_host, a_volume

FAST = Timing(settle_s=0.05, job_s=2, margin_s=0.5, poll_s=0.01)
IMAGES = FakeImages("one", "two", "broken")
PORT = (Port(80, 8080),)


def image(word: str) -> ImageChoice:
    return ImageChoice("busybox:stable", IMAGES.digests[word])


class Fleet:
    """Two engines, and a controller's view of them."""

    def __init__(self, folder: Path) -> None:
        self.engines = {host: FakeEngine(folder, host) for host in ("a", "b")}
        self.apis: dict[str, EngineApi] = {}
        self.lock = threading.Lock()

    def api(self, host: str) -> EngineApi:
        with self.lock:
            if host not in self.apis:
                self.apis[host] = EngineApi(LocalLink(host), str(self.engines[host].socket), timeout_s=5)
            return self.apis[host]

    def observed(self) -> Observed:
        return observe({host: lambda host=host: self.api(host) for host in self.engines}, "test")

    def plan(self, desired: Desired, previous: Desired | None = None) -> Plan:
        return plan(desired, self.observed(), NOW, REVISION, previous=previous, limits=Limits(vanish_percent=100))

    def apply(
        self,
        made: Plan,
        watch: Watch | None = None,
        holder: str = "test",
        built: dict[str, str] | None = None,
        ending: threading.Event | None = None,
    ) -> Outcome:
        images = Images(tuple((built or {}).items()))
        return apply(made, self.api, IMAGES, images, holder, NOW, watch or Watch(), FAST, ending=ending)

    def names(self, host: str) -> dict[str, str]:
        return {container.name: container.status for container in self.engines[host].containers.values()}

    def close(self) -> None:
        for api in self.apis.values():
            api.close()
        for engine in self.engines.values():
            engine.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.close()


def shop(word: str = "one", hosts: str = "ab", **web: object) -> Desired:
    given = {"healthcheck": a_healthcheck(), "ports": PORT, "depends_on": (Dependency("store"),), **web}
    return a_desired(
        *(
            a_host(
                host,
                a_container(image=image(word), **given),
                a_container(service="store", image=image("one"), mounts=(Mount("/data", "volume", "shop_data"),)),
                a_volume(),
            )
            for host in hosts
        )
    )


def succeeded(outcome: Outcome) -> bool:
    assert outcome.result == "succeeded", [step for step in outcome.steps if step.result != "succeeded"]
    return True


def test_a_first_plan_brings_images_networks_volumes_and_containers(fleet: Fleet) -> None:
    assert succeeded(fleet.apply(fleet.plan(shop())))
    for host in "ab":
        assert fleet.names(host) == {"shop-web-1": "running", "shop-store-1": "running"}
        assert list(fleet.engines[host].volumes) == ["shop_data"]
    assert fleet.plan(shop(), shop()).is_empty


def test_only_what_is_missing_of_an_image_travels(fleet: Fleet) -> None:
    fleet.apply(fleet.plan(shop()))
    fleet.engines["a"].changing.clear()
    again = shop(environment=(("A", "1"),))
    assert succeeded(fleet.apply(fleet.plan(again)))
    assert not [path for _, path in fleet.engines["a"].changing if "/blobs/sha256" in path]


def test_a_change_replaces_without_a_moment_in_which_nobody_answers(fleet: Fleet) -> None:
    fleet.apply(fleet.plan(shop()))
    engine = fleet.engines["a"]
    answering: list[int] = []

    def look(method: str, path: str) -> None:
        running = [c for c in engine.containers.values() if c.name == "shop-web-1" and c.status == "running"]
        answering.append(len(running))

    engine.after = look
    assert succeeded(fleet.apply(fleet.plan(shop("two"), shop())))
    assert set(answering) == {1}
    assert fleet.names("a") == {"shop-web-1": "running", "shop-store-1": "running"}
    assert fleet.plan(shop("two"), shop("two")).is_empty


def test_the_second_host_waits_until_the_first_is_well(fleet: Fleet) -> None:
    fleet.apply(fleet.plan(shop()))
    order: list[tuple[str, str]] = []
    watch = Watch(ended=lambda step, outcome: order.append((step.host, step.operation)))
    fleet.apply(fleet.plan(shop("two")), watch)
    assert order.index(("a", "transition")) < order.index(("b", "transition"))
    assert order.index(("b", "send_image")) < order.index(("a", "transition"))


def bad_when(word: str, behaviour: Behaviour) -> Callable[[Container], Behaviour]:
    return lambda container: behaviour if container.create["Image"].endswith(IMAGES.digests[word]) else Behaviour()


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (Behaviour(health="unhealthy", output=b"no database\n"), "unhealthy"),
        (Behaviour(exits=3, output=b"no database\n"), "exited with code 3"),
        (Behaviour(health="starting"), "still running, starting"),
    ],
)
def test_a_replacement_that_is_not_well_goes_and_the_old_one_stays(fleet: Fleet, behaviour: Behaviour, why: str) -> None:
    check = a_healthcheck(interval_ns=10_000_000, timeout_ns=10_000_000)
    fleet.apply(fleet.plan(shop(healthcheck=check)))
    old = {host: engine.named("shop-web-1") for host, engine in fleet.engines.items()}
    for engine in fleet.engines.values():
        engine.behaves = bad_when("broken", behaviour)
    outcome = fleet.apply(fleet.plan(shop("broken", healthcheck=check)))
    assert outcome.result == "failed"
    (failed,) = [step for step in outcome.steps if step.result == "failed"]
    assert failed.error is not None
    assert "not-healthy" in failed.error
    assert why in failed.error
    if behaviour.output:
        assert "no database" in failed.error
    for host, engine in fleet.engines.items():
        assert engine.named("shop-web-1") is old[host], "the one that ran before still runs"
        assert fleet.names(host)["shop-web-1"] == "running"
    assert "shop-web-1.next" not in fleet.names("a")


def test_stop_first_starts_the_old_one_again_when_the_new_one_fails(fleet: Fleet) -> None:
    fleet.apply(fleet.plan(shop(hosts="a", order="stop-first")))
    fleet.engines["a"].behaves = bad_when("broken", Behaviour(health="unhealthy"))
    assert fleet.apply(fleet.plan(shop("broken", "a", order="stop-first"))).result == "failed"
    assert fleet.names("a") == {"shop-web-1": "running", "shop-store-1": "running"}


def test_stop_first_replaces_with_a_gap(fleet: Fleet) -> None:
    fleet.apply(fleet.plan(shop(hosts="a", order="stop-first")))
    made = fleet.plan(shop("two", "a", order="stop-first"))
    assert succeeded(fleet.apply(made))
    assert fleet.names("a") == {"shop-web-1": "running", "shop-store-1": "running"}
    assert fleet.plan(shop("two", "a", order="stop-first")).is_empty


def test_one_stack_that_fails_does_not_hold_up_another(fleet: Fleet) -> None:
    fleet.engines["a"].behaves = bad_when("broken", Behaviour(exits=1))
    desired = a_desired(a_host("a", a_container("bad", image=image("broken")), a_container("good", image=image("one"))))
    outcome = fleet.apply(fleet.plan(desired))
    assert outcome.result == "partial"
    assert fleet.names("a")["good-web-1"] == "running"


def test_an_object_that_changed_since_the_plan_ends_the_stacks_part_of_it(fleet: Fleet) -> None:
    fleet.apply(fleet.plan(shop()))
    made = fleet.plan(shop("two"))
    changed = fleet.engines["a"].named("shop-web-1")
    assert changed is not None
    changed.generation += 1
    outcome = fleet.apply(made)
    assert outcome.result == "failed"
    assert any("plan-stale" in (step.error or "") for step in outcome.steps)
    assert changed is fleet.engines["a"].named("shop-web-1")
    assert fleet.engines["b"].named("shop-web-1") is not None
    fleet.apply(fleet.plan(shop("two")))
    assert fleet.plan(shop("two")).is_empty


def test_an_object_that_somebody_removed_since_the_plan_ends_it_too(fleet: Fleet) -> None:
    desired = shop(hosts="a", memory_bytes=64 << 20)
    fleet.apply(fleet.plan(shop(hosts="a")))
    made = fleet.plan(desired)
    gone = fleet.engines["a"].named("shop-web-1")
    assert gone is not None
    del fleet.engines["a"].containers[gone.id]
    outcome = fleet.apply(made)
    (failed,) = [step for step in outcome.steps if step.result == "failed"]
    assert failed.next == "retry"
    assert "plan-stale" in (failed.error or "")


def test_a_stack_that_another_controller_holds_is_left_alone(fleet: Fleet) -> None:
    made = fleet.plan(shop(hosts="a"))
    with fleet.api("a").lease("shop", "somebody else"):
        outcome = fleet.apply(made)
    assert outcome.result == "failed"
    assert any("managed by somebody else" in (step.error or "") for step in outcome.steps)
    assert fleet.engines["a"].containers == {}
    assert succeeded(fleet.apply(made))


def test_a_lease_that_is_let_go_a_moment_later_is_waited_for(fleet: Fleet) -> None:
    with ExitStack() as held:
        held.enter_context(fleet.api("a").lease("shop", "one that ends"))
        ending = threading.Timer(0.4, held.pop_all().close)
        ending.start()
        assert succeeded(fleet.apply(fleet.plan(shop())))
        ending.join()


def test_leases_end_with_the_apply(fleet: Fleet) -> None:
    fleet.apply(fleet.plan(shop()))
    deadline = time.monotonic() + 5
    while fleet.engines["a"].leases and time.monotonic() < deadline:
        time.sleep(0.01)
    assert fleet.engines["a"].leases == {}


def steps_of(fleet: Fleet, desired: Desired) -> int:
    return len(fleet.plan(desired).steps)


def test_an_engine_that_falls_over_in_the_middle_is_waited_for(fleet: Fleet) -> None:
    """The answer of every changing call in turn is lost, with the engine; the plan still ends well."""
    fleet.apply(fleet.plan(shop(hosts="a")))
    engine = fleet.engines["a"]
    words = iter(["two", "one"] * 40)
    lost = 0
    while True:
        word = next(words)
        calls = {"count": 0, "crashed": False}

        def after(method: str, path: str, calls: dict[str, int | bool] = calls, lost: int = lost) -> None:
            if method == "GET" or calls["crashed"] or "/intent" in path:
                return
            if calls["count"] == lost:
                calls["crashed"] = True
                threading.Thread(target=lambda: (engine.crash(), time.sleep(0.05), engine.come_back())).start()
                raise CrashError
            calls["count"] += 1

        engine.after = after
        assert succeeded(fleet.apply(fleet.plan(shop(word, "a", environment=(("ROUND", str(lost)),)))))
        assert fleet.names("a") == {"shop-web-1": "running", "shop-store-1": "running"}, f"after losing answer {lost}"
        if not calls["crashed"]:
            assert lost >= 5
            return
        lost += 1


def names_a_program_that_is_not_there(engine: FakeEngine) -> Callable[[str, str], None]:
    def hook(method: str, path: str) -> None:
        named = re.match(r"/containers/(\w+)/start", path)
        if named and engine.find(named[1]).create["Image"].endswith(IMAGES.digests["broken"]):
            raise NoError(400, f'start container {named[1]}: exec: "nosuch": executable file not found in $PATH')

    return hook


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
def test_a_replacement_that_fails_on_one_host_is_taken_back_on_every_host_where_it_had_begun(fleet: Fleet, order: str) -> None:
    fleet.apply(fleet.plan(shop(order=order)))
    old = {host: engine.named("shop-web-1") for host, engine in fleet.engines.items()}
    for engine in fleet.engines.values():
        engine.hook = names_a_program_that_is_not_there(engine)
    outcome = fleet.apply(fleet.plan(shop("broken", order=order, command=("nosuch",))))
    assert outcome.result == "failed"
    for host, engine in fleet.engines.items():
        assert fleet.names(host) == {"shop-web-1": "running", "shop-store-1": "running"}
        assert engine.named("shop-web-1") is old[host]
    assert outcome.left == (
        "container shop-web-1 on a: taken back, the one before runs",
        "container shop-web-1 on b: taken back, the one before runs",
    )
    (failed,) = [step for step in outcome.steps if step.result == "failed"]
    assert (failed.error or "").splitlines()[1] == '  services.web.command: "nosuch" is not in the image'


def test_what_could_not_be_taken_back_is_said(fleet: Fleet) -> None:
    fleet.apply(fleet.plan(shop()))
    engine = fleet.engines["b"]
    fleet.engines["a"].hook = names_a_program_that_is_not_there(fleet.engines["a"])

    def stuck(method: str, path: str) -> None:
        if method == "DELETE" and engine.find(path.rpartition("/")[2]).name == "shop-web-1.next":
            raise NoError(500, "the disk is full")

    engine.hook = stuck
    outcome = fleet.apply(fleet.plan(shop("broken")))
    assert "shop-web-1.next" in fleet.names("b")
    said = "container shop-web-1 on b: could not be taken back; what was begun is still there: remove container: the disk is full"
    assert said in outcome.left


def test_an_apply_that_is_told_to_end_at_any_step_leaves_each_replacement_finished_or_undone(tmp_path: Path) -> None:
    for order in ("start-first", "stop-first"):
        for end_at in range(1, 30):
            folder = tmp_path / f"{order}-{end_at}"
            folder.mkdir()
            fleet = Fleet(folder)
            try:
                fleet.apply(fleet.plan(shop(order=order)))
                ending = threading.Event()
                begun: list[int] = []

                def started(step: Step, end_at: int = end_at, ending: threading.Event = ending, begun: list[int] = begun) -> None:
                    begun.append(step.number)
                    if len(begun) == end_at:
                        ending.set()

                desired = shop("two", order=order)
                made = fleet.plan(desired)
                outcome = fleet.apply(made, Watch(started=started), ending=ending)
                for host in "ab":
                    assert fleet.names(host) == {"shop-web-1": "running", "shop-store-1": "running"}, (order, end_at)
                if end_at <= 8:
                    assert outcome.result == "interrupted"
                    assert not any(step.next == "stall" for step in outcome.steps)
                assert fleet.plan(desired).is_empty or succeeded(fleet.apply(fleet.plan(desired)))
                assert fleet.plan(desired).is_empty
            finally:
                fleet.close()
            if not ending.is_set():
                break
        else:
            raise AssertionError("the plan never ended")


def test_waiting_for_a_container_to_be_well_ends_when_it_is_told_to(fleet: Fleet) -> None:
    check = a_healthcheck(interval_ns=60_000_000_000)
    fleet.apply(fleet.plan(shop(healthcheck=check)))
    for engine in fleet.engines.values():
        engine.behaves = bad_when("two", Behaviour(health="starting"))
    ending = threading.Event()
    watch = Watch(started=lambda step: step.operation == "wait_healthy" and ending.set())
    begun = time.monotonic()
    outcome = fleet.apply(fleet.plan(shop("two", healthcheck=check)), watch, ending=ending)
    assert time.monotonic() - begun < 5
    assert outcome.result == "interrupted"
    assert fleet.names("a") == {"shop-web-1": "running", "shop-store-1": "running"}
    assert "container shop-web-1 on a: taken back, the one before runs" in outcome.left


def test_what_is_begun_and_replaces_nothing_is_said_when_it_is_told_to_end(fleet: Fleet) -> None:
    ending = threading.Event()
    watch = Watch(started=lambda step: step.operation == "create_container" and ending.set())
    outcome = fleet.apply(fleet.plan(shop(hosts="a")), watch, ending=ending)
    assert any(
        line == "container shop-web-1 on a: created; still to do: start container, wait healthy" for line in outcome.left
    ), outcome.left


class Killed(BaseException):
    pass


def test_a_controller_killed_after_any_step_leaves_what_the_next_plan_finishes(tmp_path: Path) -> None:
    for kill_at in range(1, 30):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        fleet = Fleet(folder)
        try:
            fleet.apply(fleet.plan(shop()))
            made = fleet.plan(shop("two", networks=(Attachment("shop_default", ("web", "www")),)))
            count = 0

            def ended(step: Step, outcome: StepOutcome, kill_at: int = kill_at) -> None:
                nonlocal count
                count += 1
                if count == kill_at:
                    raise Killed

            was_killed = False
            try:
                fleet.apply(made, Watch(ended=ended))
            except Killed:
                was_killed = True
            desired = shop("two", networks=(Attachment("shop_default", ("web", "www")),))
            assert succeeded(fleet.apply(fleet.plan(desired))) if not fleet.plan(desired).is_empty else True
            assert fleet.plan(desired).is_empty
            for host in "ab":
                assert fleet.names(host) == {"shop-web-1": "running", "shop-store-1": "running"}
        finally:
            fleet.close()
        if not was_killed:
            return
    raise AssertionError("the plan never ended")


def test_drift_is_healed_in_place(fleet: Fleet) -> None:
    desired = shop(hosts="a", memory_bytes=64 << 20)
    fleet.apply(fleet.plan(desired))
    engine = fleet.engines["a"]
    web, store = engine.named("shop-web-1"), engine.named("shop-store-1")
    assert web is not None
    assert store is not None
    web.networks.clear()
    web.limits = {"Memory": 512 << 20}
    engine.stop(store)
    engine.changed()
    made = fleet.plan(desired, desired)
    assert {change.cause for change in made.changes} == {"drift"}
    assert succeeded(fleet.apply(made))
    assert fleet.plan(desired, desired).is_empty
    assert engine.named("shop-web-1") is web


def test_a_job_must_end_well_before_what_waits_for_it_starts(fleet: Fleet) -> None:
    fleet.engines["a"].behaves = lambda container: Behaviour(exits=0) if "job" in container.name else Behaviour()
    job = a_container(service="job", image=image("one"))
    web = a_container(image=image("one"), depends_on=(Dependency("job", "service_completed_successfully"),))
    assert succeeded(fleet.apply(fleet.plan(a_desired(a_host("a", job, web)))))
    assert fleet.plan(a_desired(a_host("a", job, web))).is_empty
    fleet.engines["a"].behaves = lambda container: Behaviour(exits=1 if "job" in container.name else None)
    newer = replace(job, spec=replace(job.spec, command=("migrate",)), config="1:other")
    outcome = fleet.apply(
        fleet.plan(a_desired(a_host("a", newer, replace(web, spec=replace(web.spec, command=("x",)), config="1:y"))))
    )
    assert any("job-failed" in (step.error or "") for step in outcome.steps)
    assert fleet.names("a")["shop-web-1"] == "running"


def test_what_could_not_be_built_stops_its_stack_and_changes_nothing(fleet: Fleet) -> None:
    choice = ImageChoice("shop/web", None, "key-" + "0" * 32)
    build = a_build(choice)
    desired = a_desired(a_host("a", a_container(image=choice), a_container("blog", image=image("one"))))
    made = plan(desired, fleet.observed(), NOW, REVISION, (build,))
    outcome = apply(
        made,
        fleet.api,
        IMAGES,
        Images(failed=(FailedBuild(build.key, "RUN make: exit code 2", "stall"),)),
        "test",
        NOW,
        timing=FAST,
    )
    assert outcome.result == "partial"
    assert any("RUN make: exit code 2" in (step.error or "") for step in outcome.steps)
    assert fleet.names("a") == {"blog-web-1": "running"}
    made = plan(desired, fleet.observed(), NOW, REVISION, (build,))
    assert succeeded(fleet.apply(made, built={build.key: IMAGES.digests["two"]}))


def test_a_plan_that_was_applied_already_changes_nothing_when_it_is_applied_again(fleet: Fleet) -> None:
    made = fleet.plan(shop(hosts="a"))
    assert succeeded(fleet.apply(made))
    before = fleet.engines["a"].state()["containers"]
    outcome = fleet.apply(made)
    assert any("plan-stale" in (step.error or "") for step in outcome.steps)
    assert fleet.engines["a"].state()["containers"] == before


def test_intent_survives_two_writers(fleet: Fleet) -> None:
    api = fleet.api("a")
    threads = [threading.Thread(target=write_applied, args=(api, Applied(f"s{n}", REVISION, NOW))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(fleet.engines["a"].intent["stacks"]) == {"s0", "s1", "s2", "s3"}
    before = fleet.engines["a"].intent_version
    write_applied(api, Applied("s0", REVISION, NOW))
    assert fleet.engines["a"].intent_version == before, "what is there already is not written again"
    forget(api, "s0")
    assert "s0" not in fleet.engines["a"].intent["stacks"]


def test_a_host_that_does_not_answer_fails_alone(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    import gitopsd.apply.run as run

    monkeypatch.setattr(run, "_BACK_WITHIN_S", 0.2)
    made = fleet.plan(shop())
    fleet.engines["b"].crash()
    outcome = fleet.apply(made)
    assert fleet.names("a") == {"shop-web-1": "running", "shop-store-1": "running"}
    assert outcome.result == "failed", "the stack is not where it should be"


def test_a_digest_that_does_not_match_is_refused(fleet: Fleet) -> None:
    with pytest.raises(GitopsdError) as caught:
        fleet.api("a").put_blob("sha256:" + "0" * 64, 3, lambda offset: [b"abc"])
    assert caught.value.code == "digest-mismatch"
