"""What is no YAML, and what people are told of it."""

from __future__ import annotations

import pytest

from gitopsd.model.errors import Errors
from gitopsd.render.locate import parse_yaml

CASES = {
    "a tab": ("a:\n\tb: 1\n", "a.yaml:2: a tab stands in the indentation (column 1)\n  hint: indent with spaces;"),
    "a tab further down": ("a:\n  b: 1\n\tc: 2\n", "a.yaml:3: a tab stands in the indentation (column 1)"),
    "a key too far left": (
        "services:\n  web:\n    image: x\n   ports: []\n",
        (
            "a.yaml:4: this line is indented otherwise than the mapping that it stands in, which begins in line 2 (column 4)\n"
            "  hint: indent with spaces, the keys of one mapping alike"
        ),
    ),
    "two colons": ("a: b: c\n", "a.yaml:1: a `: ` where no key can stand (column 5)\n  hint: put a text that has a colon"),
    "no colon": ("a: 1\nb\nc: 2\n", "a.yaml:3: line 2 has neither a `:` after a key nor a `- ` before an item (column 1)"),
    "an open quote": ('a: 1\nb: "c\nd: 2\n', "a.yaml:2: a text in quotes begins here and does not end (column 4)"),
    "an open list": (
        "a: [b, c\nd: 2\n",
        "a.yaml:2: the list that begins with [ in line 1 does not end (column 2)\n  hint: put a ] at",
    ),
    "an open mapping": (
        "a: {b: 1\nc: 2\n",
        "a.yaml:2: the mapping that begins with { in line 1 does not end (column 2)\n  hint: put a } ",
    ),
    "a key among items": ("a:\n  - b\n  c: 1\n", "a.yaml:3: this line stands where the list that begins in line 2 would go on"),
    "a sign": ("a: @b\n", "a.yaml:1: no value can begin with @ (column 4)\n  hint: put the value into quotes"),
    "text after quotes": ("a: 'x' y\n", "a.yaml:1: text behind a value that has ended (column 8)"),
    "an escape": ('a: "\\d"\n', "a.yaml:1: a backslash in a text in double quotes, and no escape of YAML's (column 5)"),
    "a star": ("a: *\n", "a.yaml:1: a * or & without a name (column 5)"),
    "a list behind a key": ("a: - b\n", "a.yaml:1: a `- ` behind a key (column 4)"),
    "a brace": ("a: }\n", "a.yaml:1: a value is expected here (column 4)"),
    "text behind a bar": ("a: |x\n b\n", "a.yaml:1: text behind the | or > that begins a block (column 5)"),
    "the first line indented": ("  a: 1\nb: 2\n", "a.yaml:2: this line is indented otherwise than the first one (column 1)"),
    "another version": ("%YAML 9.9\n---\na: 1", "a.yaml:1: another version of YAML; expected 1.1 or 1.2 (column 1)"),
    "something rare": ("a: !<x b\n", "a.yaml:1: did not find the expected '>', says the YAML reader (column 7)"),
    "a control character": ("a: \x01\n", "a.yaml: has characters that YAML does not allow"),
    "an unknown directive": ("%YAM 1\n---\na: 1", "a.yaml:1: found unknown directive name, says the YAML reader (column 5)"),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_a_slip_is_told_in_plain_words(text, expected):
    with pytest.raises(Errors) as caught:
        parse_yaml(text, "a.yaml")
    assert str(caught.value).startswith(f"error: bad-yaml\n  {expected}")


@pytest.mark.parametrize("text", [text.replace("\n", "\r\n") for text, _ in CASES.values()], ids=CASES)
def test_lines_that_end_as_on_windows_are_no_matter(text):
    with pytest.raises(Errors):
        parse_yaml(text, "a.yaml")


def test_what_else_the_file_holds_is_not_shown():
    for text in ("key: 's3cret\n", "key: s3cret: x\n", "- s3cret\nkey: 1\n", "key: [s3cret\nb: 1\n"):
        with pytest.raises(Errors) as caught:
            parse_yaml(text, "a.yaml")
        assert "s3cret" not in str(caught.value)
