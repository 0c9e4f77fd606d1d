"""Status, history and outcomes as people read them. `pytest --update-golden` writes them anew; the diff is reviewed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from gitopsd.model.outcome import Outcome, StepOutcome
from gitopsd.model.plan import Plan
from gitopsd.model.record import SyncRecord, SyncResult
from gitopsd.model.status import HostStatus, ServiceStatus, StackStatus, Status
from gitopsd.plan import summary
from gitopsd.report import render_history, render_outcome, render_status, render_steps
from tests.fakes.values import NOW
from tests.golden.test_plan import change, compare

FOLDER = Path(__file__).parent / "report"
Result = Literal["succeeded", "failed", "interrupted"]
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


def outcome(last: int, result: Result, error: str = REFUSED, left: tuple[str, ...] = ()) -> Outcome:
    return Outcome(change(), ended(change(), last, error=error), result, NOW, 12.5, left)


def an_outcome_that_succeeded() -> str:
    return render_outcome(outcome(99, "succeeded"))


def an_outcome_that_failed() -> str:
    left = tuple(f"container shop-web-1 on {host}: taken back, the one before runs" for host in "ab")
    return render_outcome(outcome(6, "failed", left=left))


def a_build_that_failed() -> str:
    error = "error: build-failed\n  web/Dockerfile:6: RUN make ended with 2\n  hint: image shop/web is asked for by stacks/shop.yaml:3"
    return render_outcome(outcome(1, "failed", error))


def an_outcome_that_was_interrupted() -> str:
    error = "error: interrupted\n  host a  container shop-web-1: told to end after 4 s of waiting for it to be well"
    left = ("container shop-web-1 on a: taken back, the one before runs",)
    return render_outcome(outcome(7, "interrupted", error, left))


def status() -> str:
    slips = "\n".join(
        (
            "error: unknown-key\n  stacks/blog.yaml:10  foo: unknown key\n  hint: known here: services",
            "error: port-taken\n  stacks/blog.yaml:4  services.web.ports: port 80/tcp for service web of blog is taken on host a by service web",
        )
    )
    services = (ServiceStatus("web", "b", 0, 1, "Unknown", "shop/web", "the host does not answer"),)
    return render_status(
        Status(
            "test",
            (
                StackStatus("blog", "OutOfSync", "Healthy", "main@3f2a9c1", (), slips),
                StackStatus("shop", "Unknown", "Unknown", "main@3f2a9c1", services, "host b does not answer"),
            ),
            (HostStatus("a", "Ready", "", "0.1.0", 2), HostStatus("b", "Unknown", "host-unreachable: No route to host")),
            NOW,
        )
    )


CASES: dict[str, Callable[[], str]] = {
    case.__name__: case
    for case in (
        steps_of_a_failed_sync,
        steps_of_a_sync_that_never_ended,
        history,
        an_outcome_that_succeeded,
        an_outcome_that_failed,
        a_build_that_failed,
        status,
        an_outcome_that_was_interrupted,
    )
}


@pytest.mark.parametrize("case", CASES)
def test_a_report_reads_as_it_did(case: str, pytestconfig: pytest.Config) -> None:
    compare(FOLDER / f"{case}.txt", CASES[case](), pytestconfig.getoption("--update-golden"))
