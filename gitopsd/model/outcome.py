"""What a sync did.  [pure]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gitopsd.model.errors import Next
from gitopsd.model.plan import Plan

Result = Literal["succeeded", "failed", "skipped"]


@dataclass(frozen=True)
class FailedBuild:
    key: str
    why: str
    next: Next
    """What the loop does about it: `errors.py`."""


@dataclass(frozen=True)
class Images:
    """What came of a plan's builds."""

    built: tuple[tuple[str, str], ...] = ()
    """Image key to manifest digest."""
    failed: tuple[FailedBuild, ...] = ()
    took: tuple[tuple[str, float], ...] = ()
    """Image key to seconds, of what was tried."""

    def seconds(self, key: str | None) -> float:
        return next((seconds for built, seconds in self.took if built == key), 0.0)

    def digest(self, key: str | None) -> str | None:
        return next((digest for built, digest in self.built if built == key), None)

    def failure(self, key: str | None) -> FailedBuild | None:
        return next((failed for failed in self.failed if failed.key == key), None)


@dataclass(frozen=True)
class StepOutcome:
    number: int
    result: Result
    seconds: float
    error: str | None = None
    next: Next | None = None
    """Of a failed step, what the loop does about it; a skipped one has none of its own."""
    made: str | None = None
    """The id of what the step created, or the digest of what it built."""


@dataclass(frozen=True)
class Outcome:
    """`result` is `partial` when a stack or host failed and others went on, `interrupted` when it was told to end."""

    plan: Plan
    steps: tuple[StepOutcome, ...]
    result: Literal["nothing", "succeeded", "partial", "failed", "interrupted"]
    started_at: str
    seconds: float
    left: tuple[str, ...] = ()
    """What was taken back and what is half done, of a run that did not succeed: a sentence an object."""
