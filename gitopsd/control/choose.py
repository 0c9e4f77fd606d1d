"""Which stacks a sync may touch by itself.  [pure]

Two switches in the fleet file, apart from each other: `deploy: auto | manual` for what Git changed, `drift: heal | notify | off` for what
somebody else did. A sync that a person asks for touches all.
"""

from __future__ import annotations

from gitopsd.model.fleet import Fleet
from gitopsd.model.plan import Change, Plan


def is_drift(changes: tuple[Change, ...]) -> bool:
    """Whether nothing of this comes from Git."""
    return all(change.cause in ("drift", "leftover") for change in changes)


def by_stack(plan: Plan) -> dict[str, tuple[Change, ...]]:
    """The changes of each stack that has any that do something."""
    found: dict[str, tuple[Change, ...]] = {}
    for change in plan.changes:
        if change.action != "retain":
            found[change.stack] = (*found.get(change.stack, ()), change)
    return found


def choose(plan: Plan, fleet: Fleet) -> tuple[set[str], dict[str, str]]:
    """The stacks to touch, and for each other that has changes why it is not."""
    entries = {entry.name: entry for entry in fleet.stacks}
    chosen: set[str] = set()
    why: dict[str, str] = {}
    for stack, changes in by_stack(plan).items():
        entry = entries.get(stack)
        if entry is None or all(change.cause == "leftover" for change in changes):
            chosen.add(stack)
        elif is_drift(changes) and entry.drift != "heal":
            why[stack] = f"drift: {entry.drift}"
        elif not is_drift(changes) and entry.deploy == "manual":
            why[stack] = "deploy: manual; to apply: gitopsd sync"
        else:
            chosen.add(stack)
    return chosen, why
