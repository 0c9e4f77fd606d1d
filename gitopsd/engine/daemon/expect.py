"""Compare-and-set: a call says which generation of an object it has seen, and the change checks it, once, where it is made.

The expectation travels with the call's context, so that the check happens under the object's lock and not before it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Optional

from gitopsd.dockerapi.errors import ApiError

_EXPECTED: ContextVar[Optional[dict[str, int]]] = ContextVar("expected", default=None)


def expect(generations: dict[str, int]) -> None:
    """The generations that the current call has seen, by the ids of the objects."""
    _EXPECTED.set(dict(generations))


def check(identity: str, generation: int) -> None:
    """Raises ApiError 412 if the call expected another; the first change of an object in a call decides."""
    expected = (_EXPECTED.get() or {}).pop(identity, None)
    if expected is not None:
        compare(identity, expected, generation)


def compare(identity: str, expected: int, generation: int) -> None:
    """Raises ApiError 412 if they differ."""
    if expected != generation:
        message = f"{identity[:12]} has changed: it is at generation {generation}, the call expected {expected}"
        raise ApiError(412, message, "generation-changed", generation=generation)
