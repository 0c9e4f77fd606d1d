"""Steps that wait for each other.  [pure]

In: steps, each with the steps whose results it needs.  Out: which are needed for one of them, and which can start now.
What a step does is not known here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Work = TypeVar("Work")


@dataclass(frozen=True)
class Vertex(Generic[Work]):
    number: int
    inputs: tuple[int, ...]
    work: Work


@dataclass
class Graph(Generic[Work]):
    """Vertices in the order in which they were added; a vertex needs only earlier ones, so there are no circles."""

    vertices: list[Vertex[Work]] = field(default_factory=list["Vertex[Work]"])

    def add(self, work: Work, inputs: tuple[int, ...] = ()) -> int:
        """Adds a step and returns its number."""
        number = len(self.vertices)
        if any(not 0 <= needed < number for needed in inputs):
            raise ValueError(f"step {number} needs {inputs}: expected numbers of earlier steps")
        self.vertices.append(Vertex(number, inputs, work))
        return number

    def needed(self, target: int) -> set[int]:
        """The target and everything that it is made from."""
        wanted = {target}
        for vertex in reversed(self.vertices):
            if vertex.number in wanted:
                wanted.update(vertex.inputs)
        return wanted

    def ready(self, wanted: Collection[int], done: Collection[int], begun: Collection[int]) -> list[Vertex[Work]]:
        """What can start: wanted, all inputs done, not begun."""
        return [
            vertex
            for vertex in self.vertices
            if vertex.number in wanted and vertex.number not in begun and all(needed in done for needed in vertex.inputs)
        ]
