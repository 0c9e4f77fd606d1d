"""A plan that was saved is applied as it was shown, or not at all.  [pure]"""

from __future__ import annotations

from dataclasses import replace

from gitopsd.control.sync import View
from gitopsd.model.errors import GitopsdError
from gitopsd.model.plan import Change, Plan


def check_saved(view: View, saved: Plan) -> View:
    """The view with the saved plan, if it is still the plan; else `plan-stale`, which names what is different now."""
    if saved.fleet != view.plan.fleet:
        raise GitopsdError("plan-stale", f"it is for fleet {saved.fleet}, this is {view.plan.fleet}")
    stacks = {change.stack for change in saved.changes}
    now = tuple(change for change in view.plan.changes if change.stack in stacks)
    if now != saved.changes:
        raise GitopsdError("plan-stale", f"since plan {saved.id} was made {_difference(saved.changes, now)}", hint="plan again")
    return replace(view, plan=saved)


def _difference(then: tuple[Change, ...], now: tuple[Change, ...]) -> str:
    before = {(change.host, change.kind, change.name): change for change in then}
    after = {(change.host, change.kind, change.name): change for change in now}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old != new:
            host, kind, name = key
            what = f"{kind} {name} on {host}"
            if old is None or new is None:
                return f"{what} {'needs a change' if old is None else 'needs none any more'}"
            return f"{what} has changed ({old.action} at generation {old.generation}, now {new.action} at {new.generation})"
    return "the order of things has changed"
