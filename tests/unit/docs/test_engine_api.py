"""docs/engine-api.md names each call that the engine answers, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from gitopsd.engine.wiring import ROUTES

TEXT = (Path(__file__).parents[3] / "docs" / "engine-api.md").read_text()


def without_names(path: str) -> str:
    return re.sub(r"\{\w+\*?\}|<\w+>", "<>", path)


def test_every_call_is_on_the_page_and_every_call_on_the_page_is_there() -> None:
    documented = {(method, without_names(path)) for method, path in re.findall(r"`([A-Z]+) (/[^` ]*)", TEXT)}
    answered = {(method, without_names(path)) for method, path, _ in ROUTES}
    assert len(answered) > 40
    assert sorted(answered - documented) == [], "answered, and not on the page"
    assert sorted(documented - answered) == [], "on the page, and not answered"
