"""Health of a container from the results of its check.  [pure]

Docker's rules: unhealthy after `retries` failures in a row; within the start period failures do not count, and the first success ends
it. Five results are kept, each with its first 4,096 bytes of output.
"""

from __future__ import annotations

from typing import Any, Optional

Json = dict[str, Any]

_SECOND = 1_000_000_000
DEFAULTS = {"Interval": 30 * _SECOND, "Timeout": 30 * _SECOND, "StartPeriod": 0, "StartInterval": 5 * _SECOND, "Retries": 3}
KEPT, OUTPUT_LIMIT = 5, 4096


def effective(check: Optional[Json]) -> Optional[Json]:
    """The check with defaults filled in, times in nanoseconds; None when there is none."""
    if not check or not check.get("Test") or check["Test"][0] == "NONE":
        return None
    return {"Test": check["Test"], **{key: check.get(key) or default for key, default in DEFAULTS.items()}}


def initial() -> Json:
    return {"Status": "starting", "FailingStreak": 0, "Log": []}


def after(state: Json, result: Json, check: Json, in_start_period: bool) -> Json:
    """The state after one result (`Start`, `End`, `ExitCode`, `Output`)."""
    log = [*state["Log"], {**result, "Output": result["Output"][:OUTPUT_LIMIT]}][-KEPT:]
    if result["ExitCode"] == 0:
        return {"Status": "healthy", "FailingStreak": 0, "Log": log}
    if in_start_period and state["Status"] == "starting":
        return {"Status": "starting", "FailingStreak": 0, "Log": log}
    streak = state["FailingStreak"] + 1
    status = "unhealthy" if streak >= check["Retries"] else state["Status"]
    return {"Status": status, "FailingStreak": streak, "Log": log}


def pause_ns(state: Json, check: Json, in_start_period: bool) -> int:
    """How long to wait before the next check."""
    if in_start_period and state["Status"] == "starting":
        return min(check["StartInterval"], check["Interval"])
    return check["Interval"]


def command(check: Json) -> list[str]:
    kind, *arguments = check["Test"]
    return ["/bin/sh", "-c", " ".join(arguments)] if kind == "CMD-SHELL" else arguments
