from __future__ import annotations

import time

import pytest

from gitopsd.render.interpolate import BadInterpolation, fill_in, interpolate
from gitopsd.render.locate import WrittenFloat, parse_yaml

VALUES = {"A": "a", "EMPTY": "", "N": 3, "TAG": WrittenFloat.of("1.10"), "ON": True, "NOTHING": None, "LIST": [1], "a_1": "x"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("$A", "a"), ("${A}", "a"), ("x${A}y$A.z", "xaya.z"), ("$a_1-", "x-"), ("$$A", "$A"), ("$$$A", "$a"), ("$$$$", "$$"),
        ("${N}", "3"), ("${TAG}", "1.10"), ("${ON}", "true"),
        ("${A:-d}", "a"), ("${A-d}", "a"), ("${EMPTY:-d}", "d"), ("${EMPTY-d}", ""), ("${NO:-d}", "d"), ("${NO-d}", "d"), ("${NO:-}", ""),
        ("${NOTHING:-d}", "d"), ("${NOTHING-d}", "d"),
        ("${A:+o}", "o"), ("${A+o}", "o"), ("${EMPTY:+o}", ""), ("${EMPTY+o}", "o"), ("${NO:+o}", ""), ("${NO+o}", ""),
        ("${A:?e}", "a"), ("${A?e}", "a"), ("${EMPTY?e}", ""),
        ("${NO:-${A}}", "a"), ("${NO:-${NO2:-${A}b}c}", "abc"), ("${NO:-a:-b}", "a:-b"), ("${NO:-{x}}", "{x}"), ("${NO:-$$}", "$"),
        ("${A:-${NOSUCH}}", "a"), ("${A:-${NOSUCH:?no}}", "a"), ("${A:-$(x)}", "a"),
        ("{}", "{}"), ("}", "}"), ("plain", "plain"), ("", ""), ("ü${A}é", "üaé"),
    ],
)  # fmt: skip
def test_variables_are_filled_in_as_compose_does(text, filled):
    assert fill_in(text, VALUES) == filled


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("$NO", "undeclared-value", "NO is not declared"),
        ("${NOTHING}", "undeclared-value", "declared without a value"),
        ("${NO:?say so}", "undeclared-value", "NO must be given: say so"),
        ("${EMPTY:?}", "undeclared-value", "EMPTY must be given"),
        ("${NO?$A}", "undeclared-value", "NO must be given: a"),
        ("${LIST}", "wrong-type", "is a list"),
        ("$", "bad-interpolation", "column 1"),
        ("ab $", "bad-interpolation", "column 4"),
        ("$1", "bad-interpolation", "column 1"),
        ("$(date)", "bad-interpolation", "column 1"),
        ("${", "bad-interpolation", "column 1"),
        ("${}", "bad-interpolation", "column 1"),
        ("${A", "bad-interpolation", "goes on with something else"),
        ("${A:", "bad-interpolation", "goes on with something else"),
        ("${A!x}", "bad-interpolation", "goes on with something else"),
        ("${A:=x}", "bad-interpolation", "goes on with something else"),
        ("${NO:-x", "bad-interpolation", "no } to close it"),
        ("${A:-${B}", "bad-interpolation", "no } to close it"),
        ("${NO:-" * 30 + "}" * 30, "bad-interpolation", "more than 20 deep"),
        ("${A:-" * 30 + "}" * 30, "bad-interpolation", "more than 20 deep"),
    ],
)
def test_what_cannot_be_filled_in_is_said(text, code, said):
    with pytest.raises(BadInterpolation, match=said.replace("}", r"\}")) as caught:
        fill_in(text, VALUES)
    assert caught.value.code == code


def test_a_near_name_is_suggested():
    with pytest.raises(BadInterpolation) as caught:
        fill_in("$TGA", VALUES)
    assert caught.value.hint == 'did you mean "TAG"?'


def test_the_controller_s_environment_is_not_seen(monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    with pytest.raises(BadInterpolation):
        fill_in("$SECRET", {})
    assert fill_in("${SECRET:-none}", {}) == "none"


def test_what_grows_without_end_is_cut_off():
    values = {"X": "x" * 1000}
    start = time.process_time()
    with pytest.raises(BadInterpolation, match="longer than"):
        fill_in("$X" * 100_000, values)
    with pytest.raises(BadInterpolation):
        fill_in("${X:-" * 100_000, values)
    assert time.process_time() - start < 1


def test_every_text_but_no_key_is_filled_in_and_every_error_is_kept():
    errors = []
    node = parse_yaml("$A: $A\nlist: [$A, 1, {x: $NO}]\nother: $NO2\n", "f")
    filled = interpolate(node, VALUES, "f", errors)
    assert filled.plain() == {"$A": "a", "list": ["a", 1, {"x": "$NO"}], "other": "$NO2"}
    assert [(error.where.line, error.where.key) for error in errors] == [(2, "list[2].x"), (3, "other")]
    assert filled.line_of(("list", 2, "x")) == 2
