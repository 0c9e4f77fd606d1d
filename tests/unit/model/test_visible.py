"""What strangers wrote is shown to a terminal, not obeyed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gitopsd.cli.options import print_json, print_plan, say
from gitopsd.control.log import make_log
from gitopsd.model.plan import Change, FieldChange, Plan
from gitopsd.model.visible import visible, visible_json
from gitopsd.plan import brief, render_text
from gitopsd.report import render_drift, table

EVIL = "\x1b[1A\x1b[2K\x1b]0;pwned\x07\x1b[8m x\r\ny\x9b2J\u202ez\u2028\x85\x0b\x7f\ud800"


def a_plan(value: str = EVIL) -> Plan:
    fields = (
        FieldChange("environment.A", "1", value, "drift", "restart", value),
        FieldChange(f"environment.{value}", value, None, "git", "restart"),
    )
    change = Change("a", "shop", "container", f"web{value}", "replace", f"changed{value}", "web", 1, "git", fields, "restart")
    told = (("x", value),)
    return Plan("1", "f", None, "2026", (change,), (), blocked=told, refused=told, notes=(value,))


def assert_harmless(text: str) -> None:
    assert {each for each in text if not each.isprintable()} <= {"\n"}


def test_nothing_that_a_terminal_obeys_is_left() -> None:
    assert visible("plain text, ümläute too") == "plain text, ümläute too"
    assert visible("a\x1b[2Kb\rc\nd\u202e") == "a\\x1b[2Kb\\rc\\nd\\u202e"
    assert visible("a\tb\nc\x1b", "\n\t") == "a\tb\nc\\x1b"
    assert_harmless(visible(EVIL))
    for code in range(0x11000):
        assert visible(chr(code)).isprintable()


def test_a_commit_cannot_erase_lines_of_its_own_plan() -> None:
    for text in (render_text(a_plan()), "\n".join(brief(a_plan())), render_drift(a_plan()), table(("A", "B"), [(EVIL, "x")])):
        assert_harmless(text)
    lines = render_text(a_plan()).splitlines()
    told = [line for line in lines if not line.startswith(" " * 10)]
    assert len(told) == len(render_text(a_plan("y")).splitlines()), (
        "nor make lines of its own, but below the stack that is blocked"
    )
    assert [line for line in lines if line.startswith("      environment.A ")] == [
        line for line in lines if "environment.A " in line
    ]


def test_whatever_is_printed_or_logged_goes_through_the_edge(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"first\n  {EVIL}", err=True)
    print_plan(render_text(a_plan()))
    make_log().info(f"host {EVIL}", lines=(EVIL,))
    make_log(as_json=True).warning(EVIL, lines=(EVIL,))
    print_json({"value": EVIL})
    printed = capsys.readouterr()
    assert_harmless(printed.out)
    assert_harmless(printed.err)
    assert printed.err.count("\n") == EVIL.count("\n") + 2


def test_json_says_what_it_said() -> None:
    document = {EVIL: [EVIL, "ümläut", "\U0001f600\U000e0001"]}
    shown = visible_json(json.dumps(document, ensure_ascii=False, indent=2))
    assert_harmless(shown)
    assert "ümläut" in shown
    assert json.loads(shown) == document


def test_no_command_prints_past_the_edge() -> None:
    folder = Path(__file__).parents[3] / "gitopsd" / "cli"
    past = [path.name for path in folder.glob("*.py") if path.name != "options.py" and "click.echo(" in path.read_text()]
    assert past == [], "use cli/options.py say"
