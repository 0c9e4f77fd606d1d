from __future__ import annotations

import pytest

from gitopsd.model.errors import Errors
from gitopsd.render.reading import Reader
from gitopsd.render.template import render_template
from gitopsd.source import folder_revision


@pytest.fixture
def fill(tmp_path):
    def fill(text, files=(), **values):
        for name, content in {"stacks/a.j2": text, **dict(files)}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        reader = Reader(folder_revision(tmp_path).tree)
        fill.read = lambda: reader.files
        return render_template("stacks/a.j2", reader, values)

    return fill


def refusal(fill, *arguments, **values):
    with pytest.raises(Errors) as caught:
        fill(*arguments, **values)
    return caught.value.errors[0]


def test_values_stand_by_their_names_and_all_together(fill):
    assert fill("{{ a }} {{ values.a }} {{ values.b | default('c') }}\n", a=1) == "1 1 c\n"


def test_includes_are_found_from_the_root_or_from_the_file_s_own_folder(fill):
    files = {"part": "root", "stacks/part": "own", "stacks/deep/x": "{% include '../part' %}"}
    assert fill("{% include 'part' %} {% include './part' %} {% include './deep/x' %}", files) == "root own own"
    assert fill.read() == ("part", "stacks/a.j2", "stacks/deep/x", "stacks/part"), "what was read is remembered"


@pytest.mark.parametrize(
    ("text", "code", "line", "said"),
    [
        ("\n{{ nosuch }}", "undeclared-value", 2, "'nosuch' is not declared"),
        ("\n\n{{ a.b.c }}", "bad-template", 3, "no attribute"),
        ("{% if %}", "bad-template", 1, "xpected an expression"),
        ("\n{{ 1 / 0 }}", "bad-template", 2, "division by zero"),
        ("\n{{ a + 1 }}", "bad-template", 2, "str"),
        ("{{ a.__class__.__mro__ }}", "bad-template", 1, "unsafe"),
        ("{{ ''.format.__globals__ }}", "bad-template", 1, "unsafe"),
        ("{{ values.update({}) }}", "bad-template", 1, "unsafe"),
        ("{{ range(10**9) | list }}", "bad-template", 1, "range"),
        ("{{ lipsum() }}", "undeclared-value", 1, "lipsum"),
        ("{{ [1, 2] | random }}", "bad-template", 1, "random"),
        ("\n{% include 'nosuch' %}", "no-such-file", 2, "there is no nosuch in this folder"),
        ("\n{% include '../../etc/passwd' %}", "no-such-file", 2, "there is no"),
        ("\n{% include '/etc/passwd' %}", "no-such-file", 2, "there is no /etc/passwd"),
        ("{% include 'stacks/a.j2' %}", "template-cycle", None, "without end"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "template-cycle", None, "without end"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(fill, text, code, line, said):
    error = refusal(fill, text, a="x")
    assert (error.code, error.where.file, error.where.line) == (code, "stacks/a.j2", line)
    assert said in error.message


def test_an_error_in_an_included_file_names_that_file(fill):
    error = refusal(fill, "{% include 'part' %}", {"part": "\n\n{{ 1 / 0 }}"})
    assert (error.where.file, error.where.line) == ("part", 3)
    error = refusal(fill, "{% include 'part' %}", {"part": "\n{% if %}"})
    assert (error.where.file, error.where.line) == ("part", 2)


def test_a_symlink_is_not_included(fill, tmp_path):
    (tmp_path / "stacks").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder").symlink_to("/etc")
    for name in ("link", "folder/passwd"):
        error = refusal(fill, f"{{% include '{name}' %}}")
        assert error.code == "symlink"
        assert "root:" not in error.message


def test_the_same_files_give_the_same_text(fill):
    text = "{% for k, v in values.m.items() %}{{ k }}{{ v }}{% endfor %}{{ namespace(x=1).x }}{{ values.m | tojson }}"
    assert len({fill(text, m={"b": 1, "a": [2]}) for _ in range(3)}) == 1
