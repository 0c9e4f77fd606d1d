"""Runs the health checks of running containers; what their results mean is in health.py."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Callable

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json
from gitopsd.engine.daemon import health
from gitopsd.engine.daemon.container import Container
from gitopsd.engine.daemon.execs import Execs
from gitopsd.engine.daemon.times import rfc3339

_log = logging.getLogger(__name__)

_EXEC_FAILED = 126


class HealthChecks:
    """One task for each running container that has a check. `changed(container)` is called when a result made a difference."""

    def __init__(self, execs: Execs, changed: Callable[[Container], None]) -> None:
        self._execs, self._changed = execs, changed
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, container: Container) -> None:
        """Begin checking; goes on with the health that a container of an earlier daemon had."""
        check = health.effective(container.config["Healthcheck"])
        if check is None:
            container.health = None
            return
        container.health = container.health or health.initial()
        self._tasks[container.id] = asyncio.ensure_future(self._check(container, check))

    def stop(self, container: Container) -> None:
        task = self._tasks.pop(container.id, None)
        if task is not None:
            task.cancel()
        if container.health is not None:
            container.health = (
                {**container.health, "Status": "unhealthy"} if container.health["Status"] == "starting" else container.health
            )

    async def _check(self, container: Container, check: Json) -> None:
        start_period_ends = container.started + check["StartPeriod"]
        state = container.health or health.initial()
        while True:
            await asyncio.sleep(health.pause_ns(state, check, time.time_ns() < start_period_ends) / 1e9)
            result = await self._run(container, check)
            if not container.is_running:
                return
            before = (state["Status"], state["FailingStreak"])
            container.health = state = health.after(state, result, check, time.time_ns() < start_period_ends)
            if before != (state["Status"], state["FailingStreak"]):
                self._changed(container)

    async def _run(self, container: Container, check: Json) -> Json:
        timeout_s = check["Timeout"] / 1e9
        start = time.time_ns()
        try:
            code, output = await self._execs.run(container, health.command(check), timeout_s, health.OUTPUT_LIMIT)
            text = output.decode("utf-8", "replace")
        except asyncio.TimeoutError:
            code, text = -1, f"Health check exceeded timeout ({timeout_s:g}s)"
        except ApiError as error:
            code, text = _EXEC_FAILED, error.message
        except Exception as error:  # noqa: BLE001  checking goes on, whatever it was
            _log.exception("health check of container %s", container.name)
            code, text = _EXEC_FAILED, f"{type(error).__name__}: {error}"
        return {"Start": rfc3339(start), "End": rfc3339(time.time_ns()), "ExitCode": code, "Output": text}
