"""Work off a graph: every step once, its inputs before it, independent ones at the same time.

In: a graph, the step that is wanted, how one is performed.  Out: what each step gave. After an error nothing new is begun, what runs
is waited for, and the first error is raised. What a step does is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Optional, TypeVar

from gitopsd.engine.builder.graph import Graph, Vertex

Work = TypeVar("Work")
Result = TypeVar("Result")


def solve(
    graph: Graph[Work],
    target: int,
    perform: Callable[[Vertex[Work], list[Result]], Result],
    stop: Callable[[], None],
    at_once: int,
) -> dict[int, Result]:
    """The results of the target and all it is made from, by their numbers. `stop` is called when one has failed."""
    wanted = graph.needed(target)
    done: dict[int, Result] = {}
    begun: set[int] = set()
    running: dict[Future[Result], int] = {}
    failure: Optional[BaseException] = None
    with ThreadPoolExecutor(at_once, thread_name_prefix="build") as pool:
        while running or (failure is None and target not in done):
            for vertex in graph.ready(wanted, done, begun) if failure is None else []:
                begun.add(vertex.number)
                running[pool.submit(perform, vertex, [done[needed] for needed in vertex.inputs])] = vertex.number
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number = running.pop(future)
                error = future.exception()
                if error is None:
                    done[number] = future.result()
                elif failure is None:
                    failure = error
                    stop()
    if failure is not None:
        raise failure
    return done
