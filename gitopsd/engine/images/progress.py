"""Messages of pull, push and load as Docker's clients show them.  [pure, but for the throttle's clock]

In: what happens to which layer.  Out: JSON objects for the answer's stream.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Callable

Tell = Callable[["dict[str, Any]"], None]
_EVERY_S = 0.1
_WIDTH = 50
_UNITS = ("B", "kB", "MB", "GB", "TB")


def status(text: str, identity: str = "") -> dict[str, Any]:
    """A line, of one layer if `identity` says which."""
    return {"status": text, "progressDetail": {}, "id": identity} if identity else {"status": text}


def bar(text: str, identity: str, current: int, total: int) -> dict[str, Any]:
    """A line with how far it is."""
    shown = f"{human_size(current):>8}"
    if 0 < current <= total:
        filled = min(_WIDTH, _WIDTH * current // total)
        head = "=" * (filled - 1) + ">" if filled < _WIDTH else "=" * _WIDTH
        shown = f"[{head:<{_WIDTH}}]  {human_size(current)}/{human_size(total)}"
    return {"status": text, "progressDetail": {"current": current, "total": total}, "progress": shown, "id": identity}


def human_size(size: float) -> str:
    """Four digits and a decimal unit, as Docker writes sizes."""
    unit = 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.4g}{_UNITS[unit]}"


class Teller:
    """Hands messages on from several threads, one at a time, and bars not more often than people can read."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def say(self, text: str, identity: str = "") -> None:
        with self._lock:
            self._tell(status(text, identity))

    def show(self, text: str, identity: str, current: int, total: int) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._last.get(identity, 0.0) >= _EVERY_S:
                self._last[identity] = now
                self._tell(bar(text, identity, current, total))

    def send(self, message: dict[str, Any]) -> None:
        with self._lock:
            self._tell(message)
