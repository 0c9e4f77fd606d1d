"""The controller's clock: everybody else is told the time."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> str:
    """RFC 3339, UTC, to the second."""
    return datetime.fromtimestamp(time.time_ns() / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
