"""The one exception of this room.  [pure]"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something that is wrong in a Dockerfile, and on which line; line 0 is the file as a whole."""

    message: str
    line: int

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


class DockerfileError(Exception):
    """What is wrong with a Dockerfile or a .dockerignore; `message` and `line` are those of the first of its `problems`."""

    def __init__(self, message: str, line: int, problems: Sequence[Problem] = ()) -> None:
        self.message = message
        self.line = line
        self.problems = tuple(problems) or (Problem(message, line),)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> DockerfileError:
        """One error for all that was found, in the order of the lines."""
        ordered = sorted(problems, key=lambda problem: problem.line)
        return cls(ordered[0].message, ordered[0].line, ordered)
