"""Stop healing what somebody keeps changing back.  [pure but for its memory]

In: each drift that is healed, with the time.  Out: whether it may be healed once more. The same drift three times in ten minutes means that
something else wants it otherwise, and healing it for ever would only hide that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from gitopsd.model.plan import Change

MOST = 3
WITHIN_S = 600.0

Drift = tuple[str, str, str]
"""Host, object, field."""


def drifts_of(change: Change) -> tuple[Drift, ...]:
    named = tuple((change.host, change.name, item.path) for item in change.fields if item.cause == "drift")
    return named or ((change.host, change.name, change.reason.split(" (", 1)[0]),)


class LoopGuard:
    def __init__(self) -> None:
        self._healed: dict[Drift, deque[float]] = {}

    def fights(self, changes: Iterable[Change], now_s: float) -> Drift | None:
        """The first drift of these that was healed too often of late."""
        for change in changes:
            for drift in drifts_of(change):
                times = self._healed.get(drift, deque())
                while times and now_s - times[0] > WITHIN_S:
                    times.popleft()
                if len(times) >= MOST:
                    return drift
        return None

    def healed(self, changes: Iterable[Change], now_s: float) -> None:
        for change in changes:
            for drift in drifts_of(change):
                self._healed.setdefault(drift, deque(maxlen=MOST)).append(now_s)

    def forget(self) -> None:
        """A person, or a new commit, has looked at it."""
        self._healed.clear()
