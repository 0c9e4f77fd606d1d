"""The graph, and how it is worked off; neither knows what a step does."""

import threading
import time

import pytest

from gitopsd.engine.builder.graph import Graph, Vertex
from gitopsd.engine.builder.solve import solve


def diamond() -> Graph[str]:
    graph: Graph[str] = Graph()
    top = graph.add("top")
    left, right = graph.add("left", (top,)), graph.add("right", (top,))
    graph.add("unused", (left,))
    graph.add("join", (left, right))
    return graph


def test_only_what_the_target_is_made_from_is_needed() -> None:
    assert diamond().needed(4) == {0, 1, 2, 4}


def test_a_step_is_ready_when_its_inputs_are_done() -> None:
    graph, wanted = diamond(), {0, 1, 2, 4}
    assert [vertex.work for vertex in graph.ready(wanted, set(), set())] == ["top"]
    assert [vertex.work for vertex in graph.ready(wanted, {0}, {0})] == ["left", "right"]
    assert [vertex.work for vertex in graph.ready(wanted, {0, 1}, {0, 1, 2})] == []


def test_a_step_needs_earlier_ones_alone() -> None:
    graph: Graph[str] = Graph()
    with pytest.raises(ValueError, match="earlier"):
        graph.add("self", (0,))


def test_every_step_is_performed_once_with_the_results_of_its_inputs() -> None:
    seen: list[str] = []

    def perform(vertex: Vertex[str], inputs: list[str]) -> str:
        seen.append(vertex.work)
        return f"{vertex.work}({','.join(inputs)})"

    results = solve(diamond(), 4, perform, lambda: None, 2)
    assert results[4] == "join(left(top()),right(top()))"
    assert sorted(seen) == ["join", "left", "right", "top"]


def test_independent_steps_meet() -> None:
    both = threading.Barrier(2, timeout=5)

    def perform(vertex: Vertex[str], inputs: list[None]) -> None:
        if vertex.work in ("left", "right"):
            both.wait()

    solve(diamond(), 4, perform, lambda: None, 2)


def test_the_first_error_stops_what_runs_and_is_raised() -> None:
    stopped = threading.Event()

    def perform(vertex: Vertex[str], inputs: list[None]) -> None:
        if vertex.work == "left":
            raise ValueError("left")
        if vertex.work == "right":
            assert stopped.wait(5)
            time.sleep(0.01)
            raise ValueError("right")
        assert vertex.work == "top"

    with pytest.raises(ValueError, match="left"):
        solve(diamond(), 4, perform, stopped.set, 2)
