"""How a command ends: one meaning for all of them, written down in docs/formats.md, exit codes.  [pure]

Rule: 0 is said only when nothing is left to do *and* everything was looked at. What is blocked or unknown comes before what is to be done, so
that a script which goes on at 2 does not pass over it.
"""

from __future__ import annotations

from collections.abc import Collection

from gitopsd.model.plan import Plan
from gitopsd.model.status import Status

DONE, FAILED, CHANGES, HELD = 0, 1, 2, 3


def blocked_of(plan: Plan, stacks: Collection[str] | None = None) -> tuple[tuple[str, str], ...]:
    """The stacks that are held back, of those that were asked for (None: all), and why."""
    return tuple((stack, why) for stack, why in plan.blocked if stacks is None or stack in stacks)


def exit_of_plan(plan: Plan) -> int:
    if plan.blocked or plan.unknown or plan.refused:
        return HELD
    return DONE if plan.is_empty else CHANGES


def exit_of_sync(result: str, blocked: Collection[object], unknown: Collection[object]) -> int:
    if result not in ("nothing", "succeeded"):
        return FAILED
    return HELD if blocked or unknown else DONE


def exit_of_status(status: Status, plan: Plan) -> int:
    if plan.blocked or plan.unknown:
        return HELD
    is_well = all(stack.sync == "Synced" and stack.health == "Healthy" for stack in status.stacks)
    return DONE if is_well else CHANGES
