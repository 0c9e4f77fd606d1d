"""Options that commands share, and what they mean."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gitopsd.model.visible import visible, visible_json

if TYPE_CHECKING:
    from gitopsd.control.settings import Settings

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--repo", metavar="PATH|URL", help="The Git repository (default: the one around the current folder; GITOPSD_REPO)."
    ),
    click.option(
        "--ref", metavar="BRANCH", help="The branch, tag or commit (default: the branch that is checked out; GITOPSD_REF)."
    ),
    click.option(
        "--state-dir", metavar="DIR", help="Where the controller keeps its things (default: /var/lib/gitopsd; GITOPSD_STATE_DIR)."
    ),
    click.option("--key", metavar="FILE", help="The private key for hosts that name none (GITOPSD_KEY)."),
)
as_json = click.option("--json", "is_json", is_flag=True, help="Print JSON.")
lock_wait = click.option(
    "--lock-wait", metavar="SECONDS", type=float, default=0.0, help="Wait so long for another gitopsd to finish."
)
allow = click.option("--allow", metavar="CODE", multiple=True, help="Lift a guard that refuses the plan, by its code.")


def of_repository(function: Function) -> Function:
    """`--repo`, `--ref`, `--state-dir` and `--key`: the command gets them as keyword arguments."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def settings_of(repo: str | None, ref: str | None, state_dir: str | None, key: str | None) -> Settings:
    from gitopsd.control.settings import read_settings

    return read_settings(repo, ref, state_dir, key)


def say(text: str, *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print a text, which may hold strangers' words: what a terminal would obey is shown instead."""
    shown = visible(text, "\n\t")
    click.echo(click.style(shown, **style) if style else shown, err=err, nl=nl)


def print_json(value: Any) -> None:
    click.echo(visible_json(json.dumps(value, indent=2, ensure_ascii=False)))


def print_errors(errors: Sequence[str]) -> None:
    """What `--json` has on standard output when a command could not do its work; as text they are on standard error."""
    print_json({"version": 1, "errors": list(errors)})


def print_plan(text: str) -> None:
    """With colours where somebody looks."""
    colours = {"+": "green", "-": "red", "~": "yellow", "*": "cyan"}
    for line in text.removesuffix("\n").split("\n"):
        sign = line[2:3] if line.startswith("  ") and line[2:4].endswith(" ") else ""
        if sign in colours:
            say(line, fg=colours[sign])
        elif line.startswith("stack "):
            say(line, bold=True)
        elif line.startswith(("blocked", "unknown", "stopped", "refused")):
            say(line, fg="red")
        else:
            say(line)


def read_text(path: Path) -> str:
    return sys.stdin.read() if str(path) == "-" else path.read_text()
