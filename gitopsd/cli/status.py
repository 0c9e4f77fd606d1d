"""`gitopsd status`: how every stack and host is."""

from __future__ import annotations

import sys
from typing import Any

import click

from gitopsd.cli.options import as_json, of_repository, print_json, settings_of


@click.command(epilog="Example: gitopsd status, or in a check: gitopsd status --json")
@as_json
@of_repository
def command(is_json: bool, **given: Any) -> None:
    """Show each stack with two facts: is it what Git says (Synced), and is it well (Healthy). Then services, then hosts.

    Ends with 0 when all is Synced and Healthy, else with 2.
    """
    from gitopsd.control.revisions import find_revision
    from gitopsd.control.sync import look, status_of
    from gitopsd.control.wiring import Wiring
    from gitopsd.model.codec import to_json
    from gitopsd.report import render_status

    with Wiring(settings_of(**given)) as work:
        status = status_of(work, look(work, find_revision(work), is_retry=False))
    if is_json:
        print_json({"version": 1, **to_json(status)})
    else:
        click.echo(render_status(status), nl=False)
    is_well = all(stack.sync == "Synced" and stack.health == "Healthy" for stack in status.stacks)
    sys.exit(0 if is_well and all(host.state != "Unknown" for host in status.hosts) else 2)
