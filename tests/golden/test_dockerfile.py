"""Whole Dockerfiles beside what they are read as; `pytest --update-golden` writes the second anew."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.parse import parse
from gitopsd.dockerfile.stages import bases

CASES = sorted(path.parent for path in (Path(__file__).parent / "dockerfile").glob("*/Dockerfile"))


def described(data: bytes) -> Any:
    try:
        dockerfile = parse(data)
    except DockerfileError as error:
        return {"problems": [str(problem) for problem in error.problems]}
    return {
        "args": [argument.items for argument in dockerfile.args],
        "bases": bases(dockerfile, {}),
        "stages": [
            [{"is": type(step).__name__, **asdict(step)} for step in (stage.base, *stage.instructions)]
            for stage in dockerfile.stages
        ],
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_dockerfile_is_read_as_it_is_written_down(case: Path, request: pytest.FixtureRequest) -> None:
    text = json.dumps(described((case / "Dockerfile").read_bytes()), indent=1, ensure_ascii=False) + "\n"
    expected = case / "expected.json"
    if request.config.getoption("--update-golden", default=False):
        expected.write_text(text)
    assert text == expected.read_text()
