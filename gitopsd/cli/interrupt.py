"""Ctrl-C and SIGTERM while a command is at work.

Rule: before anything is changed the command ends at once. While hosts are changed it is told to end, and ends when what was begun is finished or
undone (apply/run.py). A second one ends it there and then; what is left the next sync finds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any, Self

NOTHING_DONE = "interrupted: nothing was changed"
_ENDING = "interrupted: what was begun is being finished or undone; again to end at once"
_AT_ONCE = "ended at once: to see what is left: gitopsd plan; to go on: gitopsd sync"


class Interrupts:
    """A context. `before`: what to say to one that comes before `changing()` was called."""

    def __init__(self, before: str = NOTHING_DONE) -> None:
        self.ending = threading.Event()
        self.before = before
        self._signal = 0
        self._is_changing = False
        self._handlers: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM, as shells have it."""
        return 128 + self._signal

    def changing(self) -> threading.Event:
        """From now on hosts are changed. Gives what is set when it is to end."""
        self._is_changing = True
        return self.ending

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._told)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _told(self, number: int, _: FrameType | None) -> None:
        is_second, self._signal = self._signal != 0, number
        if is_second:
            _write(_AT_ONCE if self._is_changing else self.before)
            os._exit(self.exit_code)
        if not self._is_changing:
            _write(self.before)
            raise SystemExit(self.exit_code)
        _write(_ENDING)
        self.ending.set()


def _write(line: str) -> None:
    """Not through a buffer: the signal may have come in the middle of a line."""
    with contextlib.suppress(OSError):  # nobody may read any more
        os.write(2, f"\n{line}\n".encode() if os.isatty(2) else f"{line}\n".encode())
