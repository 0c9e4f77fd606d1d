"""Further programs in a running container."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from pathlib import Path

import pytest

from gitopsd.dockerapi.frames import frame
from tests.engine.running import Engine, fails, until

pytestmark = pytest.mark.host


@pytest.fixture
def running(engine: Engine) -> str:
    return engine.run("sleep", "1000", Env=["A=container", "B=container"], WorkingDir="/tmp", User="web")


def test_an_exec_has_the_containers_user_environment_and_folder_unless_said(engine: Engine, running: str) -> None:
    assert (
        engine.execute(running, "sh", "-c", "id -un; pwd; echo $A $B $HOME").out == "web\n/tmp\ncontainer container /home/web\n"
    )
    done = engine.execute(running, "sh", "-c", "id -un; pwd; echo $A $B $HOME", User="root", WorkingDir="/etc", Env=["B=own"])
    assert done.out == "root\n/etc\ncontainer own /root\n"


def test_an_exec_shares_every_namespace_and_the_cgroup(engine: Engine, running: str) -> None:
    made = engine.client.call("POST", f"/containers/{running}/exec", {"Cmd": ["sleep", "1000"]})["Id"]
    engine.client.call("POST", f"/exec/{made}/start", {"Detach": True})
    first, further = engine.status(running)["Pid"], engine.client.call("GET", f"/exec/{made}/json")["Pid"]
    for name in ("cgroup", "ipc", "mnt", "net", "pid", "uts"):
        assert os.readlink(f"/proc/{further}/ns/{name}") == os.readlink(f"/proc/{first}/ns/{name}"), name
    assert Path(f"/proc/{further}/cgroup").read_text() == Path(f"/proc/{first}/cgroup").read_text()


def test_an_exec_has_the_containers_capabilities_and_no_descriptor_more(engine: Engine, running: str) -> None:
    made = engine.run("sleep", "1000", CapDrop=["ALL"], CapAdd=["CHOWN"])
    assert engine.execute(made, "sh", "-c", "grep -E '^Cap(Eff|Inh|Amb)' /proc/self/status | cut -f2").out.split() == [
        "0" * 16, "0" * 15 + "1", "0" * 16]  # fmt: skip
    assert engine.execute(running, "sh", "-c", "ls /proc/$$/fd; true").out.split() == ["0", "1", "2"]


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_an_execs_exit_code_is_kept(engine: Engine, running: str, code: int) -> None:
    assert engine.execute(running, "sh", "-c", f"exit {code}").code == code


def test_an_exec_that_cannot_run_says_why_and_has_a_shells_exit_code(engine: Engine, running: str) -> None:
    for command, code, words in (
        ("nothing-here", 127, "not found"),
        ("/etc/passwd", 126, "permission denied"),
        ("z" * 70_000, 127, "not found"),
    ):
        done = engine.execute(running, command)
        assert (done.code, done.out) == (code, "")
        assert words in done.err
        made = engine.client.call("POST", f"/containers/{running}/exec", {"Cmd": [command]})["Id"]
        with fails(400) as errors:
            engine.client.call("POST", f"/exec/{made}/start", {"Detach": True})
        assert words in errors[0].message
        assert engine.client.call("GET", f"/exec/{made}/json")["ExitCode"] == code
    done = engine.execute(running, "true", User="ghost")
    assert (done.code, "ghost" in done.err) == (126, True)


def test_an_exec_makes_no_folder_and_a_container_does_also_in_a_root_for_reading(engine: Engine, running: str) -> None:
    done = engine.execute(running, "pwd", WorkingDir="/no/such")
    assert (done.code, "chdir to cwd ('/no/such') failed" in done.err) == (127, True)
    assert engine.execute(running, "ls", "/no").code != 0
    assert engine.shell("pwd; touch /x", WorkingDir="/made/here", ReadonlyRootfs=True)[:2] == (1, "/made/here\n")


def test_what_is_said_at_once_comes_after_the_head_was_read(engine: Engine, running: str) -> None:
    """A client that reads more than the head when it reads the head, as docker-py does, would lose it."""
    made = engine.client.call("POST", f"/containers/{running}/exec", {"Cmd": ["echo", "word"], "AttachStdout": True})["Id"]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(engine.socket))
        sock.sendall(f"POST /exec/{made}/start HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        until(lambda: engine.client.call("GET", f"/exec/{made}/json")["ExitCode"] == 0, "it has ended")
        assert sock.recv(65536).endswith(b"\r\n\r\n")
        assert sock.recv(65536) == frame(1, b"word\n")


def test_an_execs_input_and_output_are_binary_and_half_close(engine: Engine, running: str) -> None:
    body = {"Cmd": ["sh", "-c", "sha256sum; echo after >&2"], "AttachStdin": True, "AttachStdout": True, "AttachStderr": True}
    made = engine.client.call("POST", f"/containers/{running}/exec", body)["Id"]
    data = os.urandom(2_000_000)
    taken = engine.client.take_over(f"/exec/{made}/start", {})
    reading, writing = os.pipe()

    def send() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(data)

    threads = [threading.Thread(target=send), threading.Thread(target=taken.feed, args=(reading,))]
    for thread in threads:
        thread.start()
    frames = list(taken.frames())
    for thread in threads:
        thread.join()
    os.close(reading)
    assert b"".join(text for number, text in frames if number == 1).decode().split()[0] == hashlib.sha256(data).hexdigest()
    assert b"".join(text for number, text in frames if number == 2) == b"after\n"


def test_a_detached_exec_runs_on_alone(engine: Engine, running: str) -> None:
    made = engine.client.call("POST", f"/containers/{running}/exec", {"Cmd": ["sh", "-c", "sleep 0.1; echo here > /tmp/done"]})[
        "Id"
    ]
    engine.client.call("POST", f"/exec/{made}/start", {"Detach": True})
    until(lambda: engine.execute(running, "cat", "/tmp/done").out == "here\n", "it has done its work")
    until(lambda: engine.client.call("GET", f"/exec/{made}/json")["Running"] is False, "its end is seen")


def test_an_exec_is_shown_while_it_runs_and_ends_with_its_container(engine: Engine) -> None:
    made = engine.run("sleep", "1000")
    execution = engine.client.call("POST", f"/containers/{made}/exec", {"Cmd": ["sleep", "1000"], "AttachStdout": True})["Id"]
    taken = engine.client.take_over(f"/exec/{execution}/start", {})
    shown = until(lambda: (found := engine.client.call("GET", f"/exec/{execution}/json"))["Pid"] and found, "it has begun")
    assert (shown["Running"], shown["ContainerID"], shown["ExitCode"]) == (True, made, None)
    assert shown["Pid"] in engine.keeper.below()
    engine.client.call("POST", f"/containers/{made}/kill")
    assert list(taken.frames()) == []
    until(lambda: shown["Pid"] not in engine.keeper.below(), "its process has ended")


def test_an_exec_is_refused_where_nothing_runs(engine: Engine) -> None:
    made = engine.create("sleep", "1000")
    with fails(409):
        engine.execute(made, "true")
    with fails(404):
        engine.client.call("POST", "/exec/0123456789/start", {})
    with fails(400):
        engine.execute(engine.run("sleep", "1000"))


def test_an_exec_whose_client_leaves_goes_on_and_costs_no_descriptor(engine: Engine, running: str) -> None:
    before = len(os.listdir(f"/proc/{engine.pid}/fd"))
    for _ in range(5):
        execution = engine.client.call("POST", f"/containers/{running}/exec", {"Cmd": ["yes"], "AttachStdout": True})["Id"]
        taken = engine.client.take_over(f"/exec/{execution}/start", {})
        next(taken.frames())
        taken.close()
    until(lambda: len(os.listdir(f"/proc/{engine.pid}/fd")) <= before + 1, "the daemon has closed what it opened")
    # as with Docker the program is told by its next write
    until(lambda: "yes" not in engine.execute(running, "ps", "-o", "comm").out.split(), "the programs have ended")


def test_orphans_of_an_exec_leave_no_zombie_on_the_host(engine: Engine, running: str) -> None:
    for _ in range(3):
        engine.execute(running, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do (sleep 0.01 &) ; done")
    until(lambda: not engine.keeper.zombies(), "no process of the engine's own waits to be reaped")
