"""A store that forgets when the process ends. It passes tests/contract/test_store.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gitopsd.model.desired import Desired
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.outcome import Outcome, StepOutcome
from gitopsd.model.plan import Plan
from gitopsd.model.record import Applied, BadRevision, SyncRecord
from gitopsd.store.sql import _of_stack, _together


class MemoryStore:
    def __init__(self) -> None:
        self._syncs: dict[int, SyncRecord] = {}
        self._stacks: dict[str, tuple[Applied, Desired | None]] = {}
        self._bad: dict[tuple[str, str], BadRevision] = {}
        self._numbers: dict[str, int] = {}
        self._states: dict[str, tuple[str, dict[str, Any]]] = {}

    def close(self) -> None:
        pass

    def begin_sync(self, plan: Plan, started_at: str) -> int:
        for number, sync in self._syncs.items():
            if sync.result == "running":
                self._syncs[number] = replace(sync, result="interrupted")
        number = len(self._syncs) + 1
        self._syncs[number] = SyncRecord(number, plan, started_at, 0.0, "running")
        return number

    def record_step(self, sync: int, step: StepOutcome) -> None:
        known = self._syncs[sync]
        steps = {item.number: item for item in (*known.steps, step)}
        self._syncs[sync] = replace(known, steps=tuple(steps[number] for number in sorted(steps)))

    def end_sync(self, sync: int, outcome: Outcome) -> None:
        for step in outcome.steps:
            self.record_step(sync, step)
        self._syncs[sync] = replace(self._syncs[sync], result=outcome.result, seconds=outcome.seconds)

    def syncs(self, limit: int = 20, stack: str | None = None) -> tuple[SyncRecord, ...]:
        found = [sync for sync in self._syncs.values() if stack is None or any(c.stack == stack for c in sync.plan.changes)]
        return tuple(found[::-1][:limit])

    def sync(self, number: int) -> SyncRecord | None:
        return self._syncs.get(number)

    def applied(self) -> Mapping[str, Applied]:
        return {stack: applied for stack, (applied, _) in self._stacks.items()}

    def set_applied(self, applied: Applied, desired: Desired | None) -> None:
        self._stacks[applied.stack] = (applied, desired and _of_stack(desired, applied.stack))

    def forget(self, stack: str) -> None:
        self._stacks.pop(stack, None)
        self.clear_bad(stack)

    def previous(self) -> Desired | None:
        return _together([desired for _, desired in self._stacks.values() if desired])

    def bad_revisions(self) -> tuple[BadRevision, ...]:
        return tuple(sorted(self._bad.values(), key=lambda bad: (bad.stack, bad.at)))

    def mark_bad(self, bad: BadRevision) -> None:
        self._bad[bad.stack, bad.commit] = bad

    def clear_bad(self, stack: str) -> None:
        self._bad = {key: bad for key, bad in self._bad.items() if bad.stack != stack}

    def host_numbers(self) -> Mapping[str, int]:
        return dict(self._numbers)

    def set_host_number(self, host: str, number: int) -> None:
        if self._numbers.get(host, number) != number or any(n == number and h != host for h, n in self._numbers.items()):
            raise GitopsdError("host-number-taken", f"number {number} is taken", Where(host=host))
        self._numbers[host] = number

    def forget_host(self, host: str) -> None:
        self._numbers.pop(host, None)
        self._states.pop(host, None)

    def states(self) -> Mapping[str, tuple[str, dict[str, Any]]]:
        return dict(self._states)

    def keep_state(self, host: str, etag: str, state: dict[str, Any]) -> None:
        self._states[host] = (etag, state)
