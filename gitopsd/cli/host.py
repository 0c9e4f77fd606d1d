"""`gitopsd host`: the hosts of the fleet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import click

from gitopsd.cli.carryout import print_frozen, print_held
from gitopsd.cli.options import as_json, of_repository, print_json, say, settings_of

if TYPE_CHECKING:
    from gitopsd.control.reach import Reach
    from gitopsd.control.wiring import Wiring


@click.group(epilog="Example: gitopsd host list")
def command() -> None:
    """The hosts of the fleet: what they are, the engine on them."""


@command.command("list", epilog="Example: gitopsd host list --json")
@as_json
@of_repository
def list_(is_json: bool, **given: Any) -> None:
    """Ask each host how it is. Ends with 0, 3 when one is unknown, 1 after an error."""
    from gitopsd.control.revisions import find_good_revision
    from gitopsd.control.wiring import Wiring
    from gitopsd.model.codec import to_json
    from gitopsd.model.exits import DONE, HELD
    from gitopsd.observe import observe
    from gitopsd.report import table

    with Wiring(settings_of(**given)) as work:
        revision, error = find_good_revision(work)
        reach = work.reach(work.renderer.render_fleet(revision.tree))
        observed = observe(
            reach.sources(), reach.fleet.name, new={host.name for host in reach.hosts} - set(work.store.host_numbers())
        )
    if is_json:
        print_json(
            {
                "version": 1,
                "error": error or None,
                "hosts": [{"host": h.host, "error": h.error, "etag": h.etag, **to_json(h.facts)} for h in observed.hosts],
            }
        )
    else:
        rows = [
            (
                host.host,
                "Unknown" if host.error is not None else "Ready" if host.etag else "no engine yet",
                host.facts.engine_version or "-",
                host.facts.block or "-",
                host.facts.os or "-",
                (host.error or "").partition("\n")[0],
            )
            for host in observed.hosts
        ]
        say(table(("HOST", "STATE", "ENGINE", "ADDRESSES", "SYSTEM", "MESSAGE"), rows), nl=False)
        print_frozen(revision, error)
        print_held((), [(host.host, host.error) for host in observed.hosts if host.error is not None and "\n" in host.error])
    sys.exit(HELD if error or any(host.error is not None for host in observed.hosts) else DONE)


@command.command(epilog="Example: gitopsd host facts web-1")
@click.argument("host")
@as_json
@of_repository
def facts(host: str, is_json: bool, **given: Any) -> None:
    """What HOST is, and what it lacks to run the engine. Changes nothing on it."""
    import dataclasses

    from gitopsd.control.wiring import Wiring
    from gitopsd.hosts.facts import lacks, read_facts

    with Wiring(settings_of(**given)) as work:
        found = read_facts(_reach(work).link(host))
    missing = lacks(found)
    if is_json:
        print_json({"version": 1, **dataclasses.asdict(found), "lacks": [dataclasses.asdict(lack) for lack in missing]})
    else:
        for name, value in dataclasses.asdict(found).items():
            if name not in ("features", "missing_modules", "no_root"):
                words = ", ".join(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else str(value)
                say(f"{name:<14} {words}")
        for lack in missing:
            say(f"lacks: {lack.what}\n  hint: {lack.hint}")
    sys.exit(1 if missing else 0)


@command.command(epilog="Example: gitopsd host bootstrap web-1 web-2")
@click.argument("hosts", nargs=-1)
@of_repository
def bootstrap(hosts: tuple[str, ...], **given: Any) -> None:
    """Bring the engine to HOSTS, or up to date. All, if none is named. A sync does this by itself."""
    from gitopsd.control.lock import writer
    from gitopsd.control.wiring import Wiring
    from gitopsd.observe import observe

    settings = settings_of(**given)
    with writer(settings), Wiring(settings) as work:
        reach = _reach(work)
        chosen = hosts or tuple(host.name for host in reach.hosts)
        for name in chosen:
            reach.link(name)  # a name that is not in the fleet is an error before anything happens
        new = {host.name for host in reach.hosts} - set(work.store.host_numbers())
        observed = observe(reach.sources(), reach.fleet.name, new=new)
        brought = reach.bring(observed, work.store, chosen)
    for found in brought:
        if found.error is not None:
            say(str(found.error), err=True)
        else:
            say(f"{found.host}: {', '.join(found.done) or 'nothing to do'}")
    sys.exit(1 if any(found.error is not None for found in brought) else 0)


@command.command(epilog="Example: gitopsd host remove web-2")
@click.argument("host")
@click.option("--delete-volumes", is_flag=True, help="Also delete the data of its volumes.")
@of_repository
def remove(host: str, delete_volumes: bool, **given: Any) -> None:
    """Take the engine, and everything that it made, off HOST. Volumes stay in the way until told that they may go.

    HOST may also have left the fleet file already: how it is reached is then looked up in Git's history.
    """
    from gitopsd.control.left import fleet_with
    from gitopsd.control.lock import writer
    from gitopsd.control.revisions import find_revision
    from gitopsd.control.wiring import Wiring
    from gitopsd.hosts import bootstrap as bootstrap_

    settings = settings_of(**given)
    with writer(settings), Wiring(settings) as work:
        known = {each.name for each in work.renderer.render_fleet(find_revision(work).tree).hosts}
        reach = work.reach(fleet_with(work, host))
        bootstrap_.remove(reach.link(host), reach.place, delete_volumes)
        if host not in known:
            work.store.forget_host(host)
    say(f"{host}: nothing of the engine is left")


def _reach(work: Wiring) -> Reach:
    from gitopsd.control.revisions import find_revision

    return work.reach(work.renderer.render_fleet(find_revision(work).tree))
