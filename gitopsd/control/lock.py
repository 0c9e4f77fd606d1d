"""One writer at a time: whoever changes hosts or the store holds the lock of the state folder.

`serve` holds it for as long as it runs, and takes requests of commands over a socket meanwhile (serving.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Generator

from gitopsd.control.settings import Settings, check_state_dir
from gitopsd.model.errors import GitopsdError, Where


@contextlib.contextmanager
def writer(settings: Settings, wait_s: float = 0.0) -> Generator[None]:
    """Hold the lock; `state-locked` if somebody else has it for longer than `wait_s`."""
    check_state_dir(settings)
    descriptor = os.open(settings.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip() or "another gitopsd"
                    hint = "wait for it with --lock-wait SECONDS"
                    raise GitopsdError(
                        "state-locked", f"{holder} is at work", Where(file=str(settings.lock)), hint, "retry"
                    ) from None
                time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
