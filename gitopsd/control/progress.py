"""What is being done, in lines as it is done: for the terminal, the log of `serve`, and whoever asked it.

In: steps and builds as they begin, speak and end.  Out: a line for each, `<host>  <what>`, with the time that it really took. What lasts
longer says so now and then, so that nobody takes a wait for a hang. Plain lines everywhere: a log reads as the terminal did.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal, Self

from gitopsd.apply import Watch
from gitopsd.build import BuildWatch
from gitopsd.model.desired import BuildWant
from gitopsd.model.outcome import StepOutcome
from gitopsd.model.plan import Step
from gitopsd.report import step_words

Kind = Literal["begin", "line", "goes on", "end", "failed"]
_FIRST_S, _MOST_S = 5.0, 30.0
"""Said first after so long, then after twice that, at least every half a minute."""


class Progress:
    """A context: leaving it ends the lines of what goes on."""

    def __init__(self, say: Callable[[str, Kind], None], first_s: float = _FIRST_S) -> None:
        self._say = say
        self._first_s = first_s
        self._lock = threading.Lock()
        self._running: dict[str, tuple[float, float]] = {}
        """What is being done: since when, and when to speak of it next."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def watch(self) -> Watch:
        return Watch(self._step_started, lambda step, clause: self._say(f"{_step(step)}: {clause}", "line"), self._step_ended)

    def builds(self) -> BuildWatch:
        return BuildWatch(
            lambda want: self._begin(_build(want)),
            lambda want, line: self._say(f"builder  {want.stack}/{want.service} | {line}", "line"),
            lambda want, seconds, is_well: self._end(_build(want), seconds, is_well),
        )

    def _step_started(self, step: Step) -> None:
        if step.operation != "build":  # its build has said so
            self._begin(_step(step))

    def _step_ended(self, step: Step, outcome: StepOutcome) -> None:
        if step.operation != "build" and outcome.result != "skipped":
            self._end(_step(step), outcome.seconds, outcome.result == "succeeded")

    def _begin(self, what: str) -> None:
        now_s = time.monotonic()
        with self._lock:
            self._running[what] = (now_s, now_s + self._first_s)
        self._say(what, "begin")

    def _end(self, what: str, seconds: float, is_well: bool) -> None:
        with self._lock:
            self._running.pop(what, None)
        self._say(f"{what}: {'done' if is_well else 'failed'} ({seconds:.1f} s)", "end" if is_well else "failed")

    def _go_on(self) -> None:
        while not self._over.wait(self._first_s / 10):
            now_s = time.monotonic()
            with self._lock:
                due = [(what, since) for what, (since, speak) in self._running.items() if now_s >= speak]
                for what, since in due:
                    self._running[what] = (since, now_s + min(now_s - since, _MOST_S))
            for what, since in due:
                self._say(f"{what}: goes on, {now_s - since:.0f} s so far", "goes on")


def _step(step: Step) -> str:
    return f"{step.host or 'builder'}  {step_words(step)}"


def _build(want: BuildWant) -> str:
    return f"builder  build image {want.stack}/{want.service}"
