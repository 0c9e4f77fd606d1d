"""`gitopsd registry`: the embedded registry, and the engine that builds, on this machine."""

from __future__ import annotations

from typing import Any

import click

from gitopsd.cli.options import as_json, of_repository, print_json, say, settings_of


@click.group(epilog="Example: gitopsd registry status")
def command() -> None:
    """The embedded registry, and the engine that builds for it, on this machine. Both start when they are needed."""


@command.command(epilog="Example: gitopsd registry start")
@of_repository
def start(**given: Any) -> None:
    """Have the registry and the engine that builds run. So images can be built and pushed by hand."""
    from gitopsd.control.revisions import find_revision
    from gitopsd.control.wiring import Wiring

    with Wiring(settings_of(**given)) as work:
        fleet = work.renderer.render_fleet(find_revision(work).tree)
        work.services.ensure_registry(fleet.registry)
        work.services.builder(fleet.registry)
        sock = work.services.place().socket
    say(f"the registry answers at {fleet.registry.address}" if fleet.registry.embedded else "the registry is not ours to start")
    say(f"the engine that builds answers at unix://{sock}")


@command.command(epilog="Example: gitopsd registry status --json")
@as_json
@of_repository
def status(is_json: bool, **given: Any) -> None:
    """Whether they run, and where their data is."""
    from gitopsd.control.services import LocalServices

    found = LocalServices(settings_of(**given)).status()
    if is_json:
        print_json({"version": 1, **found})
    else:
        for name, value in found.items():
            say(f"{name:<14} {'-' if value is None else value}")


@command.command(epilog="Example: gitopsd registry stop")
@of_repository
def stop(**given: Any) -> None:
    """Stop both; what they have stays."""
    from gitopsd.control.lock import writer
    from gitopsd.control.services import LocalServices

    settings = settings_of(**given)
    with writer(settings):
        services = LocalServices(settings)
        services.stop_registry()
        services.stop_engine()


@command.command(epilog="Example: gitopsd registry remove --yes")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@of_repository
def remove(yes: bool, **given: Any) -> None:
    """Take both away, with all images."""
    from gitopsd.control.lock import writer
    from gitopsd.control.services import LocalServices

    settings = settings_of(**given)
    if not yes:
        click.confirm(f"Delete {settings.engine_data} with all images?", abort=True)
    with writer(settings):
        LocalServices(settings).remove()
