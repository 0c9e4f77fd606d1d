"""README's first fleet, pasted as it stands into an empty folder; only the registry's port is another, as others may use that one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.line import TOP, a_free_port

pytestmark = pytest.mark.host
SECTION = (TOP / "README.md").read_text().partition("\n## A first fleet\n")[2].partition("\n## ")[0]
FIRST = SECTION.partition("\n### ")[0]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", FIRST, re.MULTILINE | re.DOTALL)
AWAY = re.findall(r"Away with it all: `([^`]+)`", FIRST)


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder on a real file system that is somebody's home, with `gitopsd` on the path."""
    folder = Path(tempfile.mkdtemp(prefix="gitopsd-readme-", dir=os.environ.get("GITOPSD_TEST_DIR", "/var/tmp")))
    (folder / "bin").mkdir()
    (folder / "bin" / "gitopsd").write_text(f'#!/bin/sh\nexec {sys.executable} -c "from gitopsd.cli import main; main()" "$@"\n')
    (folder / "bin" / "gitopsd").chmod(0o755)
    yield folder
    paste(folder, f"mkdir -p ~/fleet; cd ~/fleet; {AWAY[0]}")
    shutil.rmtree(folder)


def paste(home: Path, text: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{home}/bin:{os.environ['PATH']}", "PYTHONPATH": str(TOP), "HOME": str(home),
           "GITOPSD_STATE_DIR": str(home / "state")}  # fmt: skip
    return subprocess.run(["bash", "-c", text], env=env, cwd=home, capture_output=True, text=True, timeout=240)


def test_the_first_fleet_can_be_pasted(home: Path) -> None:
    assert len(BLOCKS) == 3
    install, files, out = BLOCKS
    assert "pip install" in install
    done = paste(home, f"set -e\n{files.replace('127.0.0.1:5000', f'127.0.0.1:{a_free_port()}')}")
    assert done.returncode == 0, done.stderr
    done = paste(home, f"cd ~/fleet\n{out}gitopsd plan >/dev/null; echo $?")
    assert "all is well" in done.stdout, done.stdout + done.stderr
    assert "Version 1\n" in done.stdout, done.stdout + done.stderr
    assert done.stdout.endswith("\n0\n"), done.stdout + done.stderr
    text = home / "fleet" / "web" / "index.html"
    text.write_text("Version 2\n")
    done = paste(home, f"cd ~/fleet\ngit -c user.name=me -c user.email=me@localhost commit -qam two\n{out}")
    assert "Version 2\n" in done.stdout, done.stdout + done.stderr
