"""Builds of a plan, on an engine in memory."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gitopsd.build import BuildWatch, build
from gitopsd.hosts.engineapi import EngineApi
from gitopsd.hosts.local import LocalLink
from gitopsd.model.desired import BuildWant
from gitopsd.model.errors import Where
from gitopsd.model.outcome import Images
from gitopsd.model.plan import Plan
from tests.fakes.fakeengine import FakeEngine
from tests.fakes.memorytree import MemoryTree
from tests.fakes.values import NOW, a_build, a_built_image, a_digest

TREE = MemoryTree({"web/Dockerfile": b"FROM busybox:stable\n", "web/index.html": b"hello"})
WANT = replace(a_build(a_built_image("one")), args=(("COLOUR", "red"),), bases=(("busybox:stable", a_digest("base")),), epoch=7)


class NoRegistry:
    """Has what is in `there`."""

    def __init__(self, **there: str) -> None:
        self.there = there

    def resolve(self, reference: str, platform: object) -> Any:
        digest = self.there.get(reference.rpartition(":")[2].replace("-", "_"))
        return SimpleNamespace(digest=digest) if digest else None


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    made = FakeEngine(tmp_path)
    yield made
    made.close()


def run(
    engine: FakeEngine,
    *wants: BuildWant,
    registry: NoRegistry | None = None,
    lines: list[str] | None = None,
    watch: BuildWatch | None = None,
    ending: threading.Event | None = None,
) -> Images:
    api = EngineApi(LocalLink(), str(engine.socket))
    plan = Plan("", "test", None, NOW, (), (), builds=wants)
    told = [] if lines is None else lines
    watch = watch or BuildWatch(line=lambda want, line: told.append(line))
    try:
        return build(plan, TREE, lambda: api, registry or NoRegistry(), watch, ending)  # type: ignore[arg-type]
    finally:
        api.close()


def test_a_build_is_asked_for_with_all_that_its_key_covers_and_pushed_under_it(engine: FakeEngine) -> None:
    lines: list[str] = []
    images = run(engine, WANT, lines=lines)
    ((query, context),) = engine.builds
    name = f"127.0.0.1:5000/shop/web:{WANT.key}"
    assert (query["t"], query["dockerfile"], query["platform"]) == (name, "Dockerfile", "linux/amd64")
    assert json.loads(query["buildargs"]) == {"COLOUR": "red", "SOURCE_DATE_EPOCH": "7"}
    assert json.loads(query["gitopsd-bases"]) == {"busybox:stable": a_digest("base")}
    assert b"hello" in context
    assert dict(images.built) == {WANT.key: engine.pushed[name]}
    assert lines == ["Step 1/1 : FROM busybox", f"pushing {name}"]


def test_one_key_is_built_once_whoever_asks_for_it(engine: FakeEngine) -> None:
    run(engine, WANT, replace(WANT, service="api"))
    assert len(engine.builds) == 1


def test_a_tag_that_somebody_else_made_meanwhile_is_not_moved(engine: FakeEngine) -> None:
    theirs = a_digest("theirs")
    images = run(engine, WANT, registry=NoRegistry(**{WANT.key.replace("-", "_"): theirs}))
    assert dict(images.built) == {WANT.key: theirs}
    assert engine.pushed == {}


def test_a_build_that_fails_says_its_last_lines_and_ends_no_other(engine: FakeEngine) -> None:
    other = replace(WANT, key="key-" + "1" * 32, service="api")
    engine.builds_as = lambda query: (
        [{"stream": "Step 2/3 : RUN make\n"}, {"stream": "no rule\n"}, {"error": "RUN make: exit code 2"}]
        if WANT.key in query["t"]
        else [{"stream": "ok\n"}]
    )
    images = run(engine, WANT, other)
    assert set(dict(images.built)) == {other.key}
    (failed,) = images.failed
    said = failed.why
    assert (failed.key, failed.next) == (WANT.key, "stall")
    assert "RUN make: exit code 2" in said
    assert "no rule" in said
    assert "shop/web" in said


def test_a_build_error_begins_with_the_line_of_the_dockerfile_that_is_to_be_mended(engine: FakeEngine) -> None:
    said = "Dockerfile:6: The command '/bin/sh -c make all' returned a non-zero code: 2"
    engine.builds_as = lambda query: [{"stream": "no rule\n"}, {"error": said}]
    (failed,) = run(engine, replace(WANT, where=Where("stacks/shop.yaml", 3, "services.web.build"))).failed
    assert failed.why == (
        "error: build-failed\n"
        "  web/Dockerfile:6: RUN make all ended with 2\n"
        "  hint: image shop/web is asked for by stacks/shop.yaml:3\n"
        "    its last output:\n"
        "    no rule"
    )


def test_a_build_says_when_it_begins_when_it_ends_and_how_long_it_took(engine: FakeEngine) -> None:
    engine.builds_as = lambda query: time.sleep(0.2) or [{"stream": "ok\n"}]
    told: list[object] = []
    watch = BuildWatch(
        lambda want: told.append("started"),
        lambda want, line: told.append(line),
        lambda want, seconds, is_well: told.append((seconds >= 0.2, is_well)),
    )
    images = run(engine, WANT, watch=watch)
    assert (told[0], told[-1]) == ("started", (True, True))
    assert images.seconds(WANT.key) >= 0.2


def test_a_build_that_says_nothing_does_not_hold_up_the_end(engine: FakeEngine) -> None:
    ending, over = threading.Event(), threading.Event()
    engine.builds_as = lambda query: (over.wait(10) and []) or []
    threading.Timer(0.2, ending.set).start()
    begun = time.monotonic()
    images = run(engine, WANT, replace(WANT, key="key-" + "1" * 32), ending=ending)
    over.set()
    assert time.monotonic() - begun < 3
    assert [(failed.next, "interrupted" in failed.why) for failed in images.failed] == [("retry", True)] * 2


def test_nothing_to_build_asks_nobody() -> None:
    def nobody() -> EngineApi:
        raise AssertionError

    assert build(Plan("", "test", None, NOW, (), ()), TREE, nobody, NoRegistry()).built == ()  # type: ignore[arg-type]
