"""`gitopsd apply`: carry out a plan that was shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from gitopsd.cli.carryout import by_serve, finish, watch
from gitopsd.cli.options import allow, as_json, lock_wait, of_repository, print_plan, read_text, settings_of


@click.command(epilog="Example: gitopsd plan -o today.plan && gitopsd apply today.plan")
@click.argument("plan", type=click.Path(allow_dash=True, dir_okay=False, path_type=Path), required=False)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@allow
@lock_wait
@as_json
@of_repository
def command(plan: Path | None, yes: bool, allow: tuple[str, ...], lock_wait: float, is_json: bool, **given: Any) -> None:
    """Carry out a saved PLAN exactly as it was shown, or not at all if anything it touches has changed since.

    Without PLAN the current one is made, shown and, when you say yes, carried out.
    """
    from gitopsd.control.lock import writer
    from gitopsd.control.revisions import find_revision
    from gitopsd.control.saved import check_saved
    from gitopsd.control.sync import look, sync
    from gitopsd.control.wiring import Wiring
    from gitopsd.model.errors import GitopsdError, Where
    from gitopsd.plan import from_document, render_text

    settings = settings_of(**given)
    saved = None
    if plan is not None:
        try:
            document = json.loads(read_text(plan))
        except (OSError, ValueError) as error:
            raise GitopsdError("not-a-plan", str(error), Where(file=str(plan)), "make it with: gitopsd plan -o FILE") from error
        saved = from_document(document)
        if by_serve(settings.socket, {"do": "apply", "plan": document, "allow": list(allow)}, is_json):
            return
    with writer(settings, lock_wait), Wiring(settings) as work:
        revision = find_revision(work, saved.revision.commit if saved and saved.revision else None)
        view = look(work, revision, bring=True)
        if saved is not None:
            view = check_saved(view, saved)
        elif not is_json:
            print_plan(render_text(view.plan))
        if (
            saved is None
            and not view.plan.is_empty
            and not yes
            and not (sys.stdin.isatty() and click.confirm("Apply this plan?"))
        ):
            click.echo("nothing was done; say yes with --yes", err=True)
            sys.exit(1)
        finish(sync(work, view, allow=allow, watch=watch(is_json)), is_json)
