"""Carry out a plan.

In: a plan, a client for each host, where images are.  Out: an `Outcome` with what became of each step.

Rule 1: a step starts when all that it names in `after` have succeeded; what waits for one that failed is skipped.
Rule 2: a stack's images are on all hosts, or have failed to get there, before anything of it changes.
Rule 3: what a host or a stack cannot do does not hold up another.
Rule 4: an object that is not as the plan saw it ends the stack's part of the plan (`plan-stale`): the next sync plans anew, nothing is widened.
Rule 5: a replacement that does not go on, on whichever host it had begun, goes and what ran before goes on (undo.py).
Rule 6: when told to end, no step is begun but those that finish a replacement which has taken over; what was begun ends as in rule 5.

A controller that is killed here leaves only what a plan can read: names, labels, `replaces`. Nothing of this is kept in memory alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from gitopsd.apply.calls import Calls, Made
from gitopsd.apply.explain import explain
from gitopsd.apply.gate import Timing
from gitopsd.apply.images import ImageSource
from gitopsd.apply.leases import Leases
from gitopsd.apply.undo import Place, half_done, has_taken_over, result_of, undo
from gitopsd.hosts.engineapi import EngineApi
from gitopsd.hosts.enginehttp import EngineError
from gitopsd.model.errors import GitopsdError
from gitopsd.model.outcome import Images, Outcome, StepOutcome
from gitopsd.model.plan import Plan, Step

PREPARES = ("build", "send_image")
_LOST = ("engine-interrupted", "engine-timeout", "engine-unreachable", "lease-lost", "host-unreachable", "host-timeout")
"""The engine or the way to it went away: whether the call was carried out, nobody knows, so it is made again."""
_ATTEMPTS = 4
_BACK_WITHIN_S = 20.0

DEFAULT_TIMING = Timing()


@dataclass(frozen=True)
class Watch:
    """Told about each step as it goes; for the journal, the log and the terminal."""

    started: Callable[[Step], None] = lambda step: None
    progress: Callable[[Step, str], None] = lambda step, clause: None
    ended: Callable[[Step, StepOutcome], None] = lambda step, outcome: None


QUIET = Watch()


def apply(
    plan: Plan,
    engines: Callable[[str], EngineApi],
    source: ImageSource,
    images: Images,
    holder: str,
    started_at: str,
    watch: Watch = QUIET,
    timing: Timing = DEFAULT_TIMING,
    workers: int = 16,
    ending: threading.Event | None = None,
) -> Outcome:
    """`images`: what `build` made; `source`: where all images are; `holder`: who holds the leases, for people. `ending`: set when it is to
    end early."""
    begun = time.monotonic()
    calls = Calls(plan.fleet, source, images, Made(), timing, ending or threading.Event())
    run = _Run(plan, engines, calls, Leases(holder), watch)
    try:
        run.all(workers)
    finally:
        run.leases.close()
    outcomes = tuple(run.outcomes[step.number] for step in plan.steps)
    result = result_of(plan, outcomes)
    if calls.ending.is_set() and result != "succeeded":
        result = "interrupted"
    left = () if result == "succeeded" else half_done(plan, run.outcomes, run.taken_back)
    return Outcome(plan, outcomes, result, started_at, time.monotonic() - begun, left)


class _Run:
    def __init__(
        self,
        plan: Plan,
        engines: Callable[[str], EngineApi],
        calls: Calls,
        leases: Leases,
        watch: Watch,
    ) -> None:
        self.plan = plan
        self.engines = engines
        self.calls = calls
        self.leases = leases
        self.watch = watch
        self.outcomes: dict[int, StepOutcome] = {}
        self.stale: dict[str, str] = {}
        """Stacks whose part of the plan has ended, and why."""
        self.taken_back: dict[Place, str | None] = {}
        """Objects whose replacement was undone; with what stood in the way, if something did."""
        self._lock = threading.Lock()

    def all(self, workers: int) -> None:
        left = {step.number: step for step in self.plan.steps}
        running: dict[Future[StepOutcome], Step] = {}
        with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="apply") as pool:
            while left or running:
                for step in self._ready(left, running):
                    del left[step.number]
                    running[pool.submit(self._step, step)] = step
                if not running:
                    continue  # only skipped ones were ready, and they made others so
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    step = running.pop(future)
                    self._end(step, future.result())
            begun = {(step.host, step.object): step for step in self.plan.steps if self._is_begun(step)}
            for _ in pool.map(self._undo, begun.values()):
                pass

    def _ready(self, left: dict[int, Step], running: Mapping[Future[StepOutcome], Step]) -> list[Step]:
        preparing = {step.stack for step in (*left.values(), *running.values()) if step.operation in PREPARES}
        found: list[Step] = []
        busy = {(step.host, step.object) for step in running.values()}
        for step in list(left.values()):
            blocker = next((number for number in step.after if self._has_failed(number)), None)
            if step.stack in self.stale or blocker is not None:
                del left[step.number]
                why = self.stale.get(step.stack) or f"step {blocker} did not succeed"
                self._end(step, StepOutcome(step.number, "skipped", 0.0, why))
                continue
            place = (step.host, step.object)
            if self.calls.ending.is_set() and place not in busy and not has_taken_over(self.plan, place, self._done()):
                del left[step.number]
                self._end(step, StepOutcome(step.number, "skipped", 0.0, "interrupted"))
                continue
            may_change = step.operation in PREPARES or step.stack not in preparing
            if may_change and all(number in self.outcomes for number in step.after):
                found.append(step)
        return found

    def _has_failed(self, number: int) -> bool:
        outcome = self.outcomes.get(number)
        return outcome is not None and outcome.result != "succeeded"

    def _done(self) -> set[int]:
        with self._lock:
            return {number for number, outcome in self.outcomes.items() if outcome.result == "succeeded"}

    def _is_begun(self, step: Step) -> bool:
        return step.operation not in PREPARES and self.outcomes[step.number].result != "skipped"

    def _end(self, step: Step, outcome: StepOutcome) -> None:
        with self._lock:
            self.outcomes[step.number] = outcome
        self.watch.ended(step, outcome)

    def _step(self, step: Step) -> StepOutcome:
        begun = time.monotonic()
        self.watch.started(step)
        if step.operation == "build":
            return self._built(step)
        try:
            made = self._with_patience(step)
        except GitopsdError as said:
            is_gone = isinstance(said, EngineError) and (said.status == 404 or said.code == "no-such-network")
            error = explain(said, self.plan, step)
            if error.code == "generation-changed" or is_gone:
                message = f"plan-stale: {step.object} on {step.host} has changed since the plan was made"
                with self._lock:
                    self.stale[step.stack] = message
                return StepOutcome(step.number, "failed", time.monotonic() - begun, message, "retry")
            took = time.monotonic() - begun
            self._undo(step)
            return StepOutcome(step.number, "failed", took, str(error), error.next)
        return StepOutcome(step.number, "succeeded", time.monotonic() - begun, made=made)

    def _with_patience(self, step: Step) -> str | None:
        """Run the step; again when the engine went away in between and is back."""
        for attempt in range(_ATTEMPTS):
            try:
                return self._once(step, attempt > 0)
            except GitopsdError as error:
                if error.code not in _LOST or attempt == _ATTEMPTS - 1 or not self._is_back(step):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _once(self, step: Step, is_again: bool) -> str | None:
        def progress(clause: str) -> None:
            self.watch.progress(step, clause)

        engine = self.engines(step.host)
        lease = self.leases.get(engine, step.host, step.stack)
        return self.calls.run(step, engine, lease, is_again, progress)

    def _built(self, step: Step) -> StepOutcome:
        """`build/` has been there before: what became of it, and how long it took."""
        key, images = step.build.key if step.build else None, self.calls.images
        digest, failed = images.digest(key), images.failure(key)
        if digest is not None:
            return StepOutcome(step.number, "succeeded", images.seconds(key), made=digest)
        why, next_ = (failed.why, failed.next) if failed else ("it was not built", "retry")
        return StepOutcome(step.number, "failed", images.seconds(key), why, next_)

    def _is_back(self, step: Step) -> bool:
        """Wait for a host's engine to answer again."""
        deadline = time.monotonic() + _BACK_WITHIN_S
        while time.monotonic() < deadline and not self.calls.ending.is_set():
            try:
                self.engines(step.host).ping()
            except GitopsdError:
                time.sleep(0.3)
            else:
                return True
        return False

    def _undo(self, of: Step) -> None:
        """Take back what was begun of an object's replacement, once. What does not work is said, and left for the next plan."""
        place = (of.host, of.object)
        with self._lock:
            if place in self.taken_back:
                return
            ended = {number: outcome.result for number, outcome in self.outcomes.items()}
        with self.calls.made.lock:
            made = set(self.calls.made.ids)
        begun = {of.number, *(number for number, result in ended.items() if result != "skipped")}
        steps = undo(self.plan, place, begun, {number for number, result in ended.items() if result == "succeeded"}, made)
        troubles: list[str] = []
        for step in steps:
            self.watch.progress(of, f"taking back: {step.operation.replace('_', ' ')}")
            try:
                self._once(step, is_again=False)
            except GitopsdError as error:
                troubles.append(f"{step.operation.replace('_', ' ')}: {error.message}")
                self.watch.progress(of, f"could not be taken back: {troubles[-1]}")
        if steps:
            with self._lock:
                self.taken_back[place] = "; ".join(troubles) or None
