"""`gitopsd engine`: the container engine as one file."""

from __future__ import annotations

from pathlib import Path

import click

from gitopsd.hosts.package import package as package_


@click.group(epilog="Example: gitopsd engine package -o gitopsd-engine")
def command() -> None:
    """The container engine that comes along."""


@command.command(epilog="Example: gitopsd engine package -o gitopsd-engine && ./gitopsd-engine --help")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="gitopsd-engine", show_default=True)
def package(output: Path) -> None:
    """Write the engine as one file, which runs wherever there is Python 3.9. It is what hosts are sent."""
    made = package_()
    output.write_bytes(made.data)
    output.chmod(0o755)
    click.echo(f"{output}: {len(made.data)} bytes, sha256 {made.digest}")
