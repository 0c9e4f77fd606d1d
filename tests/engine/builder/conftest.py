from collections.abc import Iterator
from pathlib import Path

import pytest

from gitopsd.engine.runtime.launcher import Launcher
from tests.engine.builder.rig import Rig


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


@pytest.fixture
def rig(tmp_path: Path, launcher: Launcher) -> Iterator[Rig]:
    made = Rig(tmp_path, launcher)
    yield made
    made.images.close()
    assert made.leftovers() == []
