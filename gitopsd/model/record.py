"""What the controller remembers from one sync to the next.  [pure]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gitopsd.model.outcome import StepOutcome
from gitopsd.model.plan import Plan
from gitopsd.model.revision import RevisionName

SyncResult = Literal["running", "nothing", "succeeded", "partial", "failed", "interrupted"]
"""`interrupted`: the controller was told to end in it, or died."""


@dataclass(frozen=True)
class SyncRecord:
    """One sync: what was planned, and what became of each step."""

    number: int
    plan: Plan
    started_at: str
    seconds: float
    result: SyncResult
    steps: tuple[StepOutcome, ...] = ()


@dataclass(frozen=True)
class Applied:
    """The revision that a stack is at."""

    stack: str
    revision: RevisionName
    at: str


@dataclass(frozen=True)
class BadRevision:
    """A commit at which a stack could not be brought up: it is not tried again by itself."""

    stack: str
    commit: str
    why: str
    at: str
