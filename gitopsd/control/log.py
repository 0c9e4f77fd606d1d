"""What `serve` says while it works: lines for people, or JSON lines for programs."""

from __future__ import annotations

import json
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from gitopsd.model.visible import visible, visible_json


def make_log(as_json: bool = False) -> FilteringBoundLogger:
    """To standard output: a time, a sentence, and indented below it what belongs to it."""
    render: Any = _json if as_json else _plain
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stdout),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
    )


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return visible_json(json.dumps(event, ensure_ascii=False, default=repr))


def _plain(_: WrappedLogger, __: str, event: EventDict) -> str:
    level = {"warning": "warning: ", "error": "error: "}.get(str(event.get("level")), "")
    lines = event.get("lines") or ()
    first = f"{event['timestamp']}  {level}{event['event']}"
    return "\n".join([visible(first), *(f"            {visible(line)}" for line in lines)])
