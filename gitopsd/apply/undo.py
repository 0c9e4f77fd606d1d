"""What to do when a replacement fails, so that what ran before goes on.  [pure]

In: the plan, the step that failed and those that were done.  Out: steps that take the replacement away again, and start the old one where
it was stopped for it. After a transition there is nothing to undo: the new one was healthy and has the traffic.
"""

from __future__ import annotations

from collections.abc import Collection

from gitopsd.model.plan import Plan, Step


def undo(plan: Plan, failed: Step, done: Collection[int]) -> tuple[Step, ...]:
    """Steps for `failed`, in order; none when it was not part of a replacement, or all went its way already."""
    if failed.operation not in ("start_container", "wait_healthy", "transition"):
        return ()
    mine = [step for step in plan.steps if step.host == failed.host and step.object == failed.object]
    old = _old(mine, failed)
    if old is None or any(step.operation == "transition" and step.number in done for step in mine):
        return ()
    grace = next((step.grace_ns for step in mine if step.operation == "stop_container"), 0)
    stop = Step(0, "stop_container", failed.host, failed.stack, failed.object, target=failed.target, grace_ns=grace)
    remove = Step(0, "remove_container", failed.host, failed.stack, failed.object, target=failed.target)
    stopped = any(step.operation == "stop_container" and step.target == old and step.number in done for step in mine)
    start = Step(0, "start_container", failed.host, failed.stack, failed.object, target=old)
    return (stop, remove, start) if stopped else (stop, remove)


def _old(mine: list[Step], failed: Step) -> str | None:
    """The container that `failed`'s target replaces."""
    for step in mine:
        if step.operation == "transition" and step.target == failed.target:
            return step.other
        if step.operation == "rename_container" and step.target == failed.target:  # the end of a stop-first replacement
            return next((other.target for other in mine if other.operation == "remove_container"), None)
    return None
