"""Lists for people.  [pure]"""

from __future__ import annotations

from collections.abc import Sequence


def render(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as docker prints them: as wide as their widest cell, three spaces between."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [header, *rows]]
    return "\n".join(lines)


def size(count: float) -> str:
    """Bytes as docker prints them: `4.26MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g}{unit}"
        count /= 1000
    return f"{count:.4g}TB"


def short(digest: str) -> str:
    return digest.rpartition(":")[2][:12]


def ports(entries: Sequence[dict[str, object]]) -> str:
    """The PORTS column."""
    shown = [
        f"{entry['IP']}:{entry['PublicPort']}->{entry['PrivatePort']}/{entry['Type']}"
        if "PublicPort" in entry
        else f"{entry['PrivatePort']}/{entry['Type']}"
        for entry in entries
    ]
    return ", ".join(shown)
