"""How commands carry out a plan: by the `serve` that runs, or themselves under the lock."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from gitopsd.cli.options import print_json

if TYPE_CHECKING:
    from gitopsd.apply import Watch
    from gitopsd.control.sync import Synced
    from gitopsd.model.outcome import StepOutcome
    from gitopsd.model.plan import Step


def by_serve(socket: Any, request: dict[str, Any], is_json: bool) -> bool:
    """Whether a `serve` runs, has done it, and said so. Ends the command with 1 if it went wrong."""
    from gitopsd.control.serving import ask

    answers = ask(socket, request)
    if answers is None:
        return False
    for message in answers:
        if "line" in message:
            if not is_json:
                click.echo(message["line"])
        elif "error" in message:
            click.echo(message["error"], err=True)
            sys.exit(1)
        else:
            if is_json:
                print_json(message["sync"])
            elif message["result"] == "nothing":
                click.echo("nothing to do")
            sys.exit(0 if message["result"] in ("nothing", "succeeded") else 1)
    return True


def finish(synced: Synced, is_json: bool) -> None:
    """Say how it went, and end with 0 or 1."""
    from gitopsd.control.loop import result_of
    from gitopsd.report import render_outcome

    if is_json:
        print_json(result_of(synced))
    else:
        click.echo(render_outcome(synced.outcome), nl=False)
        for stack, why in synced.plan.blocked:
            click.echo(f"blocked  stack {stack}: {' '.join(why.split())}", err=True)
        for host, why in synced.plan.unknown:
            click.echo(f"unknown  host {host}: {why}", err=True)
    sys.exit(0 if synced.outcome.result in ("nothing", "succeeded") else 1)


def watch(is_json: bool) -> Watch:
    """A line for each step that matters, on standard error."""
    from gitopsd.apply import Watch
    from gitopsd.report import step_words

    if is_json:
        return Watch()

    def progress(step: Step, clause: str) -> None:
        click.echo(f"  {step.host or 'builder'}  {step.object}: {clause}", err=True)

    def ended(step: Step, outcome: StepOutcome) -> None:
        if outcome.result == "skipped":
            return
        colour = None if outcome.result == "succeeded" else "red"
        result = "" if outcome.result == "succeeded" else f"{outcome.result}, "
        line = f"  {step.host or 'builder'}  {step_words(step)}  ({result}{outcome.seconds:.1f} s)"
        click.secho(line, fg=colour, err=True)

    return Watch(progress=progress, ended=ended)
