"""RUN: a command in a container whose root is the stage, and what it wrote as the layer."""

from __future__ import annotations

import codecs
import threading
from collections.abc import Mapping
from typing import Any

from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.meaning import RunWork
from gitopsd.engine.builder.needs import Command, Emit, Runner, RunWorker

TIDY_JOB = "gitopsd.engine.builder.tidy:tidy"


def run(
    work: RunWork,
    place: Mapping[str, Any],
    runner: Runner,
    run_worker: RunWorker,
    emit: Emit,
    cancelled: threading.Event,
) -> None:
    """Run the command in the place that `solve` made ready; raises BuildError if it ends with anything but 0."""
    command = Command(
        lower=tuple(place["lower"]),
        upper=place["upper"],
        work=place["work"],
        arguments=work.arguments,
        environment=(*work.environment, *work.proxies),
        directory=work.directory,
        user=work.user,
    )
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def output(data: bytes) -> None:
        text = decoder.decode(data)
        if text:
            emit({"stream": text})

    ended = runner.run(command, output, cancelled)
    if ended.exit_code:
        shown = " ".join(work.arguments)
        raise BuildError(f"The command '{shown}' returned a non-zero code: {ended.exit_code}", code=ended.exit_code)
    run_worker(TIDY_JOB, {**place, "mounted": list(ended.mounted)}, [])
