"""Ctrl-C and SIGTERM, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOP = Path(__file__).parents[3]
BEFORE = """
import sys, time
from gitopsd.cli.interrupt import Interrupts
with Interrupts():
    print("ready", flush=True)
    time.sleep(20)
"""
WHILE = """
import sys, time
from gitopsd.cli.interrupt import Interrupts
with Interrupts() as interrupts:
    ending = interrupts.changing()
    print("ready", flush=True)
    ending.wait(20)
    print("told", flush=True)
    time.sleep(float(sys.argv[1]))
    sys.exit(interrupts.exit_code)
"""


def start(code: str, *words: str) -> subprocess.Popen[str]:
    made = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    )
    assert made.stdout is not None
    assert made.stdout.readline() == "ready\n"
    return made


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_before_anything_is_changed_a_command_ends_at_once_and_says_so(number: signal.Signals, code: int) -> None:
    process = start(BEFORE)
    process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert (process.returncode, said) == (code, "interrupted: nothing was changed\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_while_hosts_are_changed_it_is_told_to_end_and_ends_by_itself(number: signal.Signals, code: int) -> None:
    process = start(WHILE, "0.1")
    process.send_signal(number)
    out, said = process.communicate(timeout=10)
    assert (process.returncode, out) == (code, "told\n")
    assert "again to end at once" in said


def test_a_second_time_it_ends_at_once_and_says_what_to_type() -> None:
    process = start(WHILE, "20")
    assert process.stdout is not None
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "told\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert time.monotonic() - begun < 5
    assert "gitopsd sync" in said
