"""A further process in a running container (`exec`).

Three processes. The outer one stays in the host's namespaces, waits and reports. The second joins the container's, becomes its user with its
capabilities, and is never seen there, because a process does not move to another process id namespace: only its children are born there.
So what the container sees, a last fork, has nothing left of the host that somebody in there could take (with CAP_SYS_PTRACE all that a
process has: its root, its namespaces, its descriptors). The second ends, which makes the outer one the parent, and the last one runs the program.

In: {"process": OCI process, "cgroup": files}; descriptors: status socket, standard input, output, error, pidfd of the container's first
process.  Out, on the status socket: {"started": pid}, then {"exit_code": n}; or {"error", "message", "exit_code"}.

Rule: the outer process believes nothing of what comes over the channel once the last one exists: a container can send it too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import Any, NoReturn

from gitopsd.engine.kernel import process
from gitopsd.engine.runtime import guard, init, messages, rootfs

_JOINED = (
    process.CLONE_NEWNS | process.CLONE_NEWCGROUP | process.CLONE_NEWUTS | process.CLONE_NEWIPC | process.CLONE_NEWNET
    | process.CLONE_NEWPID
)  # fmt: skip
_START_S = 10
"""For each of the steps before the program runs: a container can stop the last process (SIGSTOP) as soon as it is there."""


def run(spec: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Run the program and report its end. Never returns."""
    status = socket.socket(fileno=descriptors[0])
    children: list[int] = []
    try:
        process.set_title("gitopsd-exec")
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        process.set_child_subreaper()
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        joiner = os.fork()
        if joiner == 0:
            _join(spec, descriptors[1:4], descriptors[4], theirs)
        children.append(joiner)
        theirs.close()
        messages.close_all(descriptors[1:])
        failure = _start(channel, children)
        if failure is None:
            messages.send(status, {"started": children[0]})
            messages.send(status, {"exit_code": process.reap(children.pop())})
        else:
            messages.send(status, failure)
    except messages.Closed:
        pass  # nobody waits for the end any more
    except BaseException as error:  # noqa: BLE001  whatever it is, the daemon must hear of it
        messages.send(status, messages.error_of("setup-failed", init.describe(error), exit_code=126))
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            process.reap(pid)
        os._exit(0)


def _start(channel: socket.socket, children: list[int]) -> messages.Message | None:
    """Wait until the program runs or cannot; None, or what is to be reported. `children` is who has not been waited for."""
    channel.settimeout(_START_S)
    is_last = False
    try:
        said, _ = messages.receive(channel)
        process.reap(children.pop())
        if "pid" not in said:
            return _failure(said)
        os.waitid(os.P_PID, said["pid"], os.WEXITED | os.WNOHANG | os.WNOWAIT)  # an error if it is no child of this process
        children.append(said["pid"])
        is_last = True
        messages.send(channel, {"op": "exec"})
        said, _ = messages.receive(channel)
        return _failure(said)
    except messages.Closed:
        return None if is_last else _failure({"message": "it ended before its program ran"})
    except socket.timeout:
        return _failure({"message": f"the program did not run within {_START_S} s"})
    except Exception as error:  # noqa: BLE001  of a packet, see the rule
        return _failure({"message": init.describe(error)})


def _failure(said: messages.Message) -> messages.Message:
    code = "exec-failed" if said.get("error") == "exec-failed" else "setup-failed"
    return messages.error_of(code, str(said.get("message")), exit_code=127 if said.get("exit_code") == 127 else 126)


def _join(spec: dict[str, Any], standard: list[int], pidfd: int, channel: socket.socket) -> NoReturn:
    """The second process: all that the host's rights are needed for, and the last fork."""
    try:
        init.prepare(spec["process"], spec["cgroup"])
        guard.close_imports()
        for target, source in enumerate(standard):
            os.dup2(source, target)
        process.setns(pidfd, _JOINED)
        os.closerange(3, channel.fileno())
        os.closerange(channel.fileno() + 1, 256)
        if any(map(rootfs.is_null, (0, 1, 2))):
            null = rootfs.open_null("/dev/null")
            rootfs.replace_null(null)
            os.close(null)
        environment = init.become(spec["process"], forks=True)
        pid = os.fork()
        if pid == 0:
            _run(spec["process"], environment, channel)
        messages.send(channel, {"pid": pid})
        os._exit(0)
    except BaseException as error:  # noqa: BLE001
        _fail(error, channel)


def _run(settings: dict[str, Any], environment: dict[str, str], channel: socket.socket) -> NoReturn:
    """The last process: wait until the second one has gone, else its death would be the parent's, and run the program."""
    try:
        os.setsid()
        messages.receive(channel)
        process.set_parent_death_signal(signal.SIGKILL)
        channel.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # Closed: the parent has gone
            messages.receive(channel)
        init.limit_processes(settings)
        init.execute(settings, environment)
    except BaseException as error:  # noqa: BLE001
        _fail(error, channel)
    os._exit(126)


def _fail(error: BaseException, channel: socket.socket) -> NoReturn:
    try:
        channel.setblocking(True)
        if isinstance(error, init.ExecFailed):
            messages.send(channel, messages.error_of("exec-failed", str(error), exit_code=error.code))
        elif not isinstance(error, messages.Closed):
            messages.send(channel, messages.error_of("setup-failed", init.describe(error)))
    finally:
        os._exit(126)
