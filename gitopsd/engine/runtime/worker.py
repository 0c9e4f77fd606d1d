"""A process for one job on a stranger's bytes: limited, without a network, gone afterwards.

A job is a function `(arguments, descriptors) -> result` named `module:function`; arguments and result are JSON. What it raises comes back as an
ApiError: with its own status if it has one, else 500.

In: {"job", "arguments"}; descriptors: status socket, result file, then the job's own.  Out: JSON in the result file, then {"done": true}.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import socket
from typing import Any, NoReturn

from gitopsd.engine.kernel import process
from gitopsd.engine.runtime import messages

_MEMORY_BYTES = 1 << 30
_CPU_S = 3600
_DESCRIPTORS = 1024


def run(spec: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Do the job. Never returns."""
    status = socket.socket(fileno=descriptors[0])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process.set_name("gitopsd-worker")
    try:
        _limit()
        module, _, function = spec["job"].partition(":")
        answer = {"result": getattr(importlib.import_module(module), function)(spec["arguments"], descriptors[2:])}
    except BaseException as error:  # noqa: BLE001  whatever it is, the daemon must hear of it
        answer = {
            "error": {
                "status": getattr(error, "status", 500),
                "message": str(getattr(error, "message", "")) or f"{type(error).__name__}: {error}",
                "code": getattr(error, "code", None),
            }
        }
    try:
        with os.fdopen(descriptors[1], "wb") as file:
            file.write(json.dumps(answer).encode())
        messages.send(status, {"done": True})
    except (OSError, messages.Closed):
        os._exit(1)
    os._exit(0)


def _limit() -> None:
    process.set_dumpable(False)
    process.set_parent_death_signal(signal.SIGKILL)
    process.unshare(process.CLONE_NEWNET | process.CLONE_NEWIPC)
    for kind, value in (
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))
    os.umask(0)
