"""Wait until a container is well, or say why it is not.

With a health check: until it is healthy. Without: until it has run for a while without ending. A job: until it has ended with 0.
Every wait has an end, and an error carries the exit code and the last lines of output, because that is what a person looks for next.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, cast

from gitopsd.hosts.engineapi import EngineApi
from gitopsd.model.desired import ContainerSpec
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.stack import Healthcheck

_SECOND = 1_000_000_000
_LOG_LINES = 15
_CRASHES = 3
"""A container that was started again so often within one wait will not get well by itself."""


@dataclass(frozen=True)
class Timing:
    """`settle_s`: how long one without a health check must run. Swarm watches for 5 s; most that fail do so in the first."""

    settle_s: float = 2.0
    job_s: float = 600.0
    margin_s: float = 30.0
    poll_s: float = 0.1


def wait_healthy(
    engine: EngineApi, container: str, spec: ContainerSpec, until: str, timing: Timing, ending: threading.Event
) -> None:
    """Raises GitopsdError `not-healthy` or `job-failed`; `interrupted` when it is to end and the container is not well yet."""
    started = time.monotonic()
    deadline = started + (timing.job_s if until == "completed" else _patience(spec.healthcheck, timing))
    restarts: int | None = None
    running_since: tuple[str, float] | None = None
    while True:
        shown = engine.container(container)
        state = cast("dict[str, Any]", shown["State"])
        count = int(shown.get("RestartCount") or 0)
        restarts = count if restarts is None else restarts
        why = _ended(state, until) if count - restarts < _CRASHES else f"started again {count - restarts} times"
        if why:
            raise _error(engine, container, spec, until, why, _last_check(state))
        now = time.monotonic()
        if until == "completed":
            if state["Status"] == "exited":
                return
        elif "Health" in state:
            if state["Health"]["Status"] == "healthy" and state["Status"] == "running":
                return
        elif state["Status"] == "running":
            if running_since is None or running_since[0] != state["StartedAt"]:
                running_since = (str(state["StartedAt"]), now)
            if now - running_since[1] >= timing.settle_s:
                return
        if now >= deadline:
            health = state.get("Health", {}).get("Status")
            status = f"{state['Status']}, {health}" if health else state["Status"]
            raise _error(engine, container, spec, until, f"still {status} after {now - started:.0f} s", _last_check(state))
        if ending.wait(min(timing.poll_s * (1 + (now - started)), 1.0)):
            raise GitopsdError(
                "interrupted", f"told to end after {now - started:.0f} s of waiting for it to be well", next="retry"
            )


def _patience(check: Healthcheck | None, timing: Timing) -> float:
    """Docker's defaults where the check says nothing: 30 s apart, 30 s each, 3 failures."""
    if check is None or check.test[:1] == ("NONE",):
        return timing.settle_s + timing.margin_s
    interval, each = check.interval_ns or 30 * _SECOND, check.timeout_ns or 30 * _SECOND
    return (check.start_period_ns + (interval + each) * (check.retries or 3)) / _SECOND + timing.margin_s


def _ended(state: dict[str, Any], until: str) -> str:
    status = state["Status"]
    if status == "exited" and not (until == "completed" and state["ExitCode"] == 0):
        oom = ", killed for want of memory" if state.get("OOMKilled") else ""
        reason = f": {state['Error']}" if state.get("Error") else ""
        return f"exited with code {state['ExitCode']}{oom}{reason}"
    if status in ("dead", "removing"):
        return f"is {status}"
    return "unhealthy" if state.get("Health", {}).get("Status") == "unhealthy" else ""


def _error(engine: EngineApi, container: str, spec: ContainerSpec, until: str, why: str, check: str) -> GitopsdError:
    code = "job-failed" if until == "completed" else "not-healthy"
    where = Where(host=engine.host, object=f"container {spec.name}")
    return GitopsdError(code, why, where, "\n    ".join([*([check] if check else []), _last_lines(engine, container)]))


def _last_check(state: dict[str, Any]) -> str:
    """What the last health check said."""
    checks = cast("list[dict[str, Any]]", state.get("Health", {}).get("Log") or [])
    if not checks:
        return ""
    said = " ".join(str(checks[-1].get("Output") or "").split())
    return f"its last health check ended with {checks[-1].get('ExitCode')}" + (f": {said[:300]}" if said else "")


def _last_lines(engine: EngineApi, container: str) -> str:
    try:
        output = b"".join(data for _, data in engine.logs(container, tail=_LOG_LINES))
    except GitopsdError as error:
        return f"its output could not be read: {error.message}"
    lines = output.decode(errors="replace").splitlines()[-_LOG_LINES:]
    return "\n    ".join(["its last output:", *lines]) if lines else "it wrote nothing"
