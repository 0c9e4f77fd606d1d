"""What to do with a replacement that does not go on, so that what ran before does.  [pure]

In: the plan, which of its steps were begun and which were done.  Out: steps that take the replacement away again and start the old one where
it was stopped for it; and sentences on what is half done when all is over.

Rule: once the new one has taken over there is nothing to undo. It is well and has the traffic; what is left is to take the old one away.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from gitopsd.model.outcome import StepOutcome
from gitopsd.model.plan import Plan, Step

Place = tuple[str, str]
"""Host and object."""

_DID = {
    "create_container": "created",
    "start_container": "started",
    "wait_healthy": "well",
    "transition": "taken over",
    "update_container": "updated",
    "rename_container": "renamed",
    "stop_container": "stopped",
    "remove_container": "the one before removed",
    "create_network": "created",
    "remove_network": "removed",
    "connect_network": "connected",
    "disconnect_network": "disconnected",
    "create_volume": "created",
}


@dataclass(frozen=True)
class _Replacement:
    old: str
    new: str
    """Empty when the old one must be gone before the new one is made."""
    steps: tuple[Step, ...]

    def numbers(self, operation: str, target: str) -> set[int]:
        return {step.number for step in self.steps if step.operation == operation and step.target == target}


def undo(plan: Plan, place: Place, begun: Collection[int], done: Collection[int], made: Collection[int]) -> tuple[Step, ...]:
    """Steps for the replacement of an object, in order; none when none was begun, or it has taken over.

    `begun`: steps that were tried, `done`: those that succeeded, `made`: those whose container is there.
    """
    found = _replacement(plan, place)
    if found is None or has_taken_over(plan, place, done):
        return ()
    host, name = place
    stack = found.steps[0].stack
    is_begun = any(step.number in begun and step.operation not in ("rename_container", "wait_healthy") for step in found.steps)
    is_stopped = bool(found.numbers("stop_container", found.old) & set(begun))
    is_there = found.new.startswith("id:") or (found.new.startswith("step:") and int(found.new[5:]) in made)
    steps: list[Step] = []
    if is_begun and is_there:
        if found.numbers("start_container", found.new) & set(begun):
            grace = next((step.grace_ns for step in found.steps if step.operation == "stop_container"), 0)
            steps.append(Step(0, "stop_container", host, stack, name, target=found.new, grace_ns=grace))
        steps.append(Step(0, "remove_container", host, stack, name, target=found.new))
    if is_stopped and not found.numbers("remove_container", found.old) & set(done):
        steps.append(Step(0, "start_container", host, stack, name, target=found.old))
    return tuple(steps)


def has_taken_over(plan: Plan, place: Place, done: Collection[int]) -> bool:
    """Whether the new one answers, so that a replacement is to be finished rather than undone."""
    found = _replacement(plan, place)
    if found is None or not found.new:
        return False
    last = found.numbers("transition", found.new) or found.numbers("wait_healthy", found.new)
    return bool(last) and last <= set(done)


def half_done(plan: Plan, outcomes: Mapping[int, StepOutcome], taken_back: Mapping[Place, str | None]) -> tuple[str, ...]:
    """A sentence for each object that was begun and is not where the plan says, and for those taken back; `taken_back`: None, or what
    stood in the way."""
    found: list[str] = []
    done = {number for number, outcome in outcomes.items() if outcome.result == "succeeded"}
    for place in dict.fromkeys((step.host, step.object) for step in plan.steps if step.operation in _DID):
        mine = [step for step in plan.steps if (step.host, step.object) == place]
        is_whole = all(step.number in done for step in mine)
        title = f"{place[1]} on {place[0]}"
        if place in taken_back:
            why = taken_back[place]
            undone = (
                "taken back, the one before runs"
                if why is None
                else "could not be taken back; what was begun is still there: " + why
            )
            found.append(f"{title}: {undone}")
        elif not is_whole and any(step.number in done for step in mine):
            did = ", ".join(dict.fromkeys(_DID[step.operation] for step in mine if step.number in done))
            left = ", ".join(dict.fromkeys(step.operation.replace("_", " ") for step in mine if step.number not in done))
            found.append(f"{title}: {did}; still to do: {left}")
    return tuple(found)


def result_of(plan: Plan, outcomes: Collection[StepOutcome]) -> Literal["nothing", "succeeded", "partial", "failed"]:
    if not outcomes:
        return "nothing"
    by_number = {outcome.number: outcome.result for outcome in outcomes}
    failed = {step.stack for step in plan.steps if by_number[step.number] != "succeeded"}
    if not failed:
        return "succeeded"
    return "failed" if failed == {step.stack for step in plan.steps} else "partial"


def _replacement(plan: Plan, place: Place) -> _Replacement | None:
    mine = tuple(step for step in plan.steps if (step.host, step.object) == place)
    for step in mine:
        if step.operation == "transition":
            return _Replacement(step.other, step.target, mine)
    old = next((step.target for step in mine if step.operation == "remove_container"), "")
    created = next((step.number for step in mine if step.operation == "create_container"), 0)
    if not old or (not created and not any(step.operation == "rename_container" for step in mine)):
        return None  # it only leaves
    new = next((step.target for step in mine if step.operation == "rename_container" and step.target != old), "")
    return _Replacement(old, new, mine)
