"""Whole syncs, from a commit in Git to containers on hosts in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitopsd.apply import Watch
from gitopsd.control.left import fleet_with
from gitopsd.control.loop import result_of
from gitopsd.control.revisions import find_good_revision
from gitopsd.control.sync import Synced, look, status_of, sync
from gitopsd.control.uncommitted import uncommitted_line
from gitopsd.model.errors import Errors, GitopsdError
from tests.fakes.fakeengine import Behaviour, Container
from tests.fakes.fakework import FAST, FILES, FLEET, SHOP, FakeWork, World, a_work


@pytest.fixture
def work(tmp_path: Path) -> Iterator[FakeWork]:
    yield from a_work(tmp_path)


BROKEN = SHOP.replace("    ports:", "    environment: {BROKEN: yes}\n    ports:").replace(
    "interval: 1s", "interval: 10ms, timeout: 10ms"
)


def run(work: FakeWork, reference: str = "main", **given: object) -> Synced:
    work.repository.fetch()
    view = look(work, work.repository.revision(reference), bring=True)
    return sync(work, view, timing=FAST, **given)  # type: ignore[arg-type]


def test_a_first_commit_is_built_pushed_sent_and_runs_on_every_host(work: FakeWork) -> None:
    synced = run(work)
    assert synced.outcome.result == "succeeded", synced.outcome.steps
    for host in "ab":
        assert work.world.names(host) == {"shop-web-1": "running", "shop-store-1": "running"}
    assert len(work.world.builder.builds) == 1
    assert {stack.stack: (stack.sync, stack.health) for stack in synced.status.stacks} == {"shop": ("Synced", "Healthy")}
    assert work.store.applied()["shop"].revision.subject == "first"
    assert synced.view.plan.is_empty
    assert {engine.host["number"] for engine in work.world.engines.values()} == {0, 1}


def test_straight_after_there_is_nothing_to_do(work: FakeWork) -> None:
    run(work)
    for engine in work.world.engines.values():
        engine.changing.clear()
    synced = run(work)
    assert synced.outcome.result == "nothing"
    assert [engine.changing for engine in work.world.engines.values()] == [[], []]
    assert len(work.store.syncs()) == 1


def test_looking_changes_nothing_on_any_host(work: FakeWork) -> None:
    run(work)
    work.world.upstream.commit({"web/index.html": "bye"}, "say bye")
    work.repository.fetch()
    before = [engine.etag for engine in work.world.engines.values()]
    view = look(work, work.repository.revision("main"))
    assert [(change.service, change.cause, change.effect) for change in view.plan.changes] == [("web", "image", "restart")] * 2
    assert [engine.etag for engine in work.world.engines.values()] == before
    assert len(work.world.builder.builds) == 1, "planning builds nothing"


def test_a_change_replaces_only_what_it_is_about(work: FakeWork) -> None:
    run(work)
    store = work.world.engines["a"].named("shop-store-1")
    work.world.upstream.commit({"web/index.html": "bye"}, "say bye")
    assert run(work).outcome.result == "succeeded"
    assert work.world.engines["a"].named("shop-store-1") is store
    assert len(work.world.builder.builds) == 2


def test_a_revert_is_not_built_again(work: FakeWork) -> None:
    run(work)
    work.world.upstream.commit({"web/index.html": "bye"}, "say bye")
    run(work)
    work.world.upstream.git("revert", "--no-edit", "HEAD")
    assert run(work).outcome.result == "succeeded"
    assert len(work.world.builder.builds) == 2


def test_a_commit_that_means_nothing_to_a_stack_moves_its_revision_and_touches_nothing(work: FakeWork) -> None:
    run(work)
    etags = [engine.etag for engine in work.world.engines.values()]
    work.world.upstream.commit({"README.md": "words"}, "words")
    assert run(work).outcome.result == "nothing"
    assert [engine.etag for engine in work.world.engines.values()] == etags
    assert work.store.applied()["shop"].revision.subject == "words"


def test_a_stack_removed_from_git_is_removed_and_its_volume_kept(work: FakeWork) -> None:
    blog = "services: {web: {image: busybox:stable, deploy: {mode: global}, volumes: ['data:/data']}}\nvolumes: {data: {}}\n"
    work.world.upstream.commit({"gitopsd.yaml": f"{FLEET}  blog: {{file: stacks/blog.yaml}}\n", "stacks/blog.yaml": blog})
    run(work)
    assert "blog-web-1" in work.world.names("a")
    work.world.upstream.commit({"gitopsd.yaml": FLEET, "stacks/blog.yaml": None}, "no blog")
    synced = run(work)
    assert synced.outcome.result == "succeeded"
    assert work.world.names("a") == {"shop-web-1": "running", "shop-store-1": "running"}
    assert "blog_data" in work.world.engines["a"].volumes
    assert [change.name for change in synced.view.plan.changes if change.action == "retain"] == ["blog_data", "blog_data"]
    assert set(work.store.applied()) == {"shop"}


def test_a_broken_stack_file_holds_that_stack_alone_and_its_drift_is_still_healed(work: FakeWork) -> None:
    blog = "services: {web: {image: busybox:stable, deploy: {mode: global}}}\n"
    work.world.upstream.commit({"gitopsd.yaml": f"{FLEET}  blog: {{file: stacks/blog.yaml}}\n", "stacks/blog.yaml": blog})
    run(work)
    changed = blog.replace("busybox:stable", "busybox:stable, environment: {A: b}")
    work.world.upstream.commit({"stacks/shop.yaml": SHOP.replace("deploy:", "depoly:"), "stacks/blog.yaml": changed}, "slip")
    engine = work.world.engines["a"]
    engine.stop(engine.find("shop-store-1"))
    engine.changed()
    synced = run(work)
    assert synced.outcome.result == "succeeded", synced.outcome.steps
    assert "depoly" in dict(synced.view.plan.blocked)["shop"]
    assert engine.find("shop-store-1").status == "running"
    assert engine.find("blog-web-1").create["Env"] == ["A=b"]
    applied = work.store.applied()
    assert (applied["shop"].revision.subject, applied["blog"].revision.subject) == ("change", "slip")


def test_a_host_that_left_the_fleet_is_named_until_it_was_removed(work: FakeWork) -> None:
    run(work)
    there = work.repository.revision("main").commit
    work.world.upstream.commit({"gitopsd.yaml": ONE_HOST}, "without b")
    work.world.upstream.commit({"gitopsd.yaml": "hosts: ["}, "slip")
    work.world.upstream.commit({"gitopsd.yaml": ONE_HOST + "# mended\n"}, "mended")
    (note,) = run(work).plan.notes
    assert note == "host b left the fleet; 2 containers keep running there; to remove all of it: gitopsd host remove b"
    assert fleet_with(work, "b") == work.renderer.render_fleet(work.repository.revision(there).tree)
    assert fleet_with(work, "a") == work.renderer.render_fleet(work.repository.revision("main").tree)
    work.store.forget_host("b")
    assert run(work).plan.notes == ()


def test_a_host_that_is_there_under_another_name_is_not_removed_by_its_old_one(work: FakeWork) -> None:
    run(work)
    work.world.upstream.commit({"gitopsd.yaml": FLEET.replace("  b:", "  c:")}, "rename b")
    with pytest.raises(GitopsdError, match=r"10\.0\.0\.2 port 22 is host c of the fleet now"):
        fleet_with(work, "b")


def test_edits_that_are_not_committed_are_named(work: FakeWork) -> None:
    top = work.world.upstream.path
    view = look(work, fetched(work))
    assert uncommitted_line(work, view) == ""
    (top / "web" / "index.html").write_text("world")
    (top / "web" / "junk").write_text("not of the commit")
    (top / "stacks" / "shop.yaml").unlink()
    assert uncommitted_line(work, view) == (
        "not committed: stacks/shop.yaml, web/index.html; to plan them: gitopsd plan --revision -"
    )
    work.world.upstream.git("branch", "next")
    assert uncommitted_line(work, look(work, fetched(work, "next"))) == "", "what is checked out is another branch"


ONE_HOST = FLEET.replace("  b: {address: 10.0.0.2}\n", "")


@pytest.mark.parametrize(
    "file", ["services: [", "services: {web: {image: x, foo: bar}}\n", None], ids=["no-yaml", "wrong-key", "deleted"]
)
def test_a_host_that_comes_back_with_a_broken_stack_file_loses_nothing(work: FakeWork, file: str | None) -> None:
    run(work)
    work.world.upstream.commit({"gitopsd.yaml": ONE_HOST}, "without b")
    run(work)
    work.world.upstream.commit({"gitopsd.yaml": FLEET, "stacks/shop.yaml": file}, "b again, and a slip")
    work.forget_silence()
    synced = run(work)
    assert (synced.outcome.result, synced.plan.changes) == ("nothing", ())
    assert "shop" in dict(synced.plan.blocked)
    assert result_of(synced)["exit"] == 3
    assert work.world.names("b") == {"shop-web-1": "running", "shop-store-1": "running"}
    work.world.upstream.commit({"stacks/shop.yaml": SHOP}, "mended")
    assert run(work).view.plan.is_empty


def test_a_stack_under_a_new_name_whose_file_is_broken_leaves_the_old_one_running(work: FakeWork) -> None:
    run(work)
    renamed = FLEET.replace("shop: {file: stacks/shop.yaml}", "market: {file: stacks/market.yaml}")
    work.world.upstream.commit({"gitopsd.yaml": renamed, "stacks/market.yaml": "services: [", "stacks/shop.yaml": None}, "rename")
    synced = run(work)
    assert (synced.outcome.result, set(dict(synced.plan.blocked))) == ("nothing", {"market", "shop"})
    assert work.world.names("a") == {"shop-web-1": "running", "shop-store-1": "running"}


def test_a_stack_that_nobody_knows_is_an_error(work: FakeWork) -> None:
    with pytest.raises(GitopsdError) as caught:
        run(work, stacks=("shpo",))
    assert (caught.value.code, caught.value.hint) == ("no-such-stack", "there are shop")
    assert run(work, stacks=("shop",)).outcome.result == "succeeded"


def test_who_only_looks_sees_what_was_applied_last_while_the_fleet_file_is_broken(work: FakeWork) -> None:
    work.world.upstream.git("mv", "gitopsd.yaml", "g")
    work.world.upstream.commit({}, "away")
    with pytest.raises(Errors):  # nothing was applied yet, so there is nothing else to show
        find_good_revision(work)
    work.world.upstream.git("mv", "g", "gitopsd.yaml")
    good = work.world.upstream.commit({}, "back")
    run(work)
    assert find_good_revision(work)[1] == ""
    work.world.upstream.commit({"gitopsd.yaml": None}, "away again")
    revision, error = find_good_revision(work)
    assert (revision.commit, revision.short) == (good, f"main@{good[:7]}")
    assert error.startswith("error: no-such-file")
    assert status_of(work, look(work, revision)).stacks[0].sync == "Synced"


def test_a_broken_fleet_file_is_an_error_and_changes_nothing(work: FakeWork) -> None:
    run(work)
    work.world.upstream.commit({"gitopsd.yaml": "name: test\nhosts: 1\n"}, "oops")
    work.repository.fetch()
    with pytest.raises(Errors):
        look(work, work.repository.revision("main"))


def test_a_host_that_does_not_answer_is_unknown_and_catches_up(work: FakeWork) -> None:
    gone = work.world.engines.pop("b")
    synced = run(work)
    assert synced.outcome.result == "succeeded"
    assert dict(synced.plan.unknown) == {"b": "host-unreachable: No route to host"}
    assert {host.host: host.state for host in synced.status.hosts} == {"a": "Ready", "b": "Unknown"}
    work.world.engines["b"] = gone
    work.forget_silence()
    assert run(work).outcome.result == "succeeded"
    assert work.world.names("b") == {"shop-web-1": "running", "shop-store-1": "running"}


def failing(word: str):
    def behaves(container: Container) -> Behaviour:
        is_new = any(word in variable for variable in container.create.get("Env") or ())
        return Behaviour(health="unhealthy", output=b"no\n") if is_new else Behaviour()

    return behaves


def test_a_revision_that_fails_is_remembered_and_what_ran_before_stays(work: FakeWork) -> None:
    run(work)
    for engine in work.world.engines.values():
        engine.behaves = failing("BROKEN")
    commit = work.world.upstream.commit({"stacks/shop.yaml": BROKEN}, "break it")
    synced = run(work)
    assert synced.outcome.result == "failed"
    (bad,) = work.store.bad_revisions()
    assert (bad.stack, bad.commit) == ("shop", commit)
    assert "unhealthy" in bad.why
    assert work.store.applied()["shop"].revision.subject == "first"
    assert work.world.names("a") == {"shop-web-1": "running", "shop-store-1": "running"}
    assert work.world.engines["a"].intent["stacks"]["shop"]["bad"][0]["commit"] == commit

    held = look(work, work.repository.revision("main"), is_retry=False)
    assert held.plan.is_empty
    assert "failed at this commit" in dict(held.plan.blocked)["shop"]
    assert not look(work, work.repository.revision("main")).plan.is_empty, "a person may try again"

    work.world.upstream.commit({"stacks/shop.yaml": SHOP}, "mend it")
    assert run(work).outcome.result == "nothing"


def test_a_host_that_had_taken_over_before_another_failed_goes_back_at_the_next_pass(work: FakeWork) -> None:
    run(work)
    work.world.engines["b"].behaves = failing("BROKEN")
    work.world.upstream.commit({"stacks/shop.yaml": BROKEN}, "break it")
    assert run(work).outcome.result == "failed"

    def has_it(host: str) -> bool:
        return any("BROKEN" in str(container.create.get("Env")) for container in work.world.engines[host].containers.values())

    assert (has_it("a"), has_it("b")) == (True, False)
    held = look(work, work.repository.revision("main"), is_retry=False)
    assert [(change.action, change.name, change.host) for change in held.plan.changes] == [("replace", "shop-web-1", "a")]
    assert sync(work, held, timing=FAST).outcome.result == "succeeded"
    assert (has_it("a"), has_it("b")) == (False, False)
    assert look(work, work.repository.revision("main"), is_retry=False).plan.is_empty


def test_a_host_that_does_not_answer_is_named_once_in_the_status_of_a_stack(work: FakeWork) -> None:
    run(work)
    del work.world.engines["b"]
    work.forget_silence()
    view = look(work, work.repository.revision("main"), is_retry=False)
    (shop,) = status_of(work, view).stacks
    assert shop.message == "host b does not answer"


def test_a_sync_that_is_told_to_end_is_interrupted_in_the_history_with_the_time_it_took(work: FakeWork) -> None:
    run(work)
    slow = SHOP.replace("    ports:", "    environment: {SLOW: 'yes'}\n    ports:").replace("interval: 1s", "interval: 60s")
    work.world.upstream.commit({"stacks/shop.yaml": slow}, "slow")
    for engine in work.world.engines.values():
        engine.behaves = lambda container: Behaviour(
            health="starting" if "SLOW=yes" in (container.create.get("Env") or ()) else "healthy"
        )
    ending = threading.Event()
    watch = Watch(started=lambda step: step.operation == "wait_healthy" and threading.Timer(0.3, ending.set).start())
    synced = run(work, watch=watch, ending=ending)
    assert synced.outcome.result == "interrupted"
    newest = work.store.syncs()[0]
    assert newest.result == "interrupted"
    assert newest.seconds >= 0.3
    assert work.store.bad_revisions() == ()
    for host in "ab":
        assert work.world.names(host) == {"shop-web-1": "running", "shop-store-1": "running"}


def test_a_build_is_in_the_history_with_the_time_it_took(work: FakeWork) -> None:
    work.world.builder.builds_as = lambda query: time.sleep(0.3) or [{"stream": "Step 1/1 : FROM busybox\n"}]
    run(work)
    newest = work.store.syncs()[0]
    (number,) = [step.number for step in newest.plan.steps if step.operation == "build"]
    assert next(step.seconds for step in newest.steps if step.number == number) >= 0.3
    assert newest.seconds >= 0.3


def test_a_lost_store_is_made_anew_and_nothing_is_touched(tmp_path: Path, work: FakeWork) -> None:
    run(work)
    numbers = dict(work.store.host_numbers())
    other = FakeWork(tmp_path, tmp_path / "other-state", work.world)
    try:
        synced = run(other)
        assert synced.outcome.result == "nothing"
        assert other.store.host_numbers() == numbers
        assert other.store.applied()["shop"].revision.subject == "first"
    finally:
        other.close()


def test_a_plan_that_would_remove_most_is_refused_until_somebody_says_so(work: FakeWork) -> None:
    run(work)
    work.world.upstream.commit({"gitopsd.yaml": FLEET.split("stacks:")[0] + "stacks: {}\n"}, "empty")
    with pytest.raises(GitopsdError) as caught:
        run(work)
    assert caught.value.code == "refused"
    assert "--allow mass-removal" in (caught.value.hint or "")
    assert run(work, allow=("mass-removal",)).outcome.result == "succeeded"
    assert work.world.names("a") == {}


def test_an_image_that_nobody_has_holds_its_stack(work: FakeWork) -> None:
    run(work)
    work.world.upstream.commit({"stacks/shop.yaml": SHOP.replace("busybox:stable", "busybox:nosuch")}, "wrong tag")
    synced = run(work)
    assert synced.outcome.result == "nothing"
    assert "no library/busybox by this tag" in dict(synced.plan.blocked)["shop"]


def test_a_moved_tag_is_followed_and_said(work: FakeWork) -> None:
    run(work)
    work.world.put_image("127.0.0.1:5000/library/busybox", "stable", "newer")
    work.repository.fetch()
    view = look(work, work.repository.revision("main"))
    details = {item.detail for change in view.plan.changes for item in change.fields}
    assert details == {"the name means other bytes now", "built from its sources"}


def test_two_controllers_cannot_act_on_one_stack(tmp_path: Path, work: FakeWork) -> None:
    with work.reach(look(work, fetched(work)).rendered.fleet).engine("a").lease("shop", "the other controller"):
        synced = run(work)
    assert synced.outcome.result == "failed"
    assert any("the other controller" in (step.error or "") for step in synced.outcome.steps)
    assert work.world.names("a") == {}
    assert work.store.bad_revisions() == (), "that is nobody's fault"


def fetched(work: FakeWork, reference: str = "main"):
    work.repository.fetch()
    return work.repository.revision(reference)


def test_files_of_the_world_are_as_the_other_tests_think(tmp_path: Path) -> None:
    world = World(tmp_path, FILES)
    assert world.upstream.git("ls-files").splitlines() == sorted(FILES)
    world.close()
