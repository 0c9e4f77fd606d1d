"""Signals by the names that people give them.  [pure]"""

from __future__ import annotations

import re
import signal

from gitopsd.dockerapi.errors import ApiError

_LATER = {"SIGSTKFLT": 16, "SIGUNUSED": 31}
"""Names that Docker knows, and Python late or never."""


def signal_number(name: str) -> int:
    """`SIGTERM`, `TERM`, `15`, `RTMIN+3`; ApiError 400 for anything else."""
    if name.isascii() and name.isdigit() and 0 < int(name[:9]) < 65 and len(name) < 10:
        return int(name)
    upper = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    for base, low, high in (("SIGRTMIN", 0, 30), ("SIGRTMAX", -30, 0)):
        offset = upper[len(base) :] or "+0"
        if upper.startswith(base) and re.fullmatch(r"[+-]\d{1,2}", offset, re.ASCII) and low <= int(offset) <= high:
            return int(signal.Signals[base]) + int(offset)
    try:
        return _LATER.get(upper) or int(signal.Signals[upper])
    except KeyError:
        raise ApiError(400, f"Invalid signal: {name}") from None
