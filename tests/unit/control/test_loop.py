"""The loop: what wakes it, what it does by itself, and what it leaves to people."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gitopsd.control.guard import LoopGuard
from gitopsd.control.lock import writer
from gitopsd.control.loop import Serve
from gitopsd.control.serving import ask
from gitopsd.control.sync import look
from gitopsd.model.errors import GitopsdError
from gitopsd.model.plan import Change, FieldChange
from gitopsd.plan import to_document
from tests.fakes.fakework import FAST, FLEET, SHOP, FakeWork, World, a_work


class Lines:
    """A log that tests read."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def _add(self, event: str, lines: Any = ()) -> None:
        self.said += [event, *lines]

    info = warning = error = _add

    def __contains__(self, words: str) -> bool:
        return any(words in line for line in self.said)


class Running:
    """A `serve` in a thread."""

    def __init__(self, work: FakeWork, **given: Any) -> None:
        self.work = work
        self.log = Lines()
        given.setdefault("drift_s", 0.1)
        self.serve = Serve(work, self.log, poll_s=0.5, timing=FAST, **given)
        self.thread = threading.Thread(target=self.serve.run)
        self.thread.start()

    def wait_for(self, holds: Callable[[], bool], what: str, timeout_s: float = 15.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, f"{what} did not come: {self.log.said[-30:]}"
            time.sleep(0.02)

    def wait_settled(self) -> None:
        """The first commit is there, and the sync that brought it has ended."""
        self.wait_for(lambda: is_up(self.work.world) and "succeeded in" in self.log, "the first commit")

    def end(self) -> None:
        self.serve.end()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def work(tmp_path: Path) -> Iterator[FakeWork]:
    yield from a_work(tmp_path)


@pytest.fixture
def running(work: FakeWork) -> Iterator[Running]:
    found = Running(work)
    yield found
    found.end()


def is_up(world: World) -> bool:
    return all(world.names(host) == {"shop-web-1": "running", "shop-store-1": "running"} for host in world.engines)


def test_a_commit_is_noticed_and_brought_to_the_hosts(running: Running) -> None:
    world = running.work.world
    running.wait_settled()
    web = world.engines["a"].named("shop-web-1")
    world.upstream.commit({"web/index.html": "bye"}, "say bye")
    running.wait_for(lambda: world.engines["b"].named("shop-web-1") is not None and world.engines["a"].named("shop-web-1") is not web
                     and is_up(world), "the change")  # fmt: skip
    assert "say bye" in running.log
    assert "~ container shop-web-1 on a, b: replaced, the new one first; image changed" in running.log.said


def test_drift_is_said_by_field_and_healed(running: Running) -> None:
    world = running.work.world
    running.wait_settled()
    engine = world.engines["b"]
    store = engine.find("shop-store-1")
    store.limits = {"Memory": 512 << 20}
    engine.changed()
    running.wait_for(lambda: store.limits.get("Memory") == 64 << 20, "healing")
    assert "mem_limit changed (drift)" in running.log


def test_nothing_to_do_is_not_said_and_asks_each_host_once_a_pass(running: Running) -> None:
    world = running.work.world
    running.wait_settled()
    time.sleep(0.5)
    said = len(running.log.said)
    asked: list[str] = []
    world.engines["a"].hook = lambda method, path: asked.append(f"{method} {path}")
    time.sleep(0.6)
    assert len(running.log.said) == said
    assert set(asked) == {"GET /gitopsd/v1/state"}


def test_what_comes_back_each_time_it_is_healed_is_left_and_named(running: Running) -> None:
    world = running.work.world
    running.wait_settled()
    engine = world.engines["a"]

    def fight(method: str, path: str) -> None:
        if path.endswith("/update"):
            engine.find("shop-store-1").limits = {"Memory": 512 << 20}

    engine.after = fight
    engine.find("shop-store-1").limits = {"Memory": 512 << 20}
    engine.changed()
    running.wait_for(lambda: "mem_limit of shop-store-1 on a comes back each time" in running.log, "the guard")
    time.sleep(0.4)
    assert sum("plan" in line and "succeeded" in line for line in running.log.said) <= 5


def test_drift_that_is_only_to_be_told_is_told_once(work: FakeWork) -> None:
    quiet = FLEET.replace("shop: {file: stacks/shop.yaml}", "shop: {file: stacks/shop.yaml, drift: notify}")
    work.world.upstream.commit({"gitopsd.yaml": quiet})
    running = Running(work)
    try:
        running.wait_settled()
        engine = work.world.engines["a"]
        engine.stop(engine.find("shop-store-1"))
        engine.changed()
        running.wait_for(lambda: "stack shop is left: drift: notify" in running.log, "the notice")
        time.sleep(0.4)
        assert sum("is left" in line for line in running.log.said) == 1
        assert engine.find("shop-store-1").status == "exited"
    finally:
        running.end()


def test_a_stack_that_people_deploy_waits_for_them(work: FakeWork) -> None:
    by_hand = FLEET.replace("shop: {file: stacks/shop.yaml}", "shop: {file: stacks/shop.yaml, deploy: manual}")
    work.world.upstream.commit({"gitopsd.yaml": by_hand})
    running = Running(work)
    try:
        running.wait_for(lambda: "deploy: manual" in running.log, "the plan")
        assert work.world.names("a") == {}
        answers = ask(work.settings.socket, {"do": "sync"})
        assert answers is not None
        *lines, last = list(answers)
        assert last["result"] == "succeeded"
        assert any("plan" in message["line"] for message in lines)
        assert is_up(work.world)
    finally:
        running.end()


def test_a_saved_plan_is_applied_by_the_serve_that_runs_unless_it_is_stale(running: Running) -> None:
    work = running.work
    running.wait_settled()
    work.world.upstream.git("checkout", "--quiet", "-b", "next")
    work.world.upstream.commit({"web/index.html": "next"}, "next")
    time.sleep(0.3)
    other = FakeWork(work.settings.state_dir.parent, work.settings.state_dir, work.world)
    try:
        other.repository.fetch()
        saved = look(other, other.repository.revision("next")).plan
    finally:
        other.close()
    answers = ask(work.settings.socket, {"do": "apply", "plan": to_document(saved)})
    assert answers is not None
    assert list(answers)[-1]["result"] == "succeeded"
    again = ask(work.settings.socket, {"do": "apply", "plan": to_document(saved)})
    assert again is not None
    assert "plan-stale" in list(again)[-1]["error"]


def test_who_asks_for_a_sync_hears_of_what_cannot_be_read_and_of_what_is_held(running: Running) -> None:
    world, path = running.work.world, running.work.settings.socket
    running.wait_settled()
    world.upstream.commit({"stacks/shop.yaml": "services: ["}, "slip")
    last = list(ask(path, {"do": "sync"}) or ())[-1]
    assert (last["result"], last["sync"]["exit"], last["sync"]["blocked"][0][0]) == ("nothing", 3, "shop")
    world.upstream.commit({"gitopsd.yaml": None}, "no fleet")
    assert list(ask(path, {"do": "sync"}) or ())[-1]["error"].startswith("error: no-such-file\n")
    world.upstream.commit({"gitopsd.yaml": FLEET, "stacks/shop.yaml": SHOP}, "mended")
    assert list(ask(path, {"do": "sync"}) or ())[-1]["sync"]["exit"] == 0
    assert "no-such-stack" in list(ask(path, {"do": "sync", "stacks": ["shpo"]}) or ())[-1]["error"]


def test_a_failed_revision_is_not_tried_again_by_itself(running: Running) -> None:
    from tests.fakes.fakeengine import Behaviour

    world = running.work.world
    running.wait_settled()
    starts: list[str] = []
    for engine in world.engines.values():
        engine.behaves = lambda container: (
            starts.append(container.name) or Behaviour(health="unhealthy")
            if "BROKEN=yes" in (container.create.get("Env") or ())
            else Behaviour()
        )
    broken = SHOP.replace("    ports:", "    environment: {BROKEN: 'yes'}\n    ports:").replace(
        "interval: 1s", "interval: 10ms, timeout: 10ms"
    )
    world.upstream.commit({"stacks/shop.yaml": broken}, "break it")
    running.wait_for(lambda: "stack shop stays as it is: failed at this commit" in running.log, "the failure")
    time.sleep(0.5)
    assert starts == ["shop-web-1.next"]
    assert is_up(world)
    world.upstream.commit({"stacks/shop.yaml": SHOP.replace("64m", "128m")}, "mend it")
    running.wait_for(lambda: world.engines["a"].find("shop-store-1").limits.get("Memory") == 128 << 20, "the mended one")


def test_a_host_that_comes_back_is_caught_up(work: FakeWork, monkeypatch: pytest.MonkeyPatch) -> None:
    import gitopsd.control.reach as reach

    monkeypatch.setattr(reach, "_SILENCE_S", (0.1,))
    gone = work.world.engines.pop("b")
    running = Running(work)
    try:
        running.wait_for(lambda: work.world.names("a").get("shop-web-1") == "running", "host a")
        assert "host b is Unknown: host-unreachable" in running.log
        work.world.engines["b"] = gone
        running.wait_for(lambda: is_up(work.world), "host b")
        assert "host b answers again" in running.log
    finally:
        running.end()


def test_a_repository_that_goes_away_stops_nothing_that_runs(running: Running) -> None:
    world = running.work.world
    running.wait_settled()
    away = world.upstream.path.rename(world.upstream.path.with_name("away"))
    engine = world.engines["a"]
    engine.stop(engine.find("shop-store-1"))
    engine.changed()
    running.wait_for(lambda: engine.find("shop-store-1").status == "running", "healing")
    running.wait_for(lambda: "repository-unreachable" in running.log, "the warning")
    assert not any(line.startswith("error: repository-unreachable") for line in running.log.said), "the log says its level"
    away.rename(world.upstream.path)


def test_there_is_one_writer(work: FakeWork) -> None:
    with writer(work.settings):
        with pytest.raises(GitopsdError) as caught, writer(work.settings):
            pass
        assert caught.value.code == "state-locked"
    with writer(work.settings):
        pass


def test_nobody_to_ask_is_no_answer(work: FakeWork) -> None:
    assert ask(work.settings.socket, {"do": "sync"}) is None


def test_the_guard_counts_the_same_drift_within_ten_minutes() -> None:
    guard = LoopGuard()
    change = Change("a", "shop", "container", "web", "in_place", "x", cause="drift",
                    fields=(FieldChange("mem_limit", "1g", "64m", "drift", "none"),))  # fmt: skip
    for at in (0.0, 10.0, 20.0):
        assert guard.fights([change], at) is None
        guard.healed([change], at)
    assert guard.fights([change], 30.0) == ("a", "web", "mem_limit")
    assert guard.fights([change], 601.0) is None
    guard.healed([change], 601.0)
    guard.forget()
    assert guard.fights([change], 602.0) is None
