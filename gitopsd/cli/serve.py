"""`gitopsd serve`: watch Git and the hosts, and keep them alike."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

import click

from gitopsd.cli.options import lock_wait, of_repository, settings_of


@click.command(epilog="Example: gitopsd serve --repo https://git.example.org/fleet.git --ref main")
@click.option(
    "--poll", type=float, metavar="SECONDS", help="How often the repository is asked (default: intervals.poll of the fleet file)."
)
@click.option("--drift", type=float, metavar="SECONDS", help="How often hosts are looked at (default: intervals.drift).")
@click.option("--json-log", is_flag=True, help="Log JSON lines.")
@lock_wait
@of_repository
def command(poll: float | None, drift: float | None, json_log: bool, lock_wait: float, **given: Any) -> None:
    """Run until told to end: notice commits, plan, apply, heal drift, and say each in a few lines.

    Told to end (SIGINT, SIGTERM) it finishes or undoes the step in hand and ends: with 0, or with 130 or 143 when a plan was broken off.
    """
    from gitopsd.control.lock import writer
    from gitopsd.control.log import make_log
    from gitopsd.control.loop import Serve
    from gitopsd.control.wiring import Wiring

    settings = settings_of(**given)
    with writer(settings, lock_wait), Wiring(settings) as work:
        serve = Serve(work, make_log(json_log), poll, drift)

        told: list[int] = []

        def end(number: int, _: FrameType | None) -> None:
            if told:  # a second time: at once; the next pass finds what is left
                os._exit(128 + number)
            told.append(number)
            serve.end()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        serve.run()
    if serve.was_interrupted:
        sys.exit(128 + told[0])
