"""`gitopsd` on the command line: one file a command, imported when that command is typed."""

from __future__ import annotations


def main() -> None:
    from gitopsd.cli.group import run

    run()
