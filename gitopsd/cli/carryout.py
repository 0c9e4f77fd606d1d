"""How commands carry out a plan: by the `serve` that runs, or themselves under the lock."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from gitopsd.cli.options import print_json, say

if TYPE_CHECKING:
    from gitopsd.apply import Watch
    from gitopsd.control.sync import Synced
    from gitopsd.model.outcome import StepOutcome
    from gitopsd.model.plan import Step
    from gitopsd.model.revision import Revision


def by_serve(socket: Any, request: dict[str, Any], is_json: bool) -> bool:
    """Whether a `serve` runs, has done it, and said so. Ends the command with 1 if it went wrong."""
    from gitopsd.control.serving import ask

    answers = ask(socket, request)
    if answers is None:
        return False
    for message in answers:
        if "line" in message:
            if not is_json:
                say(message["line"])
        elif "error" in message:
            say(message["error"], err=True)
            sys.exit(1)
        else:
            _end(message["sync"], is_json)
    return True


def finish(synced: Synced, is_json: bool, stacks: Collection[str] | None = None) -> None:
    """Say how it went. `stacks`: those that were asked for, None: all."""
    from gitopsd.control.loop import result_of
    from gitopsd.report import render_outcome

    if not is_json and synced.outcome.result != "nothing":
        say(render_outcome(synced.outcome), nl=False)
    _end(result_of(synced, stacks), is_json)


def _end(done: dict[str, Any], is_json: bool) -> NoReturn:
    """The last words, the same whoever did it, and the exit code."""
    from gitopsd.plan import held_words

    if is_json:
        print_json(done)
    else:
        held = held_words(len(done["blocked"]), len(done["unknown"]))
        if done["result"] == "nothing":
            say(f"nothing can be done now: {held}" if held else "nothing to do")
        print_held(done["blocked"], done["unknown"])
    sys.exit(done["exit"])


def print_frozen(revision: Revision, error: str) -> None:
    """That what was shown is not what Git says now, if so, and why."""
    if error:
        say(f"{error}\nThe fleet is held at what was applied last, {revision.short}: this is how it is against that.", err=True)


def print_held(blocked: Iterable[Sequence[str]], unknown: Iterable[Sequence[str]]) -> None:
    """Stacks that are held back and hosts that are not known, with all that is said of them, on standard error."""
    for stack, why in blocked:
        say(f"blocked  stack {stack}: " + why.replace("\n", "\n  "), err=True)
    for host, why in unknown:
        word = "stopped" if why.startswith("host-key-") else "unknown"
        say(f"{word}  host {host}: " + why.replace("\n", "\n  "), err=True)


def watch(is_json: bool) -> Watch:
    """A line for each step that matters, on standard error."""
    from gitopsd.apply import Watch
    from gitopsd.report import step_words

    if is_json:
        return Watch()

    def progress(step: Step, clause: str) -> None:
        say(f"  {step.host or 'builder'}  {step.object}: {clause}", err=True)

    def ended(step: Step, outcome: StepOutcome) -> None:
        if outcome.result == "skipped":
            return
        colour = None if outcome.result == "succeeded" else "red"
        result = "" if outcome.result == "succeeded" else f"{outcome.result}, "
        line = f"  {step.host or 'builder'}  {step_words(step)}  ({result}{outcome.seconds:.1f} s)"
        say(line, fg=colour, err=True)

    return Watch(progress=progress, ended=ended)
