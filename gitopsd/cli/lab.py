"""`gitopsd lab`: hosts on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import click

from gitopsd import lab as lab_

_STATE = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/var/lib/gitopsd-lab"),
    show_default=True,
    help="Where the lab keeps its files; each folder is a lab of its own.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(epilog="Example: gitopsd lab up 2, then put what it prints into gitopsd.yaml.")
def command() -> None:
    """Linux hosts on this machine, each with namespaces, an address, its own sshd, and nothing of Docker."""


@command.command(epilog="Example: gitopsd lab up 2")
@click.argument("count", type=click.IntRange(1, 200), default=2)
@_STATE
@_JSON
def up(count: int, state: Path, as_json: bool) -> None:
    """Have COUNT hosts running. Those that run already are left alone."""
    show(lab_.up(count, state), as_json)


@command.command(epilog="Example: gitopsd lab down")
@_STATE
def down(state: Path) -> None:
    """Take the lab away, with all that was on its hosts."""
    lab_.down(state)


@command.command("list", epilog="Example: gitopsd lab list --json")
@_STATE
@_JSON
def list_(state: Path, as_json: bool) -> None:
    """The hosts, as lines for the fleet file."""
    show(lab_.read(state), as_json)


@command.command(
    "exec", context_settings={"ignore_unknown_options": True}, epilog="Example: gitopsd lab exec lab-1 -- ps ax"
)  # fmt: skip
@click.argument("host")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@_STATE
def exec_(host: str, argv: tuple[str, ...], state: Path) -> None:
    """Run a command as root on a host, without SSH."""
    command_line = lab_.join_argv(lab_.read(state), host, argv)
    sys.stdout.flush()
    os.execvpe(command_line[0], command_line, {**lab_.ENVIRONMENT, "TERM": os.environ.get("TERM", "dumb")})


@command.command(epilog="Example: gitopsd lab reset lab-2 --keep-disk")
@click.argument("host")
@click.option("--keep-disk", is_flag=True, help="As after a power cut: what was on its disk is still there.")
@_STATE
def reset(host: str, keep_disk: bool, state: Path) -> None:
    """Pull a host's plug and boot it again, from an empty disk."""
    lab_.reset(state, host, wipe=not keep_disk)


def show(lab: lab_.Lab, as_json: bool) -> None:
    if as_json:
        hosts = [{**dataclasses.asdict(host), "folder": str(host.folder)} for host in lab.hosts]
        click.echo(
            json.dumps(
                {"version": 1, "id": lab.id, "subnet": lab.subnet, "gateway": lab.gateway, "key": str(lab.key), "hosts": hosts}
            )
        )
        return
    click.echo("hosts:")
    for host in lab.hosts:
        click.echo(f"  {host.name}:{'' if host.pid else '  # does not run'}")
        click.echo(f"    address: {host.address}\n    key: {lab.key}\n    host_key: {host.host_key}")
