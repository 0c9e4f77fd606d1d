"""The quickstart holds, step by step, and its hosts execute nothing but python3, sshd, a shell for the login, and what is in containers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

from gitopsd.lab import read
from tests.hosts.execrecorder import PYTHON, needed, programs, recorded_execs

pytestmark = [pytest.mark.host, pytest.mark.timeout(900)]
STORY = Path(__file__).parents[2] / "examples/quickstart/story.py"
HANDS = {"/usr/bin/kill"}
"""What the story itself does on a host with `lab exec`, as somebody at its console would."""


def load_story() -> ModuleType:
    where = importlib.util.spec_from_file_location("quickstart_story", STORY)
    assert where is not None
    assert where.loader is not None
    module = importlib.util.module_from_spec(where)
    sys.modules[where.name] = module
    where.loader.exec_module(module)
    return module


def test_all_seven_steps_hold_and_the_hosts_need_python_sshd_and_a_shell() -> None:
    folder = Path(tempfile.mkdtemp(prefix="qs-", dir=os.environ.get("GITOPSD_TEST_DIR", "/var/tmp")))
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    story = load_story().Story(folder)
    try:
        story.make_hosts()
        with ExitStack() as watching:
            found = [watching.enter_context(recorded_execs(host)) for host in read(story.lab).hosts]
            for step in (story.make_repository, story.first_commit, story.change, story.drift, story.back_and_away, story.death):
                step()
    finally:
        story.down()
    assert len(found) == 2
    for counts in found:
        assert PYTHON in counts
        assert programs(counts) - HANDS <= needed(), programs(counts) - HANDS - needed()
