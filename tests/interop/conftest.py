"""An engine for other people's clients, as tests/engine has it, and a registry of ours beside it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import engine, pytest_runtest_makereport, shared_engine  # noqa: F401  fixtures, and what they need
from tests.engine.running import PYTHON, Engine, until


@pytest.fixture(scope="module")
def registry(shared_engine: Engine) -> Iterator[str]:  # noqa: F811
    """The address of an embedded registry on the engine's host."""
    address, log = "localhost:5000", shared_engine.folder / "registry.log"
    roots = ["--data-root", str(shared_engine.folder / "registry"), "--listen", "127.0.0.1:5000"]
    pid = shared_engine.run_program([PYTHON, "-m", "gitopsd.engine.main", "registry", *roots], log)
    until(lambda: log.exists() and "registry on" in log.read_text(), "the registry listens")
    yield address
    os.kill(pid, signal.SIGTERM)
    shared_engine.keeper.ended(pid)


@pytest.fixture(autouse=True)
def only_busybox(request: pytest.FixtureRequest) -> Iterator[None]:
    """No image of a test is there in the next."""
    yield
    if "engine" in request.fixturenames:
        made: Engine = request.getfixturevalue("shared_engine")
        made.empty()
        for image in made.client.call("GET", "/images/json"):
            for name in [*image["RepoTags"], *image["RepoDigests"]] or [image["Id"]]:
                if name != "busybox:latest":
                    made.call("DELETE", f"/images/{name}?force=1")  # it may have gone with the last one


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """What an image is built from that says what it was built with."""
    (tmp_path / "Dockerfile").write_text(
        'FROM busybox\nARG A=1\nRUN echo "built with $A" > /made\nCOPY page /\nCMD ["cat", "/made", "/page"]\n'
    )
    (tmp_path / "page").write_text("page\n")
    return tmp_path
