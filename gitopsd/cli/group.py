"""The group of all commands, and how they end.

Rule: `gitopsd --help` imports no command (it must answer within 150 ms), so what a command is for stands here, beside its file. An error
that a person can do something about is printed as it reads and ends with 1; anything else is a fault of ours and shows its trace.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from gitopsd import __version__
from gitopsd.cli.options import print_errors, say
from gitopsd.model.errors import Errors, GitopsdError

COMMANDS = {
    "apply": "Carry out a plan that was shown.",
    "drift": "What somebody changed on the hosts.",
    "engine": "The container engine: as one file, and on this machine.",
    "history": "What was done, when, and how it went.",
    "host": "The hosts of the fleet, and the engine on them.",
    "lab": "Linux hosts on this machine, to try things on.",
    "plan": "What a sync would do, and what people would feel of it.",
    "registry": "The embedded registry and the builder on this machine.",
    "render": "What the files mean once everything is filled in.",
    "schema": "JSON Schemas of the fleet file, stack files and plans.",
    "serve": "Watch Git and the hosts, and keep them alike.",
    "status": "How every stack and host is.",
    "sync": "Bring the hosts to what Git says, once.",
    "validate": "Check the files in a folder.",
}
"""Name and what for; `gitopsd/cli/<name>.py` has the command as `command`."""


class Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"gitopsd.cli.{cmd_name.replace('-', '_')}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gitopsd")
@click.pass_context
def gitopsd(context: click.Context) -> None:
    """Push to Git; every Linux host you can SSH into converges."""
    if os.environ.get("NO_COLOR"):
        context.color = False


def run() -> None:
    click.UsageError.exit_code = 1  # 2 says that there are changes, which a slip of the pen must not (docs/formats.md)
    try:
        gitopsd()
    except (GitopsdError, Errors) as error:
        if "--json" in sys.argv[1:]:
            print_errors([str(each) for each in getattr(error, "errors", (error,))])
        say(str(error), err=True)
        sys.exit(1)
