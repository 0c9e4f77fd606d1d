"""`gitopsd history`: what was done, when, and how it went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gitopsd.cli.options import as_json, of_repository, print_json, print_plan, say, settings_of

if TYPE_CHECKING:
    from gitopsd.control.wiring import Wiring


@click.command(epilog="Example: gitopsd history --stack shop, then: gitopsd history 12")
@click.argument("sync", type=int, required=False)
@click.option("--stack", metavar="NAME", help="Only syncs that changed this stack.")
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@as_json
@of_repository
def command(sync: int | None, stack: str | None, limit: int, is_json: bool, **given: Any) -> None:
    """List past syncs, the newest first; with a number SYNC show that one whole, with its plan and each step."""
    from gitopsd.control.wiring import Wiring
    from gitopsd.model.codec import to_json
    from gitopsd.model.errors import GitopsdError
    from gitopsd.plan import render_text, summary
    from gitopsd.report import render_history, render_steps

    with Wiring(settings_of(**given)) as work:
        if stack is not None:
            _check_name(work, stack)
        found = [work.store.sync(sync)] if sync is not None else list(work.store.syncs(limit, stack))
    records = [record for record in found if record is not None]
    if sync is not None and not records:
        raise GitopsdError("no-such-sync", f"there was no sync {sync}", hint="gitopsd history lists them")
    if is_json:
        print_json({"version": 1, "syncs": to_json(tuple(records))})
    elif sync is None:
        say(render_history(records, summary), nl=False)
    else:
        print_plan(render_text(records[0].plan))
        say("\n" + render_steps(records[0]), nl=False)


def _check_name(work: Wiring, stack: str) -> None:
    """A stack that was never synced is one of the fleet file, or a slip."""
    from gitopsd.control.revisions import find_good_revision
    from gitopsd.control.sync import no_such_stack

    if stack in work.store.applied() or work.store.syncs(1, stack):
        return
    names = [entry.name for entry in work.renderer.render_fleet(find_good_revision(work)[0].tree).stacks]
    if stack not in names:
        raise no_such_stack(stack, names)
