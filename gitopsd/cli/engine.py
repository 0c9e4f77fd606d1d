"""`gitopsd engine`: the container engine as one file, and on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gitopsd.cli.options import as_json, of_repository, print_json, say, settings_of
from gitopsd.hosts.package import package as package_


@click.group(epilog="Example: gitopsd engine package -o gitopsd-engine")
def command() -> None:
    """The container engine that comes along."""


@command.command(epilog="Example: gitopsd engine package -o gitopsd-engine && ./gitopsd-engine --help")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="gitopsd-engine", show_default=True)
def package(output: Path) -> None:
    """Write the engine as one file. It is what hosts are sent, and runs wherever there is Python 3.9."""
    made = package_()
    output.write_bytes(made.data)
    output.chmod(0o755)
    say(f"{output}: {len(made.data)} bytes, sha256 {made.digest}")


@command.command(epilog="Example: gitopsd engine up")
@of_repository
def up(**given: Any) -> None:
    """Have the engine that builds run here. A sync that builds does this by itself."""
    from gitopsd.control.revisions import find_revision
    from gitopsd.control.wiring import Wiring

    with Wiring(settings_of(**given)) as work:
        fleet = work.renderer.render_fleet(find_revision(work).tree)
        work.services.builder(fleet.registry)
        sock = work.services.place().socket
    say(f"the engine answers at unix://{sock}")


@command.command(epilog="Example: gitopsd engine status --json")
@as_json
@of_repository
def status(is_json: bool, **given: Any) -> None:
    """Which engine hosts are brought, and which builds here."""
    from gitopsd.control.services import LocalServices
    from gitopsd.hosts.bootstrap import read_installed
    from gitopsd.hosts.local import LocalLink

    place = LocalServices(settings_of(**given)).place()
    running = read_installed(LocalLink(), place)
    found = {"brings": package_().digest, "runs": running.digest or None, "pid": running.pid or None, "socket": place.socket}
    if is_json:
        print_json({"version": 1, **found})
    else:
        for name, value in found.items():
            say(f"{name:<8} {value or '-'}")
