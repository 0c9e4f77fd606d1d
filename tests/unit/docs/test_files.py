"""The manuals of both files, and their schemas, say what the code reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gitopsd.model.fleet import StackEntry
from gitopsd.render import render_stack
from gitopsd.render.fleet import read_fleet
from gitopsd.render.schema.export import FORMS, schema_text
from gitopsd.render.schema.form import _form_in, _options
from gitopsd.source import folder_revision

ROOT = Path(__file__).parents[3]
FILES = {"fleet": "fleet-file.md", "stack": "stack-file.md"}


def keys(kind, path=""):
    """Every key of a form: `services.<name>.ports[].target`. A form is documented by its keys, or as a whole."""
    import typing

    form = _form_in(kind)
    if form:
        for key, inner in form.keys().items():
            here = f"{path}.{key}" if path else key
            below = list(keys(inner, here))
            yield from below or [here]
        return
    for option in _options(kind):
        arguments = typing.get_args(option)
        if typing.get_origin(option) is dict and _form_in(arguments[1]):
            yield from keys(arguments[1], f"{path}.<name>")
        if typing.get_origin(option) is list and _form_in(arguments[0]):
            yield from keys(arguments[0], f"{path}[]")


@pytest.mark.parametrize("name", FILES)
def test_every_key_has_its_line_in_the_manual(name):
    text = (ROOT / "docs" / FILES[name]).read_text()
    documented = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    expected = set(keys(FORMS[name][0]))
    assert len(expected) > 15
    assert sorted(expected - set(documented)) == [], "not in the manual"
    parents = {key.rpartition(".")[0].removesuffix(".<name>").removesuffix("[]") for key in expected} | {
        "services",
        "networks",
        "volumes",
    }
    unknown = {key for key in documented if re.match(r"[a-z]", key) and key not in expected | parents}
    assert sorted(unknown) == [], "in the manual and not read"


@pytest.mark.parametrize("name", FILES)
def test_every_example_of_the_manual_is_read(name, tmp_path):
    examples = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / FILES[name]).read_text(), re.MULTILINE | re.DOTALL)
    assert examples
    for text in examples:
        if name == "fleet":
            assert read_fleet(text).stacks
            continue
        (tmp_path / "stacks").mkdir(exist_ok=True)
        (tmp_path / "web").mkdir(exist_ok=True)
        (tmp_path / "web" / "Dockerfile").write_text("FROM busybox:stable\n")
        (tmp_path / "stacks" / "shop.yaml").write_text(text)
        assert render_stack(folder_revision(tmp_path).tree, StackEntry("shop", "stacks/shop.yaml", values=(("TAG", '"1"'),)))


def test_a_host_as_the_readme_has_it_is_read():
    text = (ROOT / "README.md").read_text().partition("### With hosts of your own")[2]
    found = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    host = read_fleet(f"name: home\n{found[0]}").hosts[0]
    assert (host.user, host.key) == ("deploy", "~/.ssh/id_ed25519")


@pytest.mark.parametrize("name", FILES)
def test_the_published_schema_is_current(name):
    hint = "python -m gitopsd.render.schema schemas"
    assert (ROOT / "schemas" / f"{name}.schema.json").read_text() == schema_text(name), hint


@pytest.mark.parametrize("name", FILES)
def test_no_key_is_both_there_and_not_there_yet(name):
    def forms(kind):
        form = _form_in(kind)
        if form:
            yield form
            for inner in form.keys().values():
                yield from forms(inner)
        for option in _options(kind):
            import typing

            for argument in typing.get_args(option):
                yield from forms(argument)

    for form in forms(FORMS[name][0]):
        assert not form.later & set(form.keys()), form


CODES = re.compile(
    r'(?:(?:GitopsdError|wrong|BadInterpolation|_error)\(\s*|(?:say|pass_on)\([^"]*\),\s*|return )"([a-z]+(?:-[a-z]+)+)"'
)


@pytest.mark.parametrize(
    "room", ["source", "render", "pin", "place", "plan", "build", "apply", "registries", "store", "control", "cli"]
)
def test_every_error_code_is_documented(room):
    documented = set(re.findall(r"`([a-z-]+)`", (ROOT / "docs" / "errors.md").read_text()))
    used = {code for path in (ROOT / "gitopsd" / room).rglob("*.py") for code in CODES.findall(path.read_text())}
    assert used or room == "pin"
    assert sorted(used - documented) == []
