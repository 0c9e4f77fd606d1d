"""Status, history and outcomes as people read them. `pytest --update-golden` writes them anew; the diff is reviewed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gitopsd.model.outcome import StepOutcome
from gitopsd.model.plan import Plan
from gitopsd.model.record import SyncRecord, SyncResult
from gitopsd.plan import summary
from gitopsd.report import render_history, render_steps
from tests.fakes.values import NOW
from tests.golden.test_plan import change, compare

FOLDER = Path(__file__).parent / "report"
REFUSED = 'error: engine-refused\n  host a  stacks/shop.yaml:4  services.web.command: "nosuch" is not in the image'


def ended(plan: Plan, last: int, *, error: str = REFUSED) -> tuple[StepOutcome, ...]:
    """All steps up to `last` succeeded, that one failed, nothing after it was begun."""
    return tuple(
        StepOutcome(step.number, "succeeded", 0.25)
        if step.number < last
        else StepOutcome(step.number, "failed", 10.0, error, "stall")
        if step.number == last
        else StepOutcome(step.number, "skipped", 0.0, f"step {last} did not succeed")
        for step in plan.steps
    )


def a_sync(result: SyncResult, seconds: float, last: int, number: int = 7) -> SyncRecord:
    return SyncRecord(number, change(), NOW, seconds, result, ended(change(), last))


def steps_of_a_failed_sync() -> str:
    return render_steps(a_sync("failed", 12.5, 4))


def steps_of_a_sync_that_never_ended() -> str:
    return render_steps(SyncRecord(7, change(), NOW, 0.0, "running", ended(change(), 4)[:3]))


def history() -> str:
    return render_history((a_sync("failed", 12.5, 4), a_sync("succeeded", 3.0, 99, 6), a_sync("interrupted", 0.0, 2, 5)), summary)


CASES: dict[str, Callable[[], str]] = {
    case.__name__: case for case in (steps_of_a_failed_sync, steps_of_a_sync_that_never_ended, history)
}


@pytest.mark.parametrize("case", CASES)
def test_a_report_reads_as_it_did(case: str, pytestconfig: pytest.Config) -> None:
    compare(FOLDER / f"{case}.txt", CASES[case](), pytestconfig.getoption("--update-golden"))
