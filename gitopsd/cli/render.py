"""`gitopsd render`: what the files mean once everything is filled in."""

from __future__ import annotations

import sys
from typing import Any

import click

from gitopsd.cli.options import as_json, of_repository, print_json, say, settings_of


@click.command(epilog="Example: gitopsd render shop, or: gitopsd render --revision next --desired")
@click.argument("stacks", nargs=-1)
@click.option("--revision", metavar="BRANCH|COMMIT|-", help="Instead of --ref; - is the folder as it is now, committed or not.")
@click.option(
    "--desired", is_flag=True, help="What each host should have, every name resolved, as JSON. Asks the hosts and the registry."
)
@as_json
@of_repository
def command(stacks: tuple[str, ...], revision: str | None, desired: bool, is_json: bool, **given: Any) -> None:
    """Print STACKS (all, if none is named) with everything filled in: variables, templates, short forms, paths."""
    from gitopsd.control.revisions import find_revision
    from gitopsd.control.sync import look
    from gitopsd.control.wiring import Wiring
    from gitopsd.model.codec import to_json
    from gitopsd.render import stack_text

    with Wiring(settings_of(**given)) as work:
        found = find_revision(work, revision)
        if desired:
            wanted = look(work, found).desired
            print_json(
                {"version": wanted.version, **{name: value for name, value in to_json(wanted).items() if name != "version"}}
            )
            return
        rendered = work.renderer.render(found)
    chosen = [stack for stack in rendered.stacks if not stacks or stack.name in stacks]
    blocked = [stack for stack in rendered.blocked if not stacks or stack.name in stacks]
    unknown = set(stacks) - {stack.name for stack in (*chosen, *blocked)}
    if is_json:
        print_json(
            {"version": 1, "fleet": to_json(rendered.fleet), "stacks": to_json(tuple(chosen)), "blocked": to_json(tuple(blocked))}
        )
    else:
        say("---\n".join(stack_text(stack) for stack in chosen), nl=False)
    for stack in blocked:
        say("\n".join(stack.errors), err=True)
    for name in sorted(unknown):
        say(f"error: no-such-stack\n  the fleet file lists no stack {name}", err=True)
    sys.exit(1 if blocked or unknown else 0)
