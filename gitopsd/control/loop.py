"""`serve`: the river closed into a loop.

It wakes when the repository may have moved, when it is time to look for drift, and when a command asks for something. Each time it looks,
says what it sees in a few lines, and does what the fleet file lets it do by itself.

Rule 1: whatever goes wrong in a pass is said, and the next pass comes. Nothing here ends the loop but being told to.
Rule 2: while the repository or its fleet file cannot be read, the last revision that could stays in force, and its drift is healed.
Rule 3: the same thing is said once, not at every pass.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from gitopsd.apply import Timing, Watch
from gitopsd.apply.run import DEFAULT_TIMING
from gitopsd.control.choose import by_stack, choose, is_drift
from gitopsd.control.guard import LoopGuard
from gitopsd.control.progress import Progress
from gitopsd.control.revisions import find_revision
from gitopsd.control.saved import check_saved
from gitopsd.control.serving import Asked, Requests
from gitopsd.control.sync import Synced, View, look, sync
from gitopsd.control.wiring import Wiring
from gitopsd.model.codec import to_json
from gitopsd.model.desired import Pins
from gitopsd.model.errors import Errors, GitopsdError
from gitopsd.model.exits import blocked_of, exit_of_sync
from gitopsd.model.fleet import Fleet
from gitopsd.model.outcome import StepOutcome
from gitopsd.model.plan import Plan, Step
from gitopsd.model.revision import Revision
from gitopsd.plan import brief, from_document, only, summary
from gitopsd.report import step_words
from gitopsd.source import Watcher

_PINS_HOLD_S = 300.0
_RETRY_S = (2.0, 5.0, 15.0, 60.0)


class Serve:
    def __init__(
        self, work: Wiring, log: Any, poll_s: float | None = None, drift_s: float | None = None, timing: Timing = DEFAULT_TIMING
    ) -> None:
        """`poll_s`, `drift_s`: instead of what the fleet file says."""
        self._work = work
        self._log = log
        self._poll_s = poll_s
        self._drift_s = drift_s
        self._timing = timing
        self._woken = threading.Event()
        self._ending = threading.Event()
        self._may_have_moved = True
        self._last: Revision | None = None
        self._pins: tuple[str, float, Pins] | None = None
        self._quiet: tuple[str, tuple[tuple[str, str], ...]] | None = None
        """The commit and the states at which there was nothing to do."""
        self._said: dict[str, str] = {}
        self._guard = LoopGuard()
        self._failures = 0
        self.was_interrupted = False
        """Told to end in the middle of a plan."""

    def end(self) -> None:
        """From any thread, or a signal."""
        self._ending.set()
        self._woken.set()

    def wake(self) -> None:
        """The repository may have moved."""
        self._may_have_moved = True
        self._woken.set()

    def run(self) -> None:
        """Until told to end. The caller holds the lock of the state folder.

        Raises at once what nobody can wait for: a folder that is no repository, and that nothing was ever fetched from.
        """
        self._check_repository()
        requests = Requests(self._work.settings.socket, self._woken.set)
        self._log.info(f"watching {self._work.repository.address.text} at {self._work.settings.reference}")
        interval = self._poll_s or 30.0
        watcher = Watcher(self._work.repository, self.wake, interval)
        try:
            while not self._ending.is_set():
                self._woken.clear()
                while not requests.waiting.empty():
                    self._answer(requests.waiting.get())
                self._pass()
                wanted = self._poll_s or (self._fleet().poll_s if self._last else interval)
                if wanted != interval:
                    watcher.close()
                    interval, watcher = wanted, Watcher(self._work.repository, self.wake, wanted)
                if requests.waiting.empty():
                    self._woken.wait(self._pause())
        finally:
            watcher.close()
            requests.close()
        self._log.info("ended")

    def _check_repository(self) -> None:
        repository = self._work.repository
        if repository.address.kind == "local" and not repository.references():
            repository.fetch()

    def _pause(self) -> float:
        usual = self._drift_s or (self._fleet().drift_s if self._last else 60.0)
        return min(usual, _RETRY_S[min(self._failures, len(_RETRY_S)) - 1]) if self._failures else usual

    def _fleet(self) -> Fleet:
        assert self._last is not None
        return self._work.renderer.render(self._last).fleet

    def _pass(self) -> None:
        try:
            revision = self._revision()
            if revision is None:
                return
            view = self._look(revision, is_retry=False)
            state = (revision.commit, view.plan.etags)
            if self._quiet == state and not view.plan.unknown:
                return
            self._act(view)
        except (GitopsdError, Errors) as error:
            self._failures += 1
            self._say("pass", str(error), "error")
        except Exception:  # noqa: BLE001  a bug in one pass must not leave the hosts unwatched
            self._failures += 1
            self._say("pass", f"internal error\n{traceback.format_exc()}", "error")
        else:
            self._said.pop("pass", None)

    def _revision(self) -> Revision | None:
        """The revision to work on: the newest that can be read."""
        if self._may_have_moved:
            self._may_have_moved = False
            try:
                self._work.repository.fetch()
                self._said.pop("source", None)
            except GitopsdError as error:
                self._say("source", str(error), "warning")
                if self._last is None:  # there is nothing else to do, so try again soon
                    self._may_have_moved = True
                    self._failures += 1
        try:
            revision = self._work.repository.revision(self._work.settings.reference)
            self._work.renderer.render(revision)
        except Errors as error:
            self._say("fleet", f"{error}\nthe fleet stays as it is", "error")
            return self._last
        except GitopsdError as error:
            self._say("fleet", str(error), "error")
            return self._last
        self._said.pop("fleet", None)
        if self._last is None or self._last.commit != revision.commit:
            self._log.info(f'{revision.short} "{revision.subject}" by {revision.author}')
            self._guard.forget()
        self._last = revision
        return revision

    def _look(self, revision: Revision, is_retry: bool) -> View:
        now_s = time.monotonic()
        known = self._pins
        is_fresh = known is not None and known[0] == revision.commit and now_s - known[1] < _PINS_HOLD_S
        view = look(
            self._work,
            revision,
            known[2] if known else None,
            bring=True,
            is_retry=is_retry,
            pins=known[2] if known and is_fresh and not is_retry else None,
        )
        if not is_fresh or is_retry:
            self._pins = (revision.commit, now_s, view.pins)
        for brought in view.brought:
            if brought.error is not None:
                self._say(f"bring {brought.host}", str(brought.error), "warning")
            elif brought.done:
                self._log.info(f"host {brought.host}: {', '.join(brought.done)}")
        return view

    def _act(self, view: View) -> None:
        if self._ending.is_set():
            return
        plan = view.plan
        chosen, why = choose(plan, view.rendered.fleet)
        now_s = time.monotonic()
        for stack, changes in by_stack(plan).items():
            fight = self._guard.fights(changes, now_s) if stack in chosen and is_drift(changes) else None
            if fight is not None:
                chosen.discard(stack)
                host, name, field = fight
                why[stack] = f"{field} of {name} on {host} comes back each time it is healed; something else sets it"
        for host, sentence in view.left.items():
            self._say(f"gone {host}", sentence, "warning")
        self._describe(plan, why)
        if plan.refused:
            chosen.clear()
        synced = self._carry_out(view, chosen, ())
        if synced.outcome.result == "nothing":
            self._quiet = (view.revision.commit, plan.etags) if not chosen else None
            self._failures = 0
            return
        healed = [change for change in synced.plan.changes if change.cause == "drift"]
        self._guard.healed(healed, now_s)
        if synced.outcome.result == "succeeded":
            self._failures = 0
            self._woken.set()  # see at once whether that was all
        else:
            self._failures += 1

    def _describe(self, plan: Plan, why: dict[str, str]) -> None:
        """What is seen, once."""
        for host, error in plan.unknown:
            self._say(f"host {host}", f"host {host} is Unknown: {error}", "warning")
        for known in [key for key in self._said if key.startswith("host ") and key[5:] not in dict(plan.unknown)]:
            del self._said[known]
            self._log.info(f"{known} answers again")
        for stack, reason in plan.blocked:
            self._say(f"blocked {stack}", f"stack {stack} stays as it is: {reason}", "warning")
        for known in [key for key in self._said if key.startswith("blocked ") and key[8:] not in dict(plan.blocked)]:
            del self._said[known]
        for code, sentence in plan.refused:
            self._say(f"refused {code}", f"plan {plan.id} is refused: {code}: {sentence}", "error")
        for stack, reason in why.items():
            part = only(plan, {stack})
            self._say(f"left {stack}", f"stack {stack} is left: {reason}\n" + "\n".join(brief(part)), "warning")
        for known in [key for key in self._said if key.startswith("left ") and key[5:] not in why]:
            del self._said[known]

    def _carry_out(self, view: View, stacks: Collection[str] | None, allow: Collection[str], told: Any = None) -> Synced:
        part = view.plan if stacks is None else only(view.plan, stacks)
        say = _Teller(self._log, told)
        if not part.is_empty:
            say.info(f"plan {part.id}: {summary(part)}", lines=brief(part))
        with Progress(lambda line, _: say.detail(line)) as progress:
            watch, builds = progress.watch(), progress.builds()
            synced = sync(self._work, view, stacks, allow, say.watch(watch), self._timing, builds=builds, ending=self._ending)
        outcome = synced.outcome
        if outcome.result == "succeeded":
            say.info(f"plan {part.id} succeeded in {outcome.seconds:.1f} s")
        elif outcome.result != "nothing":
            self.was_interrupted |= outcome.result == "interrupted"
            say.error(f"plan {part.id} {outcome.result} after {outcome.seconds:.1f} s", outcome.left)
        return synced

    def _answer(self, asked: Asked) -> None:
        """A command asks: what a person wants is tried whatever failed before."""
        try:
            self._guard.forget()
            self._work.forget_silence()
            self._may_have_moved = True
            if asked.request.get("do") == "apply":
                saved = from_document(asked.request.get("plan"))
                revision = self._work.repository.revision(
                    saved.revision.commit if saved.revision else self._work.settings.reference
                )
                view = check_saved(self._look(revision, is_retry=True), saved)
                synced = self._carry_out(view, None, asked.request.get("allow") or (), asked.say)
            else:
                # what cannot be read is told to whoever asked, as without a serve; the loop goes on with what it could read last
                revision = find_revision(self._work)
                view = self._look(revision, is_retry=True)
                synced = self._carry_out(view, asked.request.get("stacks"), asked.request.get("allow") or (), asked.say)
            self._quiet = None
            asked.end({"result": synced.outcome.result, "sync": result_of(synced, asked.request.get("stacks"))})
        except (GitopsdError, Errors) as error:
            asked.end({"error": str(error)})
        except Exception:  # noqa: BLE001  whoever asked must hear of it, and the loop goes on
            self._say("pass", f"internal error\n{traceback.format_exc()}", "error")
            asked.end({"error": "internal error: see the log of gitopsd serve"})

    def _say(self, about: str, text: str, level: str) -> None:
        """Say it, unless it is what was said about this last."""
        if self._said.get(about) == text:
            return
        self._said[about] = text
        first, *rest = text.splitlines()
        first = first.removeprefix("error: ")  # the level says so
        getattr(self._log, level)(first, lines=rest)


def result_of(synced: Synced, stacks: Collection[str] | None = None) -> dict[str, Any]:
    """An outcome for `--json`, with what was held back of the `stacks` that were asked for (None: all)."""
    blocked = blocked_of(synced.view.plan, stacks)
    unknown = [(host.host, host.error) for host in synced.view.observed.hosts if host.error is not None]
    return {
        "version": 1,
        "plan": synced.plan.id,
        "result": synced.outcome.result,
        "seconds": round(synced.outcome.seconds, 3),
        "exit": exit_of_sync(synced.outcome.result, blocked, unknown),
        "blocked": [list(pair) for pair in blocked],
        "unknown": [list(pair) for pair in unknown],
        "steps": to_json(synced.outcome.steps),
        "left": list(synced.outcome.left),
        "status": to_json(synced.status),
    }


class _Teller:
    """Says things to the log, and to whoever asked."""

    def __init__(self, log: Any, told: Any) -> None:
        self._log = log
        self._told = told

    def info(self, text: str, lines: Collection[str] = ()) -> None:
        self._log.info(text, lines=tuple(lines))
        self._tell(text, lines)

    def error(self, text: str, lines: Collection[str] = ()) -> None:
        self._log.error(text, lines=tuple(lines))
        self._tell(text, lines)

    def detail(self, text: str) -> None:
        self._log.info(text)
        self._tell(text, ())

    def watch(self, lines: Watch) -> Watch:
        """`lines`, and each error whole."""

        def ended(step: Step, outcome: StepOutcome) -> None:
            lines.ended(step, outcome)
            if outcome.result == "failed":
                first, *rest = (outcome.error or "").splitlines()
                self.error(f"{step.host or 'builder'}  {step_words(step)}: {first.removeprefix('error: ')}", rest)

        return replace(lines, ended=ended)

    def _tell(self, text: str, lines: Collection[str]) -> None:
        if self._told is not None:
            for line in (text, *(f"  {line}" for line in lines)):
                self._told({"line": line})
