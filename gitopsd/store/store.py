"""What the controller remembers: the seam.

Kinds: `sql.py` (SQLAlchemy Core; SQLite now). The contract, which tests/contract/test_store.py holds for every kind and for the fake:

- Every method MUST be durable when it returns, but for `keep_state`, which is a cache.
- A store MAY be used by several threads of one process.
- A store MAY be lost at any time: nothing in it is needed to converge the hosts, and `rebuild.py` makes anew what the hosts know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gitopsd.model.desired import Desired
from gitopsd.model.outcome import Outcome, StepOutcome
from gitopsd.model.plan import Plan
from gitopsd.model.record import Applied, BadRevision, SyncRecord


class Store(Protocol):
    def begin_sync(self, plan: Plan, started_at: str) -> int:
        """A number that counts up. Syncs that never ended MUST become `interrupted`: there is one writer."""
        ...

    def record_step(self, sync: int, step: StepOutcome) -> None: ...

    def end_sync(self, sync: int, outcome: Outcome) -> None: ...

    def syncs(self, limit: int = 20, stack: str | None = None) -> tuple[SyncRecord, ...]:
        """The newest first; with `stack` those that changed it."""
        ...

    def sync(self, number: int) -> SyncRecord | None: ...

    def applied(self) -> Mapping[str, Applied]:
        """By stack."""
        ...

    def set_applied(self, applied: Applied, desired: Desired | None) -> None:
        """The revision that a stack is at now, and what it asked for, for that stack alone."""
        ...

    def forget(self, stack: str) -> None:
        """A stack that is no longer in Git and of which nothing is left."""
        ...

    def previous(self) -> Desired | None:
        """What was applied last, of all stacks together; None when nothing is known."""
        ...

    def bad_revisions(self) -> tuple[BadRevision, ...]: ...

    def mark_bad(self, bad: BadRevision) -> None: ...

    def clear_bad(self, stack: str) -> None: ...

    def host_numbers(self) -> Mapping[str, int]:
        """Which address block each host has, for the life of the fleet."""
        ...

    def set_host_number(self, host: str, number: int) -> None:
        """MUST refuse with `host-number-taken` a number that another host has, and another number for one that has one."""
        ...

    def forget_host(self, host: str) -> None:
        """A host that left the fleet and has nothing of it any more: its number is free."""
        ...

    def states(self) -> Mapping[str, tuple[str, dict[str, Any]]]:
        """Host to ETag and state, as they were kept last."""
        ...

    def keep_state(self, host: str, etag: str, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...
