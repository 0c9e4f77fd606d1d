"""Engines to test: `engine` is shared by the tests of a file and emptied after each, `own` is a test's alone.

Both are uninstalled at the end, and then nothing of them may be left. A test that fails shows the daemon's log and keeps the files.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.engine.running import Engine

_FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="module")
def shared_engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    made = Engine()
    try:
        made.start()
        made.load("busybox")
        yield made
    finally:
        _close(made, request.session.testsfailed > 0)


@pytest.fixture
def engine(shared_engine: Engine, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A running engine that has the image `busybox`."""
    shared_engine.mark = shared_engine.log.stat().st_size
    request.node.stash[_ENGINE] = shared_engine
    yield shared_engine
    if not shared_engine.pid:
        shared_engine.start()
    shared_engine.empty()


@pytest.fixture
def own(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The same for one test alone, which may kill it."""
    made = Engine()
    request.node.stash[_ENGINE] = made
    try:
        made.start()
        made.load("busybox")
        yield made
    finally:
        _close(made, request.node.stash.get(_FAILED, False))


_ENGINE = pytest.StashKey[Engine]()


def _close(engine: Engine, keep: bool) -> None:
    wrong = engine.close()
    if keep or wrong:
        print(f"the engine's files: {engine.folder}")
    else:
        engine.remove_files()
    assert wrong == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
        engine = item.stash.get(_ENGINE, None)
        if engine is not None and engine.log.exists():
            report.sections.append(("the daemon's log", engine.log.read_text()[engine.mark :][-20000:]))
    return report
