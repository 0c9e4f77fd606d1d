"""Real hosts for tests: a lab, made once for each module that asks for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitopsd.lab import Lab, down, up


@pytest.fixture(scope="module")
def lab_dir() -> Iterator[Path]:
    """A folder on a real file system, and whatever lab is in it taken down at the end."""
    folder = Path(tempfile.mkdtemp(prefix="gitopsd-lab-", dir=os.environ.get("GITOPSD_TEST_DIR", "/var/tmp")))
    yield folder
    down(folder)


@pytest.fixture(scope="module")
def lab(lab_dir: Path) -> Lab:
    """Two hosts, lab-1 and lab-2."""
    return up(2, lab_dir)
