"""Write down on the hosts what the store must not be alone to know: the revision that a stack is at, and bad ones.

The form is that of docs/engine-api.md, `intent`. Only this file writes it; `store/rebuild.py` reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gitopsd.hosts.engineapi import EngineApi
from gitopsd.hosts.enginehttp import EngineError
from gitopsd.model.codec import to_json
from gitopsd.model.record import Applied, BadRevision

_ATTEMPTS = 5


def write_applied(engine: EngineApi, applied: Applied) -> None:
    def change(stacks: dict[str, Any]) -> None:
        stacks.setdefault(applied.stack, {})["applied"] = {"revision": to_json(applied.revision), "at": applied.at}

    _change(engine, change)


def write_bad(engine: EngineApi, stack: str, bad: tuple[BadRevision, ...]) -> None:
    def change(stacks: dict[str, Any]) -> None:
        entry = stacks.setdefault(stack, {})
        entry["bad"] = [{"commit": item.commit, "why": item.why, "at": item.at} for item in bad]

    _change(engine, change)


def forget(engine: EngineApi, stack: str) -> None:
    _change(engine, lambda stacks: stacks.pop(stack, None))


def _change(engine: EngineApi, change: Callable[[dict[str, Any]], object]) -> None:
    """Compare and set, again when somebody else was quicker."""
    for attempt in range(_ATTEMPTS):
        etag, value = engine.intent()
        stacks: dict[str, Any] = value.setdefault("stacks", {})
        before = repr(stacks)
        change(stacks)
        if repr(stacks) == before:
            return
        value["version"] = 1
        try:
            engine.put_intent(value, etag)
        except EngineError as error:
            if error.code != "intent-changed" or attempt == _ATTEMPTS - 1:
                raise
        else:
            return
