"""The second commit of the quickstart, step by step, and what a sync with nothing to do costs.

    python tests/bench/line.py [--rounds 5] [--json FILE]

Runs in the venv of `examples/quickstart/run`, as root. Two lab hosts, their engines and the client share this machine's processors.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "quickstart"))

from story import Story  # noqa: E402

from gitopsd.control.settings import read_settings  # noqa: E402
from gitopsd.control.sync import look, sync  # noqa: E402
from gitopsd.control.wiring import Wiring  # noqa: E402
from gitopsd.hosts.enginehttp import EngineHttp  # noqa: E402


@contextmanager
def counted_requests() -> Iterator[list[str]]:
    """Every request to an engine while it lasts."""
    seen: list[str] = []
    original = EngineHttp._send

    def send(self: EngineHttp, request: Any, *rest: Any) -> Any:
        seen.append(f"{request.method} {request.target}")
        return original(self, request, *rest)

    with mock.patch.object(EngineHttp, "_send", send):
        yield seen


class Clock:
    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, name: str) -> None:
        now = time.perf_counter()
        self.steps[name] = (now - self._last) * 1000
        self._last = now


def one_change(story: Story, work: Wiring, number: int) -> dict[str, float]:
    """Milliseconds from a commit to its end, by step."""
    (story.repo / "web/site/version").write_text(f"{number}\n")
    story.commit(f"feat: version {number}")
    clock = Clock()
    work.repository.fetch()
    revision = work.repository.revision("main")
    clock.mark("fetch")
    view = look(work, revision)
    clock.mark("render, pin, observe, place, plan")
    done = sync(work, view)
    clock.mark("build, push, send, replace on one host after the other, look again")
    for step, outcome in zip(done.plan.steps, done.outcome.steps, strict=True):
        name = f"  {step.operation}"
        clock.steps[name] = clock.steps.get(name, 0.0) + outcome.seconds * 1000
    return clock.steps


def nothing_to_do(work: Wiring, rounds: int) -> dict[str, Any]:
    revision = work.repository.revision("main")
    with Wiring(work.settings) as fresh:
        look(fresh, revision)  # connections, and what was seen last
        times: list[float] = []
        before = resource.getrusage(resource.RUSAGE_SELF)
        with counted_requests() as seen:
            for _ in range(rounds):
                started = time.perf_counter()
                fresh.repository.fetch()
                view = look(fresh, revision)
                times.append((time.perf_counter() - started) * 1000)
                assert view.plan.is_empty
        after = resource.getrusage(resource.RUSAGE_SELF)
    hosts = len(view.observed.hosts)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000 / rounds
    return {
        "milliseconds": statistics.median(times),
        "cpu_ms": cpu,
        "requests_a_host": len(seen) / rounds / hosts,
        "requests": sorted(set(seen)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the second commit, and a sync with nothing to do.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    story = Story(Path(tempfile.mkdtemp(prefix="gitopsd-line-", dir="/var/tmp")))
    try:
        story.make_hosts()
        story.make_repository()
        settings = read_settings(str(story.repo), "main", str(story.state), story.environment["GITOPSD_KEY"])
        with Wiring(settings) as work:
            work.repository.fetch()
            sync(work, look(work, work.repository.revision("main"), bring=True))
            changes = [one_change(story, work, number) for number in range(2, options.rounds + 2)]
            found = {
                "second_commit_ms": {name: statistics.median(change.get(name, 0.0) for change in changes) for name in changes[0]},
                "nothing_to_do": nothing_to_do(work, options.rounds * 4),
            }
    finally:
        story.down()
    print(f"\na commit that changes one service on two hosts, median of {options.rounds}:")
    for name, value in found["second_commit_ms"].items():
        print(f"  {name:70} {value:8.0f} ms")
    idle = found["nothing_to_do"]
    print(f"a sync with nothing to do: {idle['milliseconds']:.0f} ms, {idle['cpu_ms']:.0f} ms of processor, "
          f"{idle['requests_a_host']:g} request(s) a host: {', '.join(idle['requests'])}")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
