"""`gitopsd-engine [-H HOST] COMMAND …`: the parser and the exit codes. What a command does is in the file of its object.

Exit codes are docker's: the container's own for run and exec, 125 when the engine refused before it ran, 1 for any other error.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Callable

from gitopsd import __version__
from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.engine.client import containers, images, objects
from gitopsd.engine.client.connection import DEFAULT_HOST, Client

Command = Callable[[Client, argparse.Namespace], int]


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    parser = argparse.ArgumentParser(
        prog="gitopsd-engine",
        description="A container engine behind the Docker Engine API, and its client.",
        epilog="Roles: gitopsd-engine daemon|supervise|registry|uninstall --help.  Example: gitopsd-engine run --rm busybox echo hello",
    )
    parser.add_argument("-H", "--host", default=os.environ.get("GITOPSD_ENGINE_HOST", DEFAULT_HOST),
                        help="the daemon: unix://PATH or ssh://[user@]host (default: %(default)s)")  # fmt: skip
    parser.add_argument("-v", "--version", action="version", version=f"gitopsd-engine {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (containers, images, objects):
        module.add_commands(commands)
    options = parser.parse_args(arguments)
    run: Command = options.run
    client = None
    try:
        client = Client(options.host)
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
