"""Every code that hosts and lab raise is explained in docs/errors.md."""

from __future__ import annotations

import re
from pathlib import Path

from gitopsd.hosts import enginehttp

TOP = Path(__file__).parents[3]


def test_every_code_is_explained() -> None:
    codes: set[str] = set()
    for folder in ("hosts", "lab"):
        for path in (TOP / "gitopsd" / folder).glob("*.py"):
            codes |= set(re.findall(r'GitopsdError\(\s*"([a-z-]+)"', path.read_text()))
    codes |= set(enginehttp._BY_STATUS.values()) - {"not-there-yet"}
    explained = set(re.findall(r"`([a-z-]+)`", (TOP / "docs/errors.md").read_text()))
    assert len(codes) > 30
    assert codes <= explained, codes - explained
