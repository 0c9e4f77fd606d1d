from __future__ import annotations

import time

import pytest

from gitopsd.model.errors import Errors
from gitopsd.render.locate import parse_yaml, resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("true", True), ("True", True), ("FALSE", False), ("tRue", "tRue"),
        ("null", None), ("~", None), ("", None), ("nUll", "nUll"),
        ("0", 0), ("-7", -7), ("+7", 7), ("0755", "0755"), ("0o17", "0o17"), ("0x1f", "0x1f"), ("1_000", "1_000"),
        ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("1.", 1.0), ("1.2.3", "1.2.3"), (".inf", ".inf"), (".nan", ".nan"),
        ("12:30:45", "12:30:45"), ("80:80", "80:80"), ("2020-01-01", "2020-01-01"), ("=", "="), ("<", "<"),
        ("9" * 41, "9" * 41),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_yaml_1_2_without_its_octal(text, value):
    found = resolve(text)
    assert found == value
    assert isinstance(found, type(value)), type(found)


def test_a_number_keeps_how_it_was_written():
    node = parse_yaml("a: 1.10\nb: +7\n", "f").mapping
    assert (node["a"].value.text, node["b"].value.text) == ("1.10", "+7")


def test_every_key_and_value_knows_its_line():
    node = parse_yaml("# c\na:\n  b: 1\n  c:\n    - x\n    - y: 2\nd: {e: 3}\n", "f")
    assert [node.line_of(path) for path in (("a",), ("a", "b"), ("a", "c", 0), ("a", "c", 1, "y"), ("d", "e"))] == [2, 3, 5, 6, 7]
    assert node.line_of(("a", "nosuch", "deeper")) == 2, "what is not there is reported where it would be"
    assert node.line_of(("a", "c", 9)) == 4


def test_what_an_alias_brings_in_stands_where_it_is_written():
    node = parse_yaml("x: &x\n  image: a\ny:\n  <<: *x\n  b: 1\n", "f")
    assert node.plain()["y"] == {"b": 1, "image": "a"}
    assert node.line_of(("y", "image")) == 2


def test_quotes_and_tags_make_a_text_of_anything():
    assert parse_yaml("- \"1\"\n- 'true'\n- !!str 2\n- |\n  null\n", "f").plain() == ["1", "true", "2", "null\n"]
    assert parse_yaml("[!!int 3, !!float 1, !!bool true, !!null '']", "f").plain() == [3, 1, True, None]


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 10)}]" for level in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        (bomb(12), "too-large", 5),
        ("[" * 60 + "]" * 60, "too-deep", 1),
        ("[" * 100_000, "bad-yaml", 1),
        ("a: &a [*a]", "bad-alias", 1),
        ("\na: *b", "bad-alias", 2),
        ("a: 1\nb: 2\na: 3", "duplicate-key", 3),
        ("a: {b: 1, b: 1}", "duplicate-key", 1),
        ("? [a]\n: 1", "bad-key", 1),
        ("? {a: b}\n: 1", "bad-key", 1),
        ("a: 1\n---\nb: 2", "several-documents", 2),
        ("a: !!python/object/apply:os.system [x]", "unknown-tag", 1),
        ("a: !mine x", "unknown-tag", 1),
        ("a: !reset null", "not-there-yet", 1),
        ("a: !!int x", "wrong-type", 1),
        ("<<: 1", "wrong-type", 1),
        ("a: b: c", "bad-yaml", 1),
        ("a:\n\tb: 1", "bad-yaml", 2),
        ("a: 'x", "bad-yaml", 1),
        ("a: \x01", "bad-yaml", None),
        ("%YAML 3.0\n---\na: 1", "bad-yaml", 1),
        ("a: |\n x\n\ty", "bad-yaml", 3),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_costs_little(text, code, line):
    start = time.process_time()
    with pytest.raises(Errors) as caught:
        parse_yaml(text, "f.yaml")
    assert (caught.value.errors[0].code, caught.value.errors[0].where.line) == (code, line)
    assert time.process_time() - start < 1


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(Errors) as caught:
        parse_yaml("a: *x\nb: !m 1\nc: 1\nc: 2\nd: [", "f.yaml")
    assert [error.code for error in caught.value.errors] == ["bad-alias", "unknown-tag", "duplicate-key", "bad-yaml"]


def test_an_error_shows_keys_and_places_and_no_other_content():
    for text in ("root:x:0:0:root:/root:/bin/bash\ndaemon: x: y", "s3cret: [s3cret", "a: 's3cret\nb: s3cret", "- s3cret\na: 1"):
        with pytest.raises(Errors) as caught:
            parse_yaml(text, "f.yaml")
        assert "s3cret" not in str(caught.value)
        assert "bash" not in str(caught.value)


def test_merging_a_mapping_many_times_makes_it_no_larger():
    text = "\n".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10 if n else [])}], k{n}: x}}" for n in range(12))
    assert parse_yaml(text, "f").plain()["a11"] == {f"k{n}": "x" for n in range(12)}


def test_nothing_is_nothing():
    assert parse_yaml("", "f").plain() is None
    assert parse_yaml("# only a comment\n", "f").plain() is None
