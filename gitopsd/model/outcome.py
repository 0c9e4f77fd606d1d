"""What a sync did.  [pure]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gitopsd.model.plan import Plan

Result = Literal["succeeded", "failed", "skipped"]


@dataclass(frozen=True)
class Images:
    """What came of a plan's builds."""

    built: tuple[tuple[str, str], ...] = ()
    """Image key to manifest digest."""
    failed: tuple[tuple[str, str], ...] = ()
    """Image key to what went wrong."""

    def digest(self, key: str | None) -> str | None:
        return next((digest for built, digest in self.built if built == key), None)

    def failure(self, key: str | None) -> str | None:
        return next((why for failed, why in self.failed if failed == key), None)


@dataclass(frozen=True)
class StepOutcome:
    number: int
    result: Result
    seconds: float
    error: str | None = None
    made: str | None = None
    """The id of what the step created, or the digest of what it built."""


@dataclass(frozen=True)
class Outcome:
    """`result` is `partial` when a stack or host failed and others went on."""

    plan: Plan
    steps: tuple[StepOutcome, ...]
    result: Literal["nothing", "succeeded", "partial", "failed"]
    started_at: str
    seconds: float
