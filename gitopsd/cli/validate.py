"""`gitopsd validate`: is what the files say possible?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gitopsd.cli.options import as_json, print_json, say


@click.command(epilog="Example: gitopsd validate, or in a hook: gitopsd validate --json ~/fleet")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@as_json
def command(folder: Path, is_json: bool) -> None:
    """Check the fleet file, all stack files and their Dockerfiles in FOLDER as they are now, committed or not.

    Asks no host and no registry. What two services or stacks want of one host, a port or a name, and constraints that no host meets are
    found as if nothing ran there yet. Ends with 0 when all is well and with 1 when anything is wrong, all of which is printed.
    """
    from gitopsd.control.misfits import misfits
    from gitopsd.control.settings import registry_listen
    from gitopsd.model.errors import Errors
    from gitopsd.model.words import counted
    from gitopsd.render import Renderer
    from gitopsd.source import folder_revision

    errors: list[str] = []
    summary = ""
    with Renderer(listen=registry_listen()) as renderer:
        try:
            rendered = renderer.render(folder_revision(folder.resolve()))
            errors = [error for stack in (*rendered.blocked, *misfits(rendered)) for error in stack.errors]
            services = sum(len(stack.services) for stack in rendered.stacks)
            there = ((len(rendered.fleet.hosts), "host"), (len(rendered.stacks), "stack"), (services, "service"))
            summary = f"fleet {rendered.fleet.name}: " + ", ".join(counted(number, noun) for number, noun in there)
        except Errors as error:
            errors = [str(each) for each in error.errors]
    if is_json:
        print_json({"version": 1, "valid": not errors, "errors": errors})
    elif errors:
        say("\n".join(errors), err=True)
    else:
        say(f"{summary}: all is well")
    sys.exit(1 if errors else 0)
