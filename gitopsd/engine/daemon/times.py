"""Moments as Docker writes them, and durations as people read them.  [pure]"""

from __future__ import annotations

import datetime as dt
import re

ZERO = "0001-01-01T00:00:00Z"
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?")
_SECOND = 1_000_000_000


def rfc3339(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, UTC; 0 is Docker's zero time."""
    if not nanoseconds:
        return ZERO
    seconds, rest = divmod(nanoseconds, _SECOND)
    moment = dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def parse(text: str) -> int:
    """Nanoseconds of `1700000000`, `1700000000.000000001` or an RFC 3339 stamp; raises ValueError for anything else."""
    whole, _, fraction = text.partition(".")
    if whole.isascii() and whole.isdigit() and (not fraction or fraction.isdigit()):
        return int(whole) * _SECOND + int(fraction[:9].ljust(9, "0") or 0)
    match = _STAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is neither seconds since 1970 nor an RFC 3339 time")
    zone = "+00:00" if match[3] in (None, "Z") else match[3]
    moment = dt.datetime.fromisoformat(match[1] + zone)
    return int(moment.timestamp()) * _SECOND + int((match[2] or "").ljust(9, "0"))


def human(seconds: float) -> str:
    """`Less than a second`, `About an hour`, `3 weeks`: the words of docker ps."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 120 and whole // 60 == 1:
        return "About a minute"
    for limit, unit, name in ((60, 1, "second"), (46 * 60, 60, "minute")):
        if whole < limit:
            count = whole // unit
            return f"{count} {name}" + ("" if count == 1 else "s")
    hours = round(whole / 3600)
    if hours <= 1:
        return "About an hour"
    for limit, unit, name in ((48, 1, "hour"), (24 * 14, 24, "day"), (24 * 60, 24 * 7, "week"), (24 * 730, 24 * 30, "month")):
        if hours < limit:
            return f"{hours // unit} {name}s"
    return f"{hours // (24 * 365)} years"
