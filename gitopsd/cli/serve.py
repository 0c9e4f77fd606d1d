"""`gitopsd serve`: watch Git and the hosts, and keep them alike."""

from __future__ import annotations

import signal
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
    """Run until told to end: notice commits, plan, apply, heal drift, and say each in a few lines."""
    from gitopsd.control.lock import writer
    from gitopsd.control.log import make_log
    from gitopsd.control.loop import Serve
    from gitopsd.control.wiring import Wiring

    settings = settings_of(**given)
    with writer(settings, lock_wait), Wiring(settings) as work:
        serve = Serve(work, make_log(json_log), poll, drift)

        def end(_: int, __: FrameType | None) -> None:
            serve.end()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        serve.run()
