"""`gitopsd drift`: what is not as it was applied, though Git did not change it."""

from __future__ import annotations

import sys
from typing import Any

import click

from gitopsd.cli.carryout import print_frozen, print_held
from gitopsd.cli.options import as_json, of_repository, print_json, say, settings_of


@click.command(epilog="Example: gitopsd drift; to heal it: gitopsd sync")
@as_json
@of_repository
def command(is_json: bool, **given: Any) -> None:
    """Show what somebody changed on the hosts, by field.

    Ends with 0 when nobody did, 2 when somebody did, 3 when a stack is held back or a host is unknown, with or without drift elsewhere, 1
    after an error.
    """
    from gitopsd.control.revisions import find_good_revision
    from gitopsd.control.sync import look
    from gitopsd.control.wiring import Wiring
    from gitopsd.model.codec import to_json
    from gitopsd.model.exits import CHANGES, DONE, HELD
    from gitopsd.report import drifted, render_drift

    with Wiring(settings_of(**given)) as work:
        revision, error = find_good_revision(work)
        plan = look(work, revision, is_retry=False).plan
    changes = drifted(plan)
    if is_json:
        blocked, unknown = ([list(pair) for pair in pairs] for pairs in (plan.blocked, plan.unknown))
        print_json({"version": 1, "error": error or None, "drift": to_json(changes), "blocked": blocked, "unknown": unknown})
    else:
        is_partial = plan.blocked or plan.unknown
        say("No drift in what could be looked at.\n" if is_partial and not changes else render_drift(plan), nl=False)
        print_frozen(revision, error)
        print_held(plan.blocked, plan.unknown)
    if error or plan.blocked or plan.unknown:
        sys.exit(HELD)
    sys.exit(CHANGES if changes else DONE)
