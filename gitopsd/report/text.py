"""Status, history, drift and outcomes as people read them in a terminal.  [pure]"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from gitopsd.model.outcome import Outcome, StepOutcome
from gitopsd.model.plan import Change, Plan, Step
from gitopsd.model.record import SyncRecord
from gitopsd.model.status import Status
from gitopsd.model.visible import visible
from gitopsd.model.words import counted


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as what is in them; nothing behind the last."""
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)]
    return "\n".join(lines) + "\n"


def render_status(status: Status) -> str:
    stacks = [(stack.stack, stack.sync, stack.health, stack.revision or "-", _short(stack.message)) for stack in status.stacks]
    services = [
        (
            f"{stack.stack}/{service.service}",
            service.host,
            f"{service.running}/{service.wanted}",
            service.health,
            service.image,
            service.message,
        )
        for stack in status.stacks
        for service in stack.services
    ]
    hosts = [
        (host.host, host.state, host.engine_version or "-", str(host.containers), _short(host.message)) for host in status.hosts
    ]
    parts = [
        table(("STACK", "SYNC", "HEALTH", "REVISION", "MESSAGE"), stacks),
        table(("SERVICE", "HOST", "RUNNING", "HEALTH", "IMAGE", "MESSAGE"), services) if services else "",
        table(("HOST", "STATE", "ENGINE", "CONTAINERS", "MESSAGE"), hosts),
    ]
    told = [(f"stack {stack.stack}", stack.message) for stack in status.stacks]
    told += [(f"host {host.host}", host.message) for host in status.hosts]
    parts += [
        f"{what}:\n" + "".join(f"  {visible(line)}\n" for line in why.split("\n")) for what, why in told if _short(why) != why
    ]
    return "\n".join(part for part in parts if part)


def render_history(syncs: Sequence[SyncRecord], summarise: Callable[[Plan], str]) -> str:
    """`summarise`: the plan in a line, by `plan/text.py`."""
    if not syncs:
        return "No sync yet.\n"
    rows = [
        (
            str(sync.number),
            sync.started_at[:19].replace("T", " "),
            sync.plan.revision.short if sync.plan.revision else "-",
            sync.result,
            _took(sync),
            summarise(sync.plan),
            _first_error(sync),
        )
        for sync in syncs
    ]
    return table(("SYNC", "STARTED", "REVISION", "RESULT", "TOOK", "CHANGES", "ERROR"), rows)


def drifted(plan: Plan) -> tuple[Change, ...]:
    """The changes that undo what somebody did on a host."""
    return tuple(
        change
        for change in plan.changes
        if change.action != "retain"
        and (change.cause in ("drift", "leftover") or any(item.cause == "drift" for item in change.fields))
    )


def render_drift(plan: Plan) -> str:
    """What differs from what was applied though Git did not change it, by field."""
    rows: list[tuple[str, str, str, str, str]] = []
    for change in drifted(plan):
        name = f"{change.kind} {change.name}"
        fields = [item for item in change.fields if item.cause == "drift"]
        rows += [(change.host, name, item.path, item.old or "(not set)", item.new or "(not set)") for item in fields]
        if not fields or change.reason.startswith(("stopped", "created", "failed")):
            rows.append((change.host, name, "-", change.reason.split(";", 1)[0], "as applied"))
    if not rows:
        return "No drift.\n"
    return table(("HOST", "OBJECT", "FIELD", "IS", "SHOULD BE"), rows)


def render_steps(sync: SyncRecord) -> str:
    """Each step of a sync and what became of it."""
    ended = {step.number: step for step in sync.steps}
    rows: list[tuple[str, ...]] = []
    for step in sync.plan.steps:
        done = ended.get(step.number)
        result = done.result if done else "never ended"
        took = f"{done.seconds:.1f} s" if done else "-"
        error = one_line(clause(done.error), 90) if done and done.error else ""
        rows.append(
            (str(step.number), step.host or "builder", step.operation.replace("_", " "), step.object, result, took, error)
        )
    took = "" if _took(sync) == "-" else f" after {_took(sync)}"
    errors = [done.error for done in sync.steps if done.result == "failed" and done.error]
    head = f"sync {sync.number}, {sync.started_at}: {sync.result}{took}\n"
    return (
        head
        + table(("STEP", "HOST", "DOES", "OBJECT", "RESULT", "TOOK", "ERROR"), rows)
        + "".join(f"\n{error}\n" for error in errors)
    )


_DOES: dict[str, str] = {
    "wait_healthy": "wait for",
    "transition": "hand over to",
    "connect_network": "connect",
    "disconnect_network": "disconnect",
}


def step_words(step: Step) -> str:
    """`create container shop-web-1`."""
    verb = _DOES.get(step.operation) or step.operation.split("_", 1)[0]
    network = f", network {step.name}" if step.operation in ("connect_network", "disconnect_network") else ""
    return f"{verb} {step.object}{network}"


def render_outcome(outcome: Outcome) -> str:
    """How an apply ended: each error whole, what is half done, a line for it all, and what to type."""
    if outcome.result == "nothing":
        return "nothing to do\n"
    parts: list[str] = []
    for step, ended in zip(outcome.plan.steps, outcome.steps, strict=True):
        if ended.result == "failed" and ended.error:
            place = f" on {step.host}" if step.host else ""
            parts.append(f"{ended.error}\n  this was step {step.number}: {step_words(step)}{place}")
    counts = Counter("early" if _is_early(step) else step.result for step in outcome.steps)
    total = counted(len(outcome.steps), "step")
    words = {"succeeded": "succeeded", "partial": "partly failed", "failed": "failed", "interrupted": "interrupted"}
    line = f"{words[outcome.result]} after {outcome.seconds:.1f} s: "
    if outcome.result == "succeeded":
        line += f"{total} done"
    else:
        said = [
            f"{counts[result]} {word}"
            for result, word in (("failed", "failed"), ("early", "broken off"), ("skipped", "not begun"))
            if counts[result]
        ]
        line += ", ".join([f"{counts['succeeded']} of {total} done", *said])
    parts += [*outcome.left, line]
    if outcome.result == "interrupted":
        parts.append("to see what is left: gitopsd plan; to go on: gitopsd sync")
    return "\n".join(parts) + "\n"


def _is_early(step: StepOutcome) -> bool:
    return step.result == "failed" and (step.error or "").startswith("error: interrupted\n")


def _short(message: str) -> str:
    """What has room in a column; the whole of it stands below the tables."""
    more = message.count("error: ") - 1
    return one_line(clause(message), 70) + (f" (and {more} more)" if more > 0 else "")


def one_line(text: str, width: int) -> str:
    words = " ".join(text.split())
    return words if len(words) <= width else words[: width - 3] + "..."


def _first_error(sync: SyncRecord) -> str:
    error = next((step.error for step in sync.steps if step.result == "failed" and step.error), "")
    return one_line(clause(error or ""), 60)


def clause(error: str) -> str:
    """What an error says: its second line, below its code."""
    lines = error.splitlines()
    return lines[1].strip() if len(lines) > 1 and lines[0].startswith("error: ") else error


def _took(sync: SyncRecord) -> str:
    """Nobody knows how long one took that is not over, or that ended with its controller."""
    is_known = sync.result != "running" and not (sync.result == "interrupted" and not sync.seconds)
    return f"{sync.seconds:.1f} s" if is_known else "-"
