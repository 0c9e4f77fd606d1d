"""Stack and fleet files beside what they are read as, or every error in them; `pytest --update-golden` writes the second anew.

Each case also goes through the child with limits, and through the published JSON Schema: the schema accepts what is read. What is
refused it refuses as well, but for errors that no schema can see; the case has a file `beyond-schema` then, which says why.
"""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from gitopsd.model.codec import to_json
from gitopsd.model.errors import Errors
from gitopsd.model.fleet import StackEntry
from gitopsd.model.stack import Stack
from gitopsd.render import Renderer, render_stack, stack_text
from gitopsd.render.fleet import read_fleet
from gitopsd.render.locate import parse_yaml
from gitopsd.source import folder_revision

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STACKS = sorted(path.parent for path in (HERE / "render").glob("*/stack.yaml*"))
FLEETS = sorted(path.parent for path in (HERE / "fleet").glob("*/gitopsd.yaml"))


def entry_of(case: Path) -> StackEntry:
    """The stack of a case, with its values as a fleet file would give them."""
    values = case / "values.yaml"
    fleet = "name: demo\nhosts: {a: {address: a}}\nstacks:\n  shop:\n    file: " + next(case.glob("stack.yaml*")).name + "\n"
    if values.exists():
        fleet += "    values:\n" + "".join(f"      {line}\n" for line in values.read_text().splitlines())
    return read_fleet(fleet).stacks[0]


def rendered(case: Path) -> str:
    try:
        return stack_text(render_stack(folder_revision(case).tree, entry_of(case)))
    except Errors as errors:
        return f"{errors}\n"


def compare(text: str, expected: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        expected.write_text(text)
    assert text == expected.read_text()


@pytest.fixture(scope="module")
def renderer():
    with Renderer() as renderer:
        yield renderer


@pytest.mark.parametrize("case", STACKS, ids=lambda case: case.name)
def test_a_stack_file_is_read_as_it_is_written_down(case, request):
    compare(rendered(case), case / "expected.txt", request)


@pytest.mark.parametrize("case", STACKS, ids=lambda case: case.name)
def test_the_child_reads_it_the_same(case, renderer):
    name, found = renderer._run(folder_revision(case).tree, Stack, [entry_of(case)])[0]
    assert name == "shop"
    try:
        expected = to_json(render_stack(folder_revision(case).tree, entry_of(case)))
    except Errors as errors:
        expected, found = str(errors), str(found)
    assert (found if isinstance(found, str) else to_json(found)) == expected


@pytest.mark.parametrize("case", [case for case in STACKS if (case / "stack.yaml").exists()], ids=lambda case: case.name)
def test_the_published_schema_agrees_on_a_stack_file(case):
    agree("stack", case / "stack.yaml", is_error=rendered(case).startswith("error:"))


@pytest.mark.parametrize("case", FLEETS, ids=lambda case: case.name)
def test_a_fleet_file_is_read_as_it_is_written_down(case, request):
    try:
        text = json.dumps(to_json(read_fleet((case / "gitopsd.yaml").read_text())), indent=1, ensure_ascii=False)
    except Errors as errors:
        text = str(errors)
    compare(f"{text}\n", case / "expected.txt", request)


@pytest.mark.parametrize("case", FLEETS, ids=lambda case: case.name)
def test_the_published_schema_agrees_on_a_fleet_file(case):
    agree("fleet", case / "gitopsd.yaml", is_error=(case / "expected.txt").read_text().startswith("error:"))


def agree(name: str, file: Path, *, is_error: bool) -> None:
    schema = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    try:
        document = parse_yaml(file.read_text(), file.name).plain()
    except Errors:
        document = None if is_error else yaml.safe_load(file.read_text())
    found = sorted(error.json_path for error in jsonschema.Draft202012Validator(schema).iter_errors(document))
    if is_error and not (file.parent / "beyond-schema").exists():
        assert found, "refused by us, accepted by the schema"
    else:
        assert not found


def test_what_is_rendered_is_read_as_itself(tmp_path):
    """Rendering a rendered stack changes nothing."""
    for case in STACKS:
        text = rendered(case)
        if text.startswith("error:"):
            continue
        entry = entry_of(case)
        place = tmp_path / case.name
        for file in case.rglob("*"):
            target = place / file.relative_to(case)
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.is_file():
                target.write_bytes(file.read_bytes())
        (place / entry.file).write_text(text)
        if entry.file.endswith(".j2"):
            (place / entry.file).write_text("{% raw %}" + text + "{% endraw %}")
        assert stack_text(render_stack(folder_revision(place).tree, entry)) == text, case.name
