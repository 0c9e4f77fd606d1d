"""What is said of steps and builds while they go on."""

from __future__ import annotations

import time

from gitopsd.control.progress import Kind, Progress
from gitopsd.model.outcome import StepOutcome
from gitopsd.model.plan import Step
from tests.fakes.values import a_build, a_built_image

STOP = Step(3, "stop_container", "a", "shop", "container shop-web-1")


class Said:
    def __init__(self) -> None:
        self.lines: list[tuple[str, Kind]] = []

    def __call__(self, line: str, kind: Kind) -> None:
        self.lines.append((line, kind))


def test_a_step_says_when_it_begins_and_when_it_ends_with_the_time_it_took() -> None:
    said = Said()
    with Progress(said) as progress:
        watch = progress.watch()
        watch.started(STOP)
        watch.ended(STOP, StepOutcome(3, "succeeded", 10.12))
        watch.ended(STOP, StepOutcome(3, "failed", 1.0, "no"))
        watch.ended(STOP, StepOutcome(3, "skipped", 0.0))
    assert said.lines == [
        ("a  stop container shop-web-1", "begin"),
        ("a  stop container shop-web-1: done (10.1 s)", "end"),
        ("a  stop container shop-web-1: failed (1.0 s)", "failed"),
    ]


def test_a_build_shows_its_lines_and_the_step_that_asks_for_it_adds_none() -> None:
    said, want = Said(), a_build(a_built_image())
    with Progress(said) as progress:
        builds, watch = progress.builds(), progress.watch()
        builds.started(want)
        builds.line(want, "Step 1/1 : FROM busybox")
        builds.ended(want, 6.2, True)
        step = Step(1, "build", "", "shop", "image shop/web", build=want)
        watch.started(step)
        watch.ended(step, StepOutcome(1, "succeeded", 6.2))
    assert [line for line, _ in said.lines] == [
        "builder  build image shop/web",
        "builder  shop/web | Step 1/1 : FROM busybox",
        "builder  build image shop/web: done (6.2 s)",
    ]


def test_what_lasts_long_says_that_it_goes_on_and_less_often_with_time() -> None:
    said = Said()
    with Progress(said, first_s=0.1) as progress:
        progress.watch().started(STOP)
        time.sleep(1.0)
    going = [line for line, kind in said.lines if kind == "goes on"]
    assert 2 <= len(going) <= 4
    assert going[0].startswith("a  stop container shop-web-1: goes on, ")
