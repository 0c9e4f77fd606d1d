"""`stop_signal` takes what the engine can send, and nothing else."""

from __future__ import annotations

import signal

import pytest
from pydantic import TypeAdapter, ValidationError

from gitopsd.engine.daemon.lifecycle import signal_number
from gitopsd.render.schema.stack import Signal

READ = TypeAdapter(Signal).validate_python
NAMES = [each.name for each in signal.Signals if each.name != "SIGSTKFLT"]  # which Python names from 3.11 on
GOOD = [*NAMES, *(name.removeprefix("SIG") for name in NAMES), "SIGRTMIN+3", "RTMAX-30", "SIGPOLL", "SIGIOT", "1", "64", 9]


@pytest.mark.parametrize("written", GOOD)
def test_a_signal_that_there_is_can_be_sent(written):
    assert 0 < signal_number(READ(written)) < 65


@pytest.mark.parametrize("written", ["SIGFOO", "0", "65", "99", "SIGRTMIN+31", "SIGRTMIN-1", "RTMAX+1", "TERM+1", "", "sigterm"])
def test_a_signal_that_there_is_not_is_refused(written):
    with pytest.raises(ValidationError, match="expected a signal like SIGTERM"):
        READ(written)
