"""`gitopsd lab`: hosts on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from gitopsd import lab as lab_
from gitopsd.cli.options import say
from gitopsd.control.settings import DEFAULT_STATE_DIR

_OLD = "gitopsd.lab.state"
Function = TypeVar("Function", bound=Callable[..., Any])


def _folder_of(context: click.Context, _: click.Parameter, state_dir: str | None) -> Path:
    """The lab's own folder: that of the old option `--state`, else the one in the controller's."""
    old = context.meta.get(_OLD)
    return Path(old) if old else Path(state_dir or os.environ.get("GITOPSD_STATE_DIR") or DEFAULT_STATE_DIR) / "lab"


def of_lab(function: Function) -> Function:
    """`--state-dir`: the command gets the lab's folder as `folder`."""
    state_dir = click.option(
        "--state-dir",
        "folder",
        metavar="DIR",
        callback=_folder_of,
        help=f"Where the controller keeps its things, the lab among them (default: {DEFAULT_STATE_DIR}; GITOPSD_STATE_DIR).",
    )
    old = click.option("--state", metavar="DIR", hidden=True, is_eager=True, expose_value=False, callback=_keep)
    return state_dir(old(function))


def _keep(context: click.Context, _: click.Parameter, value: str | None) -> None:
    context.meta[_OLD] = value


_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(epilog="Example: gitopsd lab up 2, then put what it prints into gitopsd.yaml.")
def command() -> None:
    """Linux hosts on this machine, each with namespaces, an address, its own sshd, and nothing of Docker."""


@command.command(epilog="Example: gitopsd lab up 2")
@click.argument("count", type=click.IntRange(1, 200), default=2)
@of_lab
@_JSON
def up(count: int, folder: Path, as_json: bool) -> None:
    """Have COUNT hosts running. Those that run already are left alone."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    show(lab_.up(count, folder), as_json)


@command.command(epilog="Example: gitopsd lab down")
@of_lab
def down(folder: Path) -> None:
    """Take the lab away, with all that was on its hosts."""
    lab_.down(folder)


@command.command("list", epilog="Example: gitopsd lab list --json")
@of_lab
@_JSON
def list_(folder: Path, as_json: bool) -> None:
    """The hosts, as lines for the fleet file."""
    show(lab_.read(folder), as_json)


@command.command(
    "exec", context_settings={"ignore_unknown_options": True}, epilog="Example: gitopsd lab exec lab-1 -- ps ax"
)  # fmt: skip
@click.argument("host")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@of_lab
def exec_(host: str, argv: tuple[str, ...], folder: Path) -> None:
    """Run a command as root on a host, without SSH."""
    command_line = lab_.join_argv(lab_.read(folder), host, argv)
    sys.stdout.flush()
    os.execvpe(command_line[0], command_line, {**lab_.ENVIRONMENT, "TERM": os.environ.get("TERM", "dumb")})


@command.command(epilog="Example: gitopsd lab reset lab-2 --keep-disk")
@click.argument("host")
@click.option("--keep-disk", is_flag=True, help="As after a power cut: what was on its disk is still there.")
@of_lab
def reset(host: str, keep_disk: bool, folder: Path) -> None:
    """Pull a host's plug and boot it again, from an empty disk."""
    lab_.reset(folder, host, wipe=not keep_disk)


def show(lab: lab_.Lab, as_json: bool) -> None:
    if as_json:
        hosts = [{**dataclasses.asdict(host), "folder": str(host.folder)} for host in lab.hosts]
        say(
            json.dumps(
                {"version": 1, "id": lab.id, "subnet": lab.subnet, "gateway": lab.gateway, "key": str(lab.key), "hosts": hosts}
            )
        )
        return
    say("hosts:")
    for host in lab.hosts:
        say(f"  {host.name}:{'' if host.pid else '  # does not run'}")
        say(f"    address: {host.address}\n    key: {lab.key}\n    host_key: {host.host_key}")
