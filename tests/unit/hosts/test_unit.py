"""The unit file."""

from __future__ import annotations

from gitopsd.hosts.unit import render_unit


def test_the_unit_says_what_the_page_on_state_promises() -> None:
    lines = render_unit(["/usr/bin/python3", "engine.pyz", "daemon"]).splitlines()
    promised = {"Type=notify", "KillMode=process", "Delegate=yes", "Restart=always", "TasksMax=infinity", "OOMScoreAdjust=-500"}
    assert promised <= set(lines)
    assert "ExecStart=/usr/bin/python3 engine.pyz daemon" in lines


def test_words_reach_the_program_as_they_are() -> None:
    text = render_unit(["/bin/x", "two words", "100%", "$HOME", 'quote"s', "back\\slash"])
    assert 'ExecStart=/bin/x "two words" 100%% "$$HOME" "quote\\"s" "back\\\\slash"' in text.splitlines()
