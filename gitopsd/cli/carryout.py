"""How commands carry out a plan: by the `serve` that runs, or themselves under the lock."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from gitopsd.cli.options import print_errors, print_json, say
from gitopsd.model.words import unknown_word

if TYPE_CHECKING:
    from gitopsd.cli.interrupt import Interrupts
    from gitopsd.control.progress import Kind
    from gitopsd.control.sync import Synced, View
    from gitopsd.control.wiring import Wiring
    from gitopsd.model.revision import Revision


def by_serve(socket: Any, request: dict[str, Any], is_json: bool, interrupts: Interrupts) -> bool:
    """Whether a `serve` runs, has done it, and said so. Ends the command with 1 if it went wrong."""
    from gitopsd.control.serving import ask

    answers = ask(socket, request)
    if answers is None:
        return False
    interrupts.before = "gitopsd serve goes on with it; how it ends: gitopsd history"
    for message in answers:
        if "line" in message:
            if not is_json:
                say(message["line"])
        elif "error" in message:
            if is_json:
                print_errors([message["error"]])
            say(message["error"], err=True)
            sys.exit(1)
        else:
            _end(message["sync"], is_json)
    return True


def carry_out(
    work: Wiring,
    view: View,
    is_json: bool,
    interrupts: Interrupts,
    stacks: Collection[str] | None = None,
    allow: Collection[str] = (),
) -> NoReturn:
    """Do it, with a line for the begin and the end of each step on standard error, and end the command."""
    from gitopsd.control.progress import Progress
    from gitopsd.control.sync import sync

    def tell(line: str, kind: Kind) -> None:
        if not is_json:
            say(f"  {line}", fg="red" if kind == "failed" else None, dim=kind in ("begin", "line", "goes on"), err=True)

    with Progress(tell) as progress:
        watch, builds = progress.watch(), progress.builds()
        synced = sync(work, view, stacks, allow, watch, builds=builds, ending=interrupts.changing())
    finish(synced, is_json, interrupts, stacks)


def finish(synced: Synced, is_json: bool, interrupts: Interrupts, stacks: Collection[str] | None = None) -> NoReturn:
    """Say how it went, and end as one that was told to end if it was. `stacks`: those that were asked for, None: all."""
    from gitopsd.control.loop import result_of
    from gitopsd.report import render_outcome

    if not is_json and synced.outcome.result != "nothing":
        say(render_outcome(synced.outcome), nl=False)
    done = result_of(synced, stacks)
    _end({**done, "exit": interrupts.exit_code} if synced.outcome.result == "interrupted" else done, is_json)


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
        say(f"{unknown_word(why)}  host {host}: " + why.replace("\n", "\n  "), err=True)
