"""A plan as people read it.  [pure]

A block a stack, with what is felt at its head; a line an object, with the reason; a line a field, old and new. Equal
changes on several hosts or replicas are one block. The last line says it all once more, in numbers.

Rule: only forms that fields.py made for showing get here, so a secret cannot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from gitopsd.model.plan import EFFECTS, Action, CauseKind, Change, Effect, FieldChange, Plan
from gitopsd.model.visible import visible
from gitopsd.model.words import counted, unknown_word

FELT: dict[Effect, str] = {"none": "nothing felt", "restart": "restart, no gap", "gap": "gap", "data_loss": "DATA LOSS"}
_SIGNS: dict[Action, str] = {"create": "+", "in_place": "~", "replace": "~", "remove": "-", "retain": "=", "same": " "}
_BY: dict[CauseKind, str] = {"drift": "changed by hand", "cascade": "", "git": "", "image": "", "leftover": "", "placement": ""}
_WIDTH = 72
_DEFAULT_GRACE_NS = 10_000_000_000
"""Docker's, where nothing is said."""


def render_text(plan: Plan) -> str:
    """The whole plan, ending in a newline."""
    blocks = [_head(plan)]
    for stack in sorted({change.stack for change in plan.changes}):
        changes = tuple(change for change in plan.changes if change.stack == stack)
        if any(change.action != "retain" for change in changes):
            blocks.append(_stack(stack, changes, plan))
    blocks.append("\n".join(_remarks(plan)))
    blocks.append(_foot(plan))
    return "\n\n".join(block for block in blocks if block) + "\n"


def summary(plan: Plan) -> str:
    """The plan in one line, for logs and history: `1 to create, 2 to replace`."""
    counts = Counter(change.action for change in plan.changes)
    words = (("create", "to create"), ("replace", "to replace"), ("in_place", "to change in place"), ("remove", "to remove"))
    return ", ".join(f"{counts[action]} {word}" for action, word in words if counts[action]) or "nothing to do"


def brief(plan: Plan) -> tuple[str, ...]:
    """A line for each folded change and each of its fields, for logs."""
    found: list[str] = []
    for stack in sorted({change.stack for change in plan.changes}):
        changes = [change for change in plan.changes if change.stack == stack]
        if all(change.action == "retain" for change in changes):
            continue  # kept since long
        for names, hosts, change in _folded(changes):
            found.append(f"{_SIGNS[change.action]} {_title(names, hosts, change)}: {_does(change)}")
            found += [line[2:] for line in _fields(change.fields)]
    return tuple(visible(line) for line in found)


def _head(plan: Plan) -> str:
    revision = f'  {plan.revision.short} "{plan.revision.subject}"' if plan.revision else ""
    return visible(f"plan {plan.id}{revision}")


def _stack(stack: str, changes: tuple[Change, ...], plan: Plan) -> str:
    found: set[Effect] = {change.effect for change in changes}
    worst = max(found, key=EFFECTS.index)
    is_removed = all(change.action in ("remove", "retain") and change.cause == "git" for change in changes)
    felt = (
        "removed from Git"
        if is_removed and any(change.kind == "container" for change in changes)
        else _felt(worst, changes, plan)
    )
    title = f"stack {stack}"
    lines = [f"{title:<{_WIDTH}}{felt}"]
    builds = [build for build in plan.builds if build.stack == stack]
    lines += [f"  * image {build.stack}/{build.service}: built from {build.context} ({build.key[:12]})" for build in builds]
    for names, hosts, change in _folded(changes):
        lines.append(f"  {_SIGNS[change.action]} {_title(names, hosts, change)}: {_does(change)}")
        lines += _fields(change.fields)
    return "\n".join(visible(line) for line in lines)


def _felt(worst: Effect, changes: tuple[Change, ...], plan: Plan) -> str:
    """What people feel; of a gap also whose, and for how long."""
    gaps = [change for change in changes if change.effect == "gap" and change.kind == "container"]
    if worst != "gap" or not gaps:
        return FELT[worst]
    replaced = {(change.host, f"container {change.name}") for change in gaps if change.action != "remove"}
    graces = [
        step.grace_ns or _DEFAULT_GRACE_NS
        for step in plan.steps
        if step.operation == "stop_container" and (step.host, step.object) in replaced
    ]
    parts = [f"at most {max(graces) // 1_000_000_000} s to stop, then a start"] if graces else []
    going = list(dict.fromkeys(change.name for change in gaps if change.action == "remove"))
    if going:
        parts.append(f"{', '.join(going[:3])}{' and others' if len(going) > 3 else ''} gone for good")
    return f"gap: {'; '.join(parts)}" if parts else FELT[worst]


def _folded(changes: Iterable[Change]) -> list[tuple[tuple[str, ...], tuple[str, ...], Change]]:
    """Names and hosts for each change that is the same for all of them."""
    hosts: dict[tuple[str, Change], list[str]] = {}
    for change in changes:
        alike = replace(change, host="", id=None, generation=0, name="", replica=0)
        hosts.setdefault((change.name, alike), []).append(change.host)
    names: dict[tuple[tuple[str, ...], Change], list[str]] = {}
    for (name, alike), where in hosts.items():
        names.setdefault((tuple(sorted(where)), alike), []).append(name)
    return [(tuple(sorted(found)), where, alike) for (where, alike), found in names.items()]


def _title(names: tuple[str, ...], hosts: tuple[str, ...], change: Change) -> str:
    plural = "s" if len(names) > 1 else ""
    shown = ", ".join(names) if len(names) <= 4 else f"{names[0]} and {len(names) - 1} more"
    return f"{change.kind}{plural} {shown} on {', '.join(hosts)}"


def _does(change: Change) -> str:
    words: dict[Action, str] = {
        "create": "new" if change.cause == "git" else "made again",
        "remove": "removed",
        "retain": "kept",
        "in_place": "started" if change.reason.startswith(("stopped", "failed", "created but")) else "changed in place",
        "replace": {"restart": "replaced, the new one first", "gap": "replaced, with a gap"}.get(change.effect, "replaced"),
        "same": "same",
    }
    by_hand = " (drift)" if change.cause == "drift" else ""
    if change.reason == "removed from Git" and change.effect == "gap":
        return "removed from Git; nobody answers under its name any more"
    if change.reason in ("not there yet", "removed from Git") or change.action == "retain":  # they say it all
        return "new" if change.action == "create" else change.reason
    return f"{words[change.action]}; {change.reason}{by_hand}"


def _fields(changed: tuple[FieldChange, ...]) -> list[str]:
    width = max((len(item.path) for item in changed), default=0)
    lines: list[str] = []
    for item in changed:
        remark = item.detail or _BY[item.cause]
        old, new = _shown(item.old), _shown(item.new)
        values = f"{old} -> {new}" if old != new else "(hidden), another value" if old == "(hidden)" else new
        lines.append(f"      {item.path:<{width}}  {values}" + (f"   {remark}" if remark else ""))
    return lines


def _shown(value: str | None) -> str:
    if value is None:
        return "(not set)"
    value = visible(value)
    return value if len(value) <= 60 else value[:57] + "..."


def _remarks(plan: Plan) -> list[str]:
    lines: list[str] = []
    for stack, why in plan.blocked:
        told = why.split("\n")
        lines += (
            [f"blocked   stack {stack}: {why}"]
            if len(told) < 2
            else [f"blocked   stack {stack}:", *(f"          {line}" for line in told)]
        )
    for host, why in plan.unknown:
        first, *hints = why.splitlines()
        lines.append(f"{unknown_word(why)}   host {host}: {first}")
        lines += [f"          {hint}" for hint in hints]
    lines += [f"refused   {code}: {sentence}" for code, sentence in plan.refused]
    return [visible(line) for line in (*lines, *(f"note      {note}" for note in plan.notes))]


def held_words(stacks: int, hosts: int) -> str:
    """What stands in the way of all being as Git says: `1 stack is blocked, 2 hosts are unknown`; empty: nothing does."""
    found = [(stacks, "stack", "blocked"), (hosts, "host", "unknown")]
    return ", ".join(f"{counted(count, noun)} {'is' if count == 1 else 'are'} {how}" for count, noun, how in found if count)


def _foot(plan: Plan) -> str:
    held = held_words(len(plan.blocked), len(plan.unknown))
    if plan.is_empty:
        kept = sum(change.action == "retain" for change in plan.changes)
        volumes = f" {counted(kept, 'volume')} that Git no longer names: kept." if kept else ""
        rest = f"{counted(plan.unchanged, 'object')} {'is as it' if plan.unchanged == 1 else 'are as they'} should be.{volumes}"
        return f"Nothing can be done now: {held}; {rest}" if held else f"Nothing to do: {rest}"
    lost = sum(change.effect == "data_loss" for change in plan.changes)
    built = f"  Build {len({build.key for build in plan.builds})}." if plan.builds else ""
    return f"{summary(plan)}; {plan.unchanged} as they should be, {lost} data loss.{built}" + (
        f"  Held back: {held}." if held else ""
    )
