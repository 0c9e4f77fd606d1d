"""`gitopsd apply`: carry out a plan that was shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gitopsd.cli.carryout import by_serve, carry_out
from gitopsd.cli.interrupt import Interrupts
from gitopsd.cli.options import allow, as_json, lock_wait, of_repository, print_plan, read_text, say, settings_of

if TYPE_CHECKING:
    from gitopsd.model.plan import Plan


@click.command(epilog="Example: gitopsd plan -o today.plan; gitopsd apply today.plan")
@click.argument("plan", type=click.Path(allow_dash=True, dir_okay=False, path_type=Path), required=False)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@allow
@lock_wait
@as_json
@of_repository
def command(plan: Path | None, yes: bool, allow: tuple[str, ...], lock_wait: float, is_json: bool, **given: Any) -> None:
    """Carry out a saved PLAN exactly as it was shown, or not at all if anything it touches has changed since.

    Without PLAN the current one is made, shown and, when you say yes, carried out.

    Ends with 0 when all is as Git says, 3 when a stack is held back or a host is unknown, though the rest was done, 1 when
    something failed.
    """
    from gitopsd.control.lock import writer
    from gitopsd.control.revisions import find_revision
    from gitopsd.control.saved import check_saved
    from gitopsd.control.sync import look
    from gitopsd.control.uncommitted import uncommitted_line
    from gitopsd.control.wiring import Wiring
    from gitopsd.model.errors import GitopsdError
    from gitopsd.plan import render_text, to_document

    interrupts = click.get_current_context().with_resource(Interrupts())
    settings = settings_of(**given)
    if plan is not None:
        chosen = _read(plan)
    else:
        with Wiring(settings) as work:
            current = look(work, find_revision(work))
            chosen, edited = current.plan, uncommitted_line(work, current)
        if not is_json:
            print_plan(render_text(chosen))
            if edited:
                say(edited, err=True)
        if not chosen.is_empty and not yes and not (sys.stdin.isatty() and click.confirm("Apply this plan?")):
            say("nothing was done; say yes with --yes", err=True)
            sys.exit(1)
    if chosen.revision is None or not chosen.revision.commit.strip("0"):
        raise GitopsdError(
            "not-committed", f"plan {chosen.id} is of files that are not committed", hint="commit them, and plan again"
        )
    if by_serve(settings.socket, {"do": "apply", "plan": to_document(chosen), "allow": list(allow)}, is_json, interrupts):
        return
    with writer(settings, lock_wait), Wiring(settings) as work:
        view = look(work, find_revision(work, chosen.revision.commit), bring=True)
        carry_out(work, check_saved(view, chosen), is_json, interrupts, allow=allow)


def _read(path: Path) -> Plan:
    from gitopsd.model.errors import GitopsdError, Where
    from gitopsd.plan import from_document

    where, hint = Where(file=str(path)), "make one with: gitopsd plan -o FILE"
    try:
        document = json.loads(read_text(path))
    except FileNotFoundError as error:
        raise GitopsdError("not-a-plan", "there is no such file", where, hint) from error
    except OSError as error:
        raise GitopsdError("not-a-plan", f"cannot be read: {(error.strerror or str(error)).lower()}", where, hint) from error
    except ValueError as error:
        raise GitopsdError("not-a-plan", "is no plan: it is not JSON", where, hint) from error
    try:
        return from_document(document)
    except GitopsdError as error:
        raise error.at(where) from error.__cause__
