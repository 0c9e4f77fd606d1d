"""`gitopsd sync`: bring the hosts to what Git says, once."""

from __future__ import annotations

from typing import Any

import click

from gitopsd.cli.carryout import by_serve, carry_out
from gitopsd.cli.interrupt import Interrupts
from gitopsd.cli.options import allow, as_json, lock_wait, of_repository, say, settings_of


@click.command(epilog="Example: gitopsd sync --repo https://git.example.org/fleet.git --ref main")
@click.option("--stack", "stacks", multiple=True, metavar="NAME", help="Only this stack; may be given several times.")
@allow
@lock_wait
@as_json
@of_repository
def command(stacks: tuple[str, ...], allow: tuple[str, ...], lock_wait: float, is_json: bool, **given: Any) -> None:
    """Fetch, plan and apply, drift included, whatever the fleet file says about who may start it.

    What failed at this commit before is tried again. When `gitopsd serve` runs, it does the work and this command shows it.

    Ends with 0 when all is as Git says, 3 when a stack is held back or a host is unknown, though the rest was done, 1 when
    something failed.
    """
    from gitopsd.control.lock import writer
    from gitopsd.control.revisions import find_revision
    from gitopsd.control.sync import look
    from gitopsd.control.uncommitted import uncommitted_line
    from gitopsd.control.wiring import Wiring

    interrupts = click.get_current_context().with_resource(Interrupts())
    settings = settings_of(**given)
    if by_serve(settings.socket, {"do": "sync", "stacks": list(stacks) or None, "allow": list(allow)}, is_json, interrupts):
        return
    with writer(settings, lock_wait), Wiring(settings) as work:
        view = look(work, find_revision(work), bring=True)
        edited = uncommitted_line(work, view)
        if edited and not is_json:
            say(edited, err=True)
        carry_out(work, view, is_json, interrupts, stacks or None, allow)
