"""`gitopsd status`: how every stack and host is."""

from __future__ import annotations

import sys
from typing import Any

import click

from gitopsd.cli.carryout import print_frozen, print_held
from gitopsd.cli.options import as_json, of_repository, print_json, say, settings_of


@click.command(epilog="Example: gitopsd status, or in a check: gitopsd status --json")
@as_json
@of_repository
def command(is_json: bool, **given: Any) -> None:
    """Show each stack with two facts: is it what Git says (Synced), and is it well (Healthy). Then services, then hosts.

    Ends with 0 when all is Synced and Healthy, 2 when something is not, 3 when a stack is held back or a host is unknown, 1 after an
    error.
    """
    from gitopsd.control.revisions import find_good_revision
    from gitopsd.control.sync import look, status_of
    from gitopsd.control.wiring import Wiring
    from gitopsd.model.codec import to_json
    from gitopsd.model.exits import HELD, exit_of_status
    from gitopsd.report import render_status

    with Wiring(settings_of(**given)) as work:
        revision, error = find_good_revision(work)
        view = look(work, revision, is_retry=False)
        status = status_of(work, view)
    if is_json:
        print_json({"version": 1, "error": error or None, **to_json(status)})
    else:
        say(render_status(status), nl=False)
        print_frozen(revision, error)
        print_held(view.plan.blocked, view.plan.unknown)
    sys.exit(HELD if error else exit_of_status(status, view.plan))
