"""A real engine in a place of its own, for tests: its data, its network, its mounts, and everything that it ever starts.

The daemon is a child of a keeper (keeper.py), whose network and mounts it shares and below which all stays that it starts. `close` says
what of the engine is left when it has been uninstalled.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.client.connection import Client
from gitopsd.engine.http.client import UnixConnection
from gitopsd.engine.kernel import process
from gitopsd.engine.runtime import messages
from tests.engine import archives, keeper

Result = TypeVar("Result")

SOURCE = Path(__file__).parents[2]
PYTHON = os.environ.get("GITOPSD_TEST_PYTHON", sys.executable)
"""What the engine runs on."""
_WAIT_S = 20
_CGROUPS = Path("/sys/fs/cgroup")


class Output(NamedTuple):
    code: int
    out: str
    err: str


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


class Keeper:
    """Runs programs in a network and a mount namespace of their own, and loses none."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.keeper"],
            cwd=SOURCE,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._said: queue.Queue[dict[str, int]] = queue.Queue()
        self._ends: dict[int, Future[int]] = {}
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self.pid = self._read()["ready"]
        self._listener.start()
        self.network = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)

    def run(self, words: list[str], log: Path, **environment: str) -> int:
        """Start a program; its pid."""
        request = {"run": words, "environment": {**os.environ, **environment}, "log": str(log)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._said.get(timeout=_WAIT_S)["started"]

    def ended(self, pid: int) -> int:
        """Wait for a program's end; its exit code."""
        return self._ends[pid].result(timeout=60)

    def inside(self, work: Callable[[], Result]) -> Result:
        """Do something in the keeper's network. Sockets made there may be used anywhere."""
        done: Future[Result] = Future()

        def joined() -> None:
            try:
                process.setns(self.network, process.CLONE_NEWNET)
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001  raised where it is waited for
                done.set_exception(error)

        thread = threading.Thread(target=joined)
        thread.start()
        thread.join()
        return done.result()

    def below(self) -> dict[int, str]:
        """What still runs, with its words or its name."""
        found: dict[int, str] = {}
        for pid in keeper.below(self.pid):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
                found[pid] = words or Path(f"/proc/{pid}/comm").read_text().strip()
        return found

    def zombies(self) -> list[int]:
        """Those in the host's process ids; what is inside a container is its first process's."""
        found: list[int] = []
        for pid in keeper.below(self.pid):
            with contextlib.suppress(OSError):
                status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
                if status["State"].startswith("Z") and len(status["NSpid"].split()) == 1:
                    found.append(pid)
        return found

    def mounts(self) -> set[str]:
        return {line.split()[4] for line in Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()}

    def close(self) -> None:
        os.close(self.network)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._listener.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> dict[str, int]:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "ended" in said:
                if said["ended"] in self._ends:
                    self._ends[said["ended"]].set_result(said["code"])
            else:
                self._ends[said["started"]] = Future()
                self._said.put(said)


class Engine:
    """An engine with fresh roots. `start` before anything else."""

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gitopsd-", dir=os.environ.get("GITOPSD_TEST_DIR", "/var/tmp")))
        self.data_root, self.exec_root = self.folder / "data", self.folder / "run"
        self.log = self.folder / "daemon.log"
        self.options = list(options)
        self.keeper = Keeper()
        self.pid = 0
        self.instance = ""
        self.mark = 0
        """Where in the log the present test begins."""
        self._mounts = self.keeper.mounts()

    # the daemon

    def words(self, role: str, *more: str) -> list[str]:
        roots = ["--data-root", str(self.data_root), "--exec-root", str(self.exec_root)]
        return [PYTHON, "-m", "gitopsd.engine.main", role, *roots, *more]

    def run_program(self, words: list[str], log: Path) -> int:
        """Start a program beside the daemon; its pid."""
        return self.keeper.run(words, log, PYTHONPATH=str(SOURCE))

    def begin(self, *options: str) -> int:
        """Start the daemon and do not wait for it."""
        self.pid = self.run_program(self.words("daemon", "--log-level", "debug", *self.options, *options), self.log)
        return self.pid

    def start(self, *options: str) -> Engine:
        pid = self.begin(*options)
        self.wait_ready(pid)
        return self

    def wait_ready(self, pid: int) -> None:
        def answers() -> bool:
            if not is_alive(pid):
                raise AssertionError(f"the daemon ended while it started:\n{self.log.read_text()[-4000:]}")
            with contextlib.suppress(OSError):
                self.client.call("GET", "/_ping_")
            return False

        def listens() -> bool:
            try:
                return answers()
            except ApiError:
                return True  # it says that it does not know the call

        until(listens, "the daemon answers", pause_s=0.005)
        self.instance = json.loads((self.data_root / "VERSION").read_text())["instance"]

    def kill(self, number: int = signal.SIGKILL) -> int:
        """End the daemon; its exit code."""
        pid, self.pid = self.pid, 0
        os.kill(pid, number)
        return self.keeper.ended(pid)

    def stop(self) -> int:
        return self.kill(signal.SIGTERM)

    def restart(self, hard: bool = False) -> None:
        self.kill(signal.SIGKILL if hard else signal.SIGTERM)
        self.start()

    @property
    def client(self) -> Client:
        return Client(self.host)

    @property
    def socket(self) -> Path:
        return self.exec_root / "engine.sock"

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    # what one does with it

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """A call with all that its answer says, whatever that is."""
        connection = UnixConnection(str(self.socket), 30)
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            text = response.read()
            kind = response.headers.get("Content-Type", "")
            return Answer(
                response.status, dict(response.headers), json.loads(text) if text.strip() and kind == "application/json" else text
            )
        finally:
            connection.close()

    def load(self, reference: str, *layers: bytes, **config: Any) -> str:
        """Make an image of layers on top of busybox's; its reference."""
        said = list(
            self.client.lines("POST", "/images/load", archives.an_archive(reference, archives.busybox(), *layers, **config))
        )
        assert not any("error" in line for line in said), said
        return reference

    def create(self, *command: str, image: str = "busybox", name: str = "", **settings: Any) -> str:
        """A container's id. Settings that a HostConfig has go there."""
        body: dict[str, Any] = {"Image": image, "Cmd": list(command) or None, "HostConfig": {}}
        for key, value in settings.items():
            (body if key in _CONFIG else body["HostConfig"])[key] = value
        return self.client.call("POST", "/containers/create", body, name=name)["Id"]

    def start_container(self, container: str) -> None:
        self.client.call("POST", f"/containers/{container}/start")

    def run(self, *command: str, image: str = "busybox", name: str = "", **settings: Any) -> str:
        """A running container's id."""
        made = self.create(*command, image=image, name=name, **settings)
        self.start_container(made)
        return made

    def shell(self, script: str, **settings: Any) -> Output:
        """Run a script in a container to its end."""
        made = self.run("sh", "-c", script, **settings)
        code = self.wait(made)
        output = Output(code, self.logs(made), self.logs(made, 2))
        self.remove(made)
        return output

    def wait(self, container: str, condition: str = "") -> int:
        return self.client.call("POST", f"/containers/{container}/wait", condition=condition)["StatusCode"]

    def logs(self, container: str, stream: int = 1) -> str:
        return self.raw_logs(container, stream).decode()

    def raw_logs(self, container: str, stream: int = 1, **query: Any) -> bytes:
        wanted = {"stdout": True} if stream == 1 else {"stderr": True}
        return b"".join(data for _, data in self.client.frames("GET", f"/containers/{container}/logs", **wanted, **query))

    def inspect(self, container: str) -> dict[str, Any]:
        return self.client.call("GET", f"/containers/{container}/json")

    def status(self, container: str) -> dict[str, Any]:
        return self.inspect(container)["State"]

    def remove(self, container: str) -> None:
        self.client.call("DELETE", f"/containers/{container}", force=True, v=True)

    def execute(self, container: str, *command: str, **settings: Any) -> Output:
        """Run a further program in a container to its end."""
        body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, **settings}
        made = self.client.call("POST", f"/containers/{container}/exec", body)["Id"]
        streams = {1: b"", 2: b""}
        for number, data in self.client.take_over(f"/exec/{made}/start", {}).frames():
            streams[number] += data
        code = self.client.call("GET", f"/exec/{made}/json")["ExitCode"]
        return Output(code, streams[1].decode(), streams[2].decode())

    def docker(self, *words: str, check: bool = True, **more: Any) -> Output:
        """Docker's own client."""
        environment = {**self.docker_environment, **more.pop("env", {})}
        program = more.pop("program", "docker")
        done = subprocess.run([program, *words], env=environment, capture_output=True, text=True, timeout=60, **more)
        assert done.returncode == 0 or not check, f"docker {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return Output(done.returncode, done.stdout, done.stderr)

    def docker_process(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Docker's own client, while it goes on; leaving the `with` waits for its end."""
        pipe = subprocess.PIPE
        settings: dict[str, Any] = {"stdin": pipe, "stdout": pipe, "stderr": pipe, "env": self.docker_environment, **more}
        return subprocess.Popen(["docker", *words], text=True, **settings)

    @property
    def docker_environment(self) -> dict[str, str]:
        """That of Docker's client, which the test would not be about if it read the settings of whoever runs it."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
        return {**kept, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(self.folder / "docker")}

    def take_over(self, path: str, status: int, headers: str = "") -> socket.socket:
        """A raw connection behind the head of an answer to a POST, which has this status. `headers`: lines with their ends."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(str(self.socket))
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: d\r\n{headers}Content-Length: 0\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        assert head.startswith(f"HTTP/1.1 {status} ".encode()), head
        return sock

    def connect(self, port: int, address: str = "127.0.0.1") -> socket.socket:
        """A connection to a port of the host that the engine runs on."""
        return self.keeper.inside(lambda: socket.create_connection((address, port), 5))

    def fetch(self, port: int, address: str = "127.0.0.1", request: bytes = b"") -> bytes:
        """All that a port of the host answers."""
        with self.connect(port, address) as sock:
            if request:
                sock.sendall(request)
            parts: list[bytes] = []
            while data := sock.recv(65536):
                parts.append(data)
        return b"".join(parts)

    def inside(self, *words: str, check: bool = True) -> str:
        """What a command says in the network that the engine runs in."""
        return self.keeper.inside(lambda: subprocess.run(words, capture_output=True, text=True, check=check)).stdout

    def monitor(self, container: str) -> Monitor:
        return Monitor(str(self.exec_root / "m" / container[:12]))

    def record(self, container: str) -> dict[str, Any]:
        return json.loads((self.data_root / "containers" / container / "config.json").read_text())

    def containers(self) -> list[dict[str, Any]]:
        return self.client.call("GET", "/containers/json", all=True)

    def empty(self) -> None:
        """Remove containers, volumes and networks."""
        for container in self.containers():
            self.remove(container["Id"])
        for volume in self.client.call("GET", "/volumes")["Volumes"]:
            self.client.call("DELETE", f"/volumes/{volume['Name']}")
        for network in self.client.call("GET", "/networks"):
            if network["Name"] not in ("bridge", "host", "none"):
                self.client.call("DELETE", f"/networks/{network['Id']}")

    # its end

    def close(self) -> list[str]:
        """Uninstall it. What is wrong after that, in words; nothing of the engine is left in any case."""
        wrong: list[str] = []
        try:
            if self.pid and is_alive(self.pid):
                self.kill(signal.SIGTERM)
            if self.instance:
                log = self.folder / "uninstall.log"
                code = self.keeper.ended(self.run_program(self.words("uninstall"), log))
                if code:
                    wrong.append(f"uninstall ended with {code}: {log.read_text()}")
                wrong += self.leftovers()
        finally:
            self.keeper.close()
            for folder in self._cgroups():
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        return wrong

    def leftovers(self) -> list[str]:
        """Of an engine that was uninstalled."""
        with contextlib.suppress(AssertionError):
            until(lambda: not self.keeper.below(), "everything has ended", timeout_s=5)
        links = self.keeper.inside(lambda: [name for _, name in socket.if_nameindex()])
        return [
            *(f"process {pid}: {words}" for pid, words in self.keeper.below().items()),
            *(f"mount {place}" for place in sorted(self.keeper.mounts() - self._mounts)),
            *(f"link {name}" for name in links if name.startswith("g") and self.instance in name),
            *(f"cgroup {folder}" for folder in self._cgroups()),
            *(f"table {line}" for line in self._tables()),
        ]

    def _cgroups(self) -> list[str]:
        """Deepest first."""
        tops = [*_CGROUPS.glob(f"*/gitopsd-{self.instance}"), *_CGROUPS.glob(f"gitopsd-{self.instance}")]
        return [folder for top in tops for folder, _, _ in os.walk(top, topdown=False)]

    def _tables(self) -> list[str]:
        if shutil.which("nft") is None:
            return []
        listed = self.keeper.inside(lambda: subprocess.run(["nft", "list", "tables"], capture_output=True, text=True))
        return [line for line in listed.stdout.splitlines() if self.instance in line]

    def remove_files(self) -> None:
        shutil.rmtree(self.folder)


_CONFIG = {"Hostname", "Domainname", "User", "Env", "Entrypoint", "Labels", "Volumes", "WorkingDir", "StopSignal", "StopTimeout", "OpenStdin",
           "StdinOnce", "AttachStdin", "Tty", "Healthcheck", "ExposedPorts", "NetworkingConfig", "Gitopsd", "NetworkDisabled"}  # fmt: skip


class Monitor:
    """One connection to a container's monitor (docs/monitor-protocol.md)."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.descriptors: list[int] = []
        try:
            self.sock.connect(path)
        except OSError:
            self.sock.close()
            raise
        self.sock.settimeout(5)

    def __enter__(self) -> Monitor:  # noqa: PYI034  Self came after 3.9
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()
        self.forget()

    def forget(self) -> None:
        messages.close_all(self.descriptors)
        self.descriptors = []

    def ask(self, op: str, descriptors: list[int] | None = None, **fields: Any) -> dict[str, Any]:
        """The answer; descriptors that came with it are in `descriptors` until the next call."""
        return self.raw(json.dumps({"op": op, **fields}).encode(), descriptors)

    def raw(self, packet: bytes, descriptors: list[int] | None = None) -> dict[str, Any]:
        self.forget()
        socket.send_fds(self.sock, [packet], descriptors or [])
        return self.hear()

    def hear(self) -> dict[str, Any]:
        answer, self.descriptors = messages.receive(self.sock)
        return answer


def is_alive(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        return not select.select([descriptor], [], [], 0)[0]
    finally:
        os.close(descriptor)


def until(is_so: Callable[[], Any], what: str, timeout_s: float = _WAIT_S, pause_s: float = 0.01) -> Any:
    """Wait until something is so, and give what it said."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = is_so()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout_s:g} s still not: {what}")
        time.sleep(pause_s)


@contextlib.contextmanager
def fails(status: int, code: str | None = None) -> Iterator[list[ApiError]]:
    """The engine refuses what is done inside, with this status and code. The error is in the list afterwards."""
    found: list[ApiError] = []
    with pytest.raises(ApiError) as caught:
        yield found
    error = caught.value
    assert (error.status, error.code if code is not None else None) == (status, code), error.message
    found.append(error)
