"""What of the host a container could reach, and must not: its null device, its keys, and the processes that come in for an exec."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.engine.archives import a_layer
from tests.engine.running import Engine, until

pytestmark = pytest.mark.host

_PYTHON = "/usr/bin/python3"
_WITH_PYTHON = ["/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro"]
"""An attacker's tools: the machine's own Python, in a container."""
needs_python = pytest.mark.skipif(not os.path.exists(_PYTHON), reason="the machine has no /usr/bin/python3 to attack with")


# ---- the host's null device


@pytest.fixture
def null_stays() -> Iterator[None]:
    """The host's null device is after the test what it was before."""
    before = os.stat("/dev/null")
    yield
    after = os.stat("/dev/null")
    os.chmod("/dev/null", stat.S_IMODE(before.st_mode))
    os.utime("/dev/null")
    assert oct(after.st_mode) == oct(before.st_mode)
    assert after.st_mtime > 86400, "its time was set back to 1970"


_CHANGE = "chmod 667 {0}; touch -d 1970-01-01 {0}; echo x > {0}; echo done"


@pytest.mark.usefixtures("null_stays")
@pytest.mark.parametrize("path", ["/proc/keys", "/proc/kcore", "/proc/timer_list", "/proc/interrupts"])
def test_a_masked_file_is_a_null_device_of_the_containers_own_and_cannot_be_changed(engine: Engine, path: str) -> None:
    if not os.path.exists(path):
        pytest.skip(f"the kernel has no {path}")
    done = engine.shell(_CHANGE.format(path))
    assert done.out == "done\n"
    assert done.err.count("Read-only file system") == 2, done
    assert engine.shell(f"stat -c '%F %t:%T %d' {path} /dev/null | uniq").out.startswith("character special file 1:3 ")


@pytest.mark.usefixtures("null_stays")
def test_no_standard_stream_of_a_container_is_the_hosts_null_device(engine: Engine) -> None:
    done = engine.shell(_CHANGE.format("/proc/self/fd/0") + "; stat -L -c %a:%d /dev/null /proc/self/fd/0", MaskedPaths=[])
    mode, of_stdin = done.out.splitlines()[1:]
    assert mode == of_stdin
    assert mode.startswith("667:"), "it changed its own"


@pytest.mark.usefixtures("null_stays")
def test_no_standard_stream_of_an_exec_is_the_hosts_null_device(engine: Engine) -> None:
    made = engine.run("sleep", "1000")
    assert engine.execute(made, "sh", "-c", _CHANGE.format("/proc/self/fd/0")).out == "done\n"
    script = "; ".join(_CHANGE.format(f"/proc/self/fd/{number}") for number in (0, 1, 2)) + "; echo > /over"
    started = engine.client.call("POST", f"/containers/{made}/exec", {"Cmd": ["sh", "-c", script]})["Id"]
    engine.client.call("POST", f"/exec/{started}/start", {"Detach": True})
    until(lambda: engine.execute(made, "ls", "/over").code == 0, "the detached one has tried")


@pytest.mark.usefixtures("null_stays")
def test_no_standard_stream_of_a_build_is_the_hosts_null_device(engine: Engine) -> None:
    script = "; ".join(_CHANGE.format(path) for path in ("/proc/self/fd/0", "/proc/keys"))
    context = a_layer({"Dockerfile": f"FROM busybox\nRUN {script}\n".encode()})
    said = list(engine.client.lines("POST", "/build", context, t="changed"))
    assert "done" in "".join(line.get("stream", "") for line in said), said


@pytest.mark.parametrize("instead", ["ln -s /etc/passwd /dev/null", "mkfifo /dev/null", "echo > /dev/null", "true"])
def test_an_exec_into_a_container_that_spoilt_its_null_device_is_refused_and_does_not_wait(engine: Engine, instead: str) -> None:
    made = engine.run("sh", "-c", f"rm /dev/null; {instead}; echo spoilt; sleep 1000")
    until(lambda: "spoilt" in engine.logs(made), "it has done so")
    started = engine.client.call("POST", f"/containers/{made}/exec", {"Cmd": ["true"]})["Id"]
    answer = engine.call("POST", f"/exec/{started}/start", {"Detach": True})
    assert (answer.status, "/dev/null" in answer.body["message"]) == (500, True)


# ---- an exec's processes, as the container sees them

_SPY = """
import os
host = {host!r}
own = {{what: open(f"/proc/self/{{what}}").read() for what in ("mountinfo", "cgroup", "net/route", "net/unix")}}
links = [f"/proc/self/ns/{{name}}" for name in ("mnt", "net", "uts", "ipc", "cgroup", "pid")]
own_links = [os.readlink(path) for path in links]
def comm(pid):
    with open(f"/proc/{{pid}}/comm") as file: return file.read().strip()
def look(pid):
    for what, mine in own.items():
        with open(f"/proc/{{pid}}/{{what}}") as file: found = file.read()
        if found and found != mine: yield what, found
    with open(f"/proc/{{pid}}/cmdline", "rb") as file: words = file.read().strip(b"\\0")
    if words not in (b"gitopsd-exec", b"") and comm(pid) == "gitopsd-exec": yield "cmdline", words
    try: yield from pry(pid)
    except PermissionError: pass
def pry(pid):
    global pried
    pried += len(os.listdir(f"/proc/{{pid}}/root/")) > 0
    for path in (f"/proc/{{pid}}/root{{host}}", f"/proc/{{pid}}/cwd{{host}}"):
        for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT):
            try: os.close(os.open(path, flags))
            except OSError: continue
            yield "root", path
    for mine, path in zip(own_links, links):
        found = os.readlink(path.replace("self", pid))
        if found != mine: yield path, found
    with open(f"/proc/{{pid}}/environ", "rb") as file: words = file.read().strip(b"\\0")
    held = sorted((int(fd), os.readlink(f"/proc/{{pid}}/fd/{{fd}}")) for fd in os.listdir(f"/proc/{{pid}}/fd"))
    with open(f"/proc/{{pid}}/status") as file: status = file.read()
    with open("/proc/self/status") as file: mine = file.read()
    if comm(pid) != "gitopsd-exec": return
    if words: yield "environ", words
    strange = [(fd, to) for fd, to in held if not (fd < 3 and (to.startswith("pipe:") or to == "/dev/null"))]
    if len(strange) > 1 or not all(to.startswith("socket:") for _, to in strange): yield "fd", strange
    for line in status.splitlines():
        if line.startswith("Cap") and line not in mine: yield "capabilities", line
print("ready", flush=True)
seen = pried = 0
while not os.path.exists("/end"):
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) in (1, os.getpid()): continue
        try:
            if comm(pid) != "gitopsd-exec": continue
            seen += 1
            for found in look(pid): print("FOUND", *found, flush=True)
        except (FileNotFoundError, ProcessLookupError): pass
        except OSError as error:
            if error.errno != 22: raise
print("seen", seen, pried, flush=True)
"""


@needs_python
@pytest.mark.parametrize("capabilities", [[], ["SYS_PTRACE"]], ids=["default", "ptrace"])
def test_a_container_finds_nothing_of_the_host_in_a_process_that_comes_in(
    engine: Engine, tmp_path: Path, capabilities: list[str]
) -> None:
    (tmp_path / "secret").write_text("of the host")
    spy = _SPY.format(host=str(tmp_path / "secret"))
    made = engine.run(_PYTHON, "-I", "-c", spy, Binds=_WITH_PYTHON, CapAdd=capabilities)
    until(lambda: "ready" in engine.logs(made), "the attacker waits")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: engine.execute(made, "true"), range(60)))
    engine.execute(made, "touch", "/end")
    assert engine.wait(made) == 0, engine.logs(made, 2)
    assert "FOUND" not in engine.logs(made), engine.logs(made)
    seen, pried = engine.logs(made).split()[-2:]
    assert int(seen) > 0, "the attacker saw one"
    assert int(pried) > 0 or not capabilities, "and looked into it if it could"


_STOP = """
import os, signal
print("ready", flush=True)
while True:
    for pid in os.listdir("/proc"):
        try:
            with open(f"/proc/{pid}/comm") as file: name = file.read().strip()
            if name == "gitopsd-exec": os.kill(int(pid), signal.SIGSTOP)
        except (OSError, ValueError): pass
"""


@pytest.mark.skipif(not os.path.exists("/sys/fs/cgroup/systemd/cgroup.procs"), reason="no hierarchy beside those of version 1")
def test_an_exec_is_in_each_cgroup_of_its_container_also_where_the_engine_makes_none(engine: Engine) -> None:
    made = engine.run("sleep", "1000")
    folder = Path(f"/sys/fs/cgroup/systemd/gitopsd-test-{os.urandom(4).hex()}")
    folder.mkdir()
    try:
        (folder / "cgroup.procs").write_text(str(engine.status(made)["Pid"]))
        shown = engine.execute(made, "cat", "/proc/self/cgroup", "/proc/1/cgroup").out.splitlines()
        assert folder.name in "".join(shown), "the container has been moved"
        assert shown[: len(shown) // 2] == shown[len(shown) // 2 :]
    finally:
        engine.remove(made)
        until(lambda: not (folder / "cgroup.procs").read_text(), "nothing is left in it")
        folder.rmdir()


def stopped(engine: Engine) -> list[int]:
    """Processes in containers that have not become a program."""
    found: list[int] = []
    for pid in engine.keeper.below():
        with contextlib.suppress(OSError):
            status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            if status["Name"].strip() == "gitopsd-exec" and len(status["NSpid"].split()) > 1:
                found.append(pid)
    return found


@needs_python
def test_an_exec_that_the_container_stops_before_it_runs_is_an_error_and_ends(engine: Engine) -> None:
    made = engine.run(_PYTHON, "-I", "-c", _STOP, Binds=_WITH_PYTHON)
    until(lambda: "ready" in engine.logs(made), "the attacker waits")
    for _ in range(100):
        started = engine.client.call("POST", f"/containers/{made}/exec", {"Cmd": ["true"]})["Id"]
        answer = engine.call("POST", f"/exec/{started}/start", {"Detach": True})
        if answer.status != 200:
            break
    assert (answer.status, "did not run within" in str(answer.body)) == (500, True), answer
    until(lambda: not stopped(engine), "its last process has ended")


@needs_python
def test_a_health_check_that_the_container_stops_is_one_that_took_too_long(engine: Engine) -> None:
    check = {"Test": ["CMD", "true"], "Interval": 20_000_000, "Timeout": 500_000_000, "Retries": 1}
    made = engine.run(_PYTHON, "-I", "-c", _STOP, Binds=_WITH_PYTHON, Healthcheck=check)
    until(lambda: engine.status(made)["Health"]["Status"] == "unhealthy", "it is unhealthy")


def test_an_exec_is_not_counted_twice_against_its_users_limit_of_processes(engine: Engine) -> None:
    made = engine.run("sleep", "1000", User="4244", Ulimits=[{"Name": "nproc", "Soft": 2, "Hard": 2}])
    assert engine.execute(made, "sh", "-c", "ulimit -u").out in ("2\n", "")
    assert engine.execute(made, "true").code == 0
    shown = engine.execute(made, "grep", "Max processes", "/proc/self/limits").out.split()
    assert shown[2:4] == ["2", "2"]


# ---- keys

_KEYS = """
import ctypes, platform, sys
libc = ctypes.CDLL(None, use_errno=True)
add, keyctl = (248, 250) if platform.machine() == "x86_64" else (217, 219)
SESSION, SEARCH, READ = ctypes.c_long(-3), 10, 11
if sys.argv[1] == "add":
    assert libc.syscall(add, b"user", sys.argv[2].encode(), b"secret", 6, SESSION) > 0, ctypes.get_errno()
print(libc.syscall(keyctl, SEARCH, SESSION, b"user", sys.argv[2].encode(), 0) > 0)
"""


@needs_python
def test_keys_of_one_containers_session_are_seen_by_no_other_nor_by_the_engine(engine: Engine) -> None:
    name = f"gitopsd-test-{os.urandom(6).hex()}"

    def keys(what: str, **settings: Any) -> str:
        made = engine.run(_PYTHON, "-I", "-c", _KEYS, what, name, Binds=_WITH_PYTHON, **settings)
        engine.wait(made)
        return engine.logs(made) or engine.logs(made, 2)

    if "Function not implemented" in keys("add"):
        pytest.skip("the kernel has no keys")
    assert keys("add") == "True\n"
    assert keys("look") == "False\n"
    assert keys("add", User="4242") == "True\n"
    made = engine.run("sleep", "1000", Binds=_WITH_PYTHON)
    assert engine.execute(made, _PYTHON, "-I", "-c", _KEYS, "add", name).out == "True\n"
    other = engine.run("sleep", "1000", Binds=_WITH_PYTHON)
    assert engine.execute(other, _PYTHON, "-I", "-c", _KEYS, "look", name).out == "False\n"
    assert keys("look") == "False\n"
    with contextlib.suppress(FileNotFoundError):
        assert name not in Path("/proc/keys").read_text()
