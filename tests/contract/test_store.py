"""What every kind of store keeps to, and the fake that other tests use."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from gitopsd.model.errors import GitopsdError
from gitopsd.model.observed import HostFacts, HostObserved, Observed
from gitopsd.model.outcome import Outcome, StepOutcome
from gitopsd.model.plan import Plan
from gitopsd.model.record import Applied, BadRevision
from gitopsd.model.revision import RevisionName
from gitopsd.plan import plan
from gitopsd.store import Store, rebuild
from gitopsd.store.sql import SqlStore
from gitopsd.store.tables import metadata
from tests.fakes.memorystore import MemoryStore
from tests.fakes.values import NOW, REVISION, a_container, a_desired, a_host, nothing_on

DESIRED = a_desired(a_host("a", a_container(), a_container("blog")))


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = SqlStore.at(tmp_path / "state" / "store.sqlite") if request.param == "sqlite" else MemoryStore()
    yield made
    made.close()


def a_plan() -> Plan:
    return plan(DESIRED, nothing_on("a"), NOW, REVISION)


def test_a_sync_is_remembered_with_each_of_its_steps(store: Store) -> None:
    number = store.begin_sync(a_plan(), NOW)
    store.record_step(number, StepOutcome(1, "succeeded", 0.5, made="sha256:x"))
    assert [(sync.result, len(sync.steps)) for sync in store.syncs()] == [("running", 1)]
    steps = (StepOutcome(1, "succeeded", 0.5, made="sha256:x"), StepOutcome(2, "failed", 1.0, "no answer"))
    store.end_sync(number, Outcome(a_plan(), steps, "partial", NOW, 2.5))
    kept = store.sync(number)
    assert kept is not None
    assert (kept.plan, kept.steps, kept.result, kept.seconds) == (a_plan(), steps, "partial", 2.5)


def test_the_newest_sync_comes_first_and_a_stack_sees_its_own(store: Store) -> None:
    first, second = store.begin_sync(a_plan(), NOW), store.begin_sync(a_plan(), NOW)
    assert [sync.number for sync in store.syncs()] == [second, first]
    assert [sync.number for sync in store.syncs(limit=1)] == [second]
    assert len(store.syncs(stack="blog")) == 2
    assert store.syncs(stack="other") == ()
    assert store.sync(99) is None


def test_a_sync_in_which_the_controller_died_is_interrupted_when_the_next_begins(store: Store) -> None:
    first = store.begin_sync(a_plan(), NOW)
    store.begin_sync(a_plan(), NOW)
    kept = store.sync(first)
    assert kept is not None
    assert kept.result == "interrupted"


def test_what_was_applied_last_is_kept_for_each_stack(store: Store) -> None:
    assert store.previous() is None
    store.set_applied(Applied("shop", REVISION, NOW), DESIRED)
    newer = a_desired(a_host("a", a_container(memory_bytes=1 << 30), a_container("blog")))
    store.set_applied(Applied("blog", REVISION, NOW), newer)
    store.set_applied(Applied("blog", RevisionName("r", "main", "f" * 40, "newer"), "later"), newer)
    assert store.applied()["blog"].revision.subject == "newer"
    previous = store.previous()
    assert previous is not None
    assert {(c.stack, c.spec.memory_bytes) for c in previous.host("a").containers} == {("shop", 0), ("blog", 0)}
    store.forget("blog")
    assert list(store.applied()) == ["shop"]


def test_bad_revisions_are_kept_until_they_are_cleared(store: Store) -> None:
    store.mark_bad(BadRevision("shop", "a" * 40, "no health", NOW))
    store.mark_bad(BadRevision("shop", "a" * 40, "no health at all", NOW))
    store.mark_bad(BadRevision("blog", "b" * 40, "no image", NOW))
    assert [(bad.stack, bad.why) for bad in store.bad_revisions()] == [("blog", "no image"), ("shop", "no health at all")]
    store.clear_bad("shop")
    assert [bad.stack for bad in store.bad_revisions()] == ["blog"]


def test_a_host_keeps_its_number_and_nobody_else_gets_it(store: Store) -> None:
    store.set_host_number("a", 0)
    store.set_host_number("a", 0)
    with pytest.raises(GitopsdError, match="number"):
        store.set_host_number("a", 1)
    with pytest.raises(GitopsdError, match="number"):
        store.set_host_number("b", 0)
    store.set_host_number("b", 1)
    assert store.host_numbers() == {"a": 0, "b": 1}
    store.forget_host("b")
    store.set_host_number("c", 1)
    assert store.host_numbers() == {"a": 0, "c": 1}


def test_the_last_state_of_a_host_is_kept_beside_its_number(store: Store) -> None:
    store.keep_state("a", "1", {"version": 1})
    store.set_host_number("a", 3)
    store.keep_state("a", "2", {"version": 1, "containers": []})
    assert store.states() == {"a": ("2", {"version": 1, "containers": []})}
    assert store.host_numbers() == {"a": 3}


def test_several_threads_may_write(store: Store) -> None:
    number = store.begin_sync(a_plan(), NOW)
    threads = [
        threading.Thread(target=store.record_step, args=(number, StepOutcome(step, "succeeded", 0.1))) for step in range(1, 21)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = store.sync(number)
    assert kept is not None
    assert [step.number for step in kept.steps] == list(range(1, 21))


def test_a_lost_store_is_made_anew_from_what_the_hosts_know(store: Store) -> None:
    def intent(commit: str, at: str) -> tuple[tuple[str, object], ...]:
        revision = {"repository": "r", "reference": "main", "commit": commit, "subject": "s"}
        bad = [{"commit": "b" * 40, "why": "no health", "at": at}]
        return (("stacks", {"shop": {"applied": {"revision": revision, "at": at}, "bad": bad}}), ("version", 1))

    hosts = (
        HostObserved("a", facts=HostFacts(number=4), intent=intent("1" * 40, "2026-01-01")),
        HostObserved("b", facts=HostFacts(number=2), intent=intent("2" * 40, "2026-01-02")),
    )
    rebuild(store, Observed(hosts))
    assert store.applied()["shop"].revision.commit == "2" * 40
    assert [bad.commit for bad in store.bad_revisions()] == ["b" * 40]
    assert store.host_numbers() == {"a": 4, "b": 2}
    store.set_applied(Applied("shop", REVISION, NOW), None)
    rebuild(store, Observed(hosts))
    assert store.applied()["shop"].revision == REVISION, "what the store knows itself is newer"


def test_a_store_is_opened_again_with_what_it_kept(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    one = SqlStore.at(path)
    number = one.begin_sync(a_plan(), NOW)
    one.close()
    other = SqlStore.at(path)
    assert other.sync(number) is not None
    other.close()


def test_commands_that_come_first_together_make_one_store(tmp_path: Path) -> None:
    path = tmp_path / "state" / "store.sqlite"
    code = f"from pathlib import Path; from gitopsd.store.sql import SqlStore; SqlStore.at(Path({str(path)!r})).close()"
    started = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(6)]
    for process in started:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database, but long enough to be looked at" * 40)
    with pytest.raises(GitopsdError) as caught:
        SqlStore.at(path)
    assert caught.value.code == "store-unreadable"
    assert caught.value.where.file == str(path)


def test_the_migrations_end_in_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    SqlStore.at(tmp_path / "store.sqlite").close()
    engine = create_engine(f"sqlite:///{tmp_path}/store.sqlite")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_an_up_to_date_store_opens_without_alembic(tmp_path: Path) -> None:
    SqlStore.at(tmp_path / "store.sqlite").close()
    code = (
        "import sys; from pathlib import Path; from gitopsd.store.sql import SqlStore;"
        f"SqlStore.at(Path({str(tmp_path / 'store.sqlite')!r})).close(); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
