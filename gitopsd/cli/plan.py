"""`gitopsd plan`: what would happen, to what, why, and what people would feel of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from gitopsd.cli.options import as_json, of_repository, print_json, print_plan, say, settings_of


@click.command(epilog="Example: gitopsd plan --revision my-branch, or: gitopsd plan -o today.plan; gitopsd apply today.plan")
@click.option("--revision", metavar="BRANCH|COMMIT|-", help="Instead of --ref; - is the folder as it is now, committed or not.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Also save the plan, for: gitopsd apply FILE."
)
@as_json
@of_repository
def command(revision: str | None, output: Path | None, is_json: bool, **given: Any) -> None:
    """Show what a sync would do, and change nothing on any host.

    Ends with 0 when there is nothing to do, 2 when there are changes, 3 when a stack is held back, a host is unknown or the plan is
    refused, with or without changes, 1 after an error.
    """
    import json

    from gitopsd.control.revisions import find_revision
    from gitopsd.control.sync import look
    from gitopsd.control.uncommitted import uncommitted_line
    from gitopsd.control.wiring import Wiring
    from gitopsd.model.exits import exit_of_plan
    from gitopsd.plan import render_text, to_document

    with Wiring(settings_of(**given)) as work:
        view = look(work, find_revision(work, revision))
        plan, edited = view.plan, uncommitted_line(work, view)
    if output:
        output.write_text(json.dumps(to_document(plan)) + "\n")
    if is_json:
        print_json(to_document(plan))
    else:
        print_plan(render_text(plan))
        if edited:
            say(edited, err=True)
        if output and not plan.is_empty:
            say(f"\ngitopsd apply {output}")
    sys.exit(exit_of_plan(plan))
