"""A worker for tests: a fork that does the job and is gone, with the shape of the daemon's."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

from gitopsd.dockerapi.errors import ApiError


def run_worker(job: str, arguments: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            module, _, function = job.partition(":")
            arguments = json.loads(json.dumps(arguments))
            answer = {"result": getattr(importlib.import_module(module), function)(arguments, [os.dup(fd) for fd in descriptors])}
        except BaseException as error:  # noqa: BLE001  the parent raises it
            message = str(getattr(error, "message", "")) or f"{type(error).__name__}: {error}"
            answer = {
                "error": {"status": getattr(error, "status", 500), "message": message, "code": getattr(error, "code", None)}
            }
        with os.fdopen(writing, "w") as file:
            json.dump(answer, file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    os.waitpid(child, 0)
    answer = json.loads(text)
    if "error" in answer:
        raise ApiError(answer["error"]["status"], answer["error"]["message"], answer["error"]["code"])
    return answer["result"]
