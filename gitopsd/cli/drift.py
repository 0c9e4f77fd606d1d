"""`gitopsd drift`: what is not as it was applied, though Git did not change it."""

from __future__ import annotations

import sys
from typing import Any

import click

from gitopsd.cli.options import as_json, of_repository, print_json, settings_of


@click.command(epilog="Example: gitopsd drift; to heal it: gitopsd sync")
@as_json
@of_repository
def command(is_json: bool, **given: Any) -> None:
    """Show what somebody changed on the hosts, by field. Ends with 0 when nothing did, else with 2."""
    from gitopsd.control.revisions import find_revision
    from gitopsd.control.sync import look
    from gitopsd.control.wiring import Wiring
    from gitopsd.model.codec import to_json
    from gitopsd.report import drifted, render_drift

    with Wiring(settings_of(**given)) as work:
        plan = look(work, find_revision(work), is_retry=False).plan
    changes = drifted(plan)
    if is_json:
        print_json({"version": 1, "drift": to_json(changes), "unknown": [list(pair) for pair in plan.unknown]})
    else:
        click.echo(render_drift(plan), nl=False)
    for host, why in plan.unknown:
        click.echo(f"unknown  host {host}: {why}", err=True)
    sys.exit(2 if changes else 0)
