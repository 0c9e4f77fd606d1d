"""`gitopsd-engine [-H HOST] COMMAND …`: the parser and the exit codes. What a command does is in the file of its object.

Which daemon: `-H`, else GITOPSD_ENGINE_HOST, else DOCKER_HOST, else the engine's own socket.
Exit codes are docker's: the container's own for run and exec, 125 when the engine refused before it ran, 2 for words that are none,
1 for any other error.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Mapping
from typing import Any, Callable, Optional, cast

from gitopsd import __version__
from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.engine.client import containers, images, objects
from gitopsd.engine.client.connection import DEFAULT_HOST, Client

Command = Callable[[Client, argparse.Namespace], int]

ROLES = {
    "daemon": "Be the engine: serve the API",
    "supervise": "Run the daemon, and again when it dies",
    "registry": "Serve a registry of images",
    "uninstall": "End all containers, leave the kernel as it was",
}
"""What is no question to a daemon; gitopsd/engine/main.py runs these by the first word."""


class _Parser(argparse.ArgumentParser):
    """Says of a command that is none what was probably meant, instead of them all."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        known: Any = action.choices
        if isinstance(known, dict) and value not in known:
            near = difflib.get_close_matches(str(value), cast("dict[str, Any]", known), n=2)
            meant = "did you mean {}? ".format(" or ".join(f'"{each}"' for each in sorted(near))) if near else ""
            self.exit(2, f'{self.prog}: there is no command "{value}"; {meant}{self.prog} --help lists them\n')
        super()._check_value(action, value)


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    options = make_parser().parse_args(arguments)
    if options.command in ROLES:
        sys.stderr.write(
            f"gitopsd-engine: {options.command} asks no daemon, so it stands first: gitopsd-engine {options.command}\n"
        )
        return 2
    run: Command = options.run
    client = None
    try:
        client = Client(*host_of(options.host, os.environ))
        return run(client, options)
    except ApiError as error:
        print(f"gitopsd-engine: {error.message}", file=sys.stderr)
        return 125 if options.command == "run" else 1
    except DockerfileError as error:
        print(f"gitopsd-engine: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except OSError as error:
        print(f"gitopsd-engine: {error.strerror or error}", file=sys.stderr)
        return 125 if options.command == "run" else 1
    except KeyboardInterrupt:
        return 130
    finally:
        if client is not None:
            client.close()


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gitopsd-engine",
        description="A container engine behind the Docker Engine API, and its client.",
        epilog="Example: gitopsd-engine run --rm busybox echo hello",
    )
    parser.add_argument("-H", "--host",
                        help=f"the daemon: unix://PATH or ssh://[user@]host (default: GITOPSD_ENGINE_HOST, DOCKER_HOST, {DEFAULT_HOST})")  # fmt: skip
    parser.add_argument("-v", "--version", action="version", version=f"gitopsd-engine {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (containers, images, objects):
        module.add_commands(commands)
    for role, text in ROLES.items():
        commands.add_parser(role, help=text, add_help=False, prefix_chars="\0").add_argument("words", nargs=argparse.REMAINDER)
    return parser


def host_of(given: Optional[str], environment: Mapping[str, str]) -> tuple[str, str]:
    """The daemon's address, and who named it.  [pure]"""
    if given:
        return given, "-H"
    for name in ("GITOPSD_ENGINE_HOST", "DOCKER_HOST"):
        if environment.get(name):
            return environment[name], name
    return DEFAULT_HOST, "-H"
