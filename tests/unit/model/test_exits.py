"""Exit codes: docs/formats.md."""

from __future__ import annotations

from dataclasses import replace

from gitopsd.model.exits import CHANGES, DONE, FAILED, HELD, exit_of_plan, exit_of_sync
from gitopsd.model.observed import HostObserved, Observed
from gitopsd.plan import plan
from tests.fakes.values import NOW, a_container, a_desired, a_host, nothing_on


def test_a_plan_ends_with_2_for_changes_and_with_3_when_anything_is_held_whether_there_are_changes_or_not() -> None:
    nothing = plan(a_desired(a_host("a")), nothing_on("a"), NOW)
    changes = plan(a_desired(a_host("a", a_container())), nothing_on("a"), NOW)
    unknown = plan(a_desired(a_host("a")), Observed((HostObserved("a", error="gone"),)), NOW)
    assert [exit_of_plan(each) for each in (nothing, changes, unknown)] == [DONE, CHANGES, HELD]
    assert exit_of_plan(replace(changes, blocked=(("blog", "a slip"),))) == HELD
    assert exit_of_plan(replace(changes, refused=(("mass-removal", "3 of 4"),))) == HELD


def test_a_sync_that_failed_ends_with_1_whatever_else_is_held() -> None:
    assert exit_of_sync("succeeded", (), ()) == exit_of_sync("nothing", (), ()) == DONE
    assert exit_of_sync("succeeded", ("blog",), ()) == exit_of_sync("nothing", (), ("a",)) == HELD
    assert (
        exit_of_sync("partial", ("blog",), ()) == exit_of_sync("failed", (), ()) == exit_of_sync("interrupted", (), ()) == FAILED
    )
