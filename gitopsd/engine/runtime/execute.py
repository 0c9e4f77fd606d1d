"""A further process in a running container (`exec`).

Two processes: the outer one stays in the host's namespaces, waits and reports; the inner one is the first to exist in the container's process
id namespace, so it is untraceable before it joins the rest, and runs nothing of Python after its imports are closed but what init.execute does.

In: {"process": OCI process, "cgroup": files}; descriptors: status socket, standard input, output, error, pidfd of the container's first
process.  Out, on the status socket: {"started": pid}, then {"exit_code": n}; or an error as init.py sends it.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import Any, NoReturn

from gitopsd.engine.kernel import process
from gitopsd.engine.runtime import guard, init, messages

_JOINED = process.CLONE_NEWNS | process.CLONE_NEWCGROUP | process.CLONE_NEWUTS | process.CLONE_NEWIPC | process.CLONE_NEWNET


def run(spec: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Run the program and report its end. Never returns."""
    status = socket.socket(fileno=descriptors[0])
    standard, pidfd = descriptors[1:4], descriptors[4]
    process.set_name("gitopsd-exec")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process.setns(pidfd, process.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            _become(spec, standard, pidfd, theirs)
        theirs.close()
        messages.close_all([*standard, pidfd])
        try:
            error, _ = messages.receive(channel)
        except messages.Closed:
            messages.send(status, {"started": pid})
            messages.send(status, {"exit_code": process.reap(pid)})
        else:
            messages.send(status, {**error, "exit_code": process.reap(pid)})
    except messages.Closed:
        os._exit(0)  # nobody waits for the end any more
    except BaseException as error:  # noqa: BLE001  whatever it is, the daemon must hear of it
        messages.send(status, messages.error_of("setup-failed", init.describe(error), step="exec"))
        os._exit(1)
    os._exit(0)


def _become(spec: dict[str, Any], standard: list[int], pidfd: int, channel: socket.socket) -> NoReturn:
    try:
        os.setsid()
        init.prepare(spec["process"], spec["cgroup"])
        for target, source in enumerate(standard):
            os.dup2(source, target)
        guard.close_imports()
        process.setns(pidfd, _JOINED)
        process.close_on_exec_from(3)
        init.execute(spec["process"])
    except init.ExecFailed as error:
        fields = {"errno": error.number, "argument": error.argument}
        messages.send(channel, messages.error_of("exec-failed", str(error), **fields))
        os._exit(error.code)
    except BaseException as error:  # noqa: BLE001
        messages.send(channel, messages.error_of("setup-failed", init.describe(error), step="exec"))
    os._exit(126)
