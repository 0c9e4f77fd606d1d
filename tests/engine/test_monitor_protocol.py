"""docs/monitor-protocol.md against a real monitor: every operation, every error, and what no daemon may do to a container."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import signal
import socket
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from gitopsd.dockerapi import create
from gitopsd.engine.daemon import spec
from gitopsd.engine.kernel import process
from gitopsd.engine.runtime import messages
from gitopsd.engine.runtime.launcher import Launcher
from tests.engine import archives
from tests.engine.running import SOURCE, Monitor, is_alive, until

pytestmark = pytest.mark.host

DOCUMENT = (SOURCE / "docs/monitor-protocol.md").read_text()


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    made = Launcher()
    yield made
    made.close()


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    (folder / "1").mkdir()
    with tarfile.open(fileobj=BytesIO(archives.busybox())) as archive:
        archive.extractall(folder / "1", filter="fully_trusted") if hasattr(tarfile, "data_filter") else archive.extractall(
            folder / "1"
        )
    return folder


class Made:
    """A container with its monitor, and the daemon's end of its first connection."""

    def __init__(self, launcher: Launcher, layers: Path, folder: Path, *command: str, stdin: bool = False, **host: Any) -> None:
        self.id, self.run = secrets.token_hex(32), secrets.token_hex(8)
        self.folder = folder
        for name in ("upper", "work", "log", "root", "m"):
            (folder / name).mkdir()
        config, host_config, _ = create.read(
            {"Image": "i", "Cmd": list(command), "OpenStdin": stdin, "Hostname": "h", "HostConfig": host}
        )
        merged = spec.merge_config(config, {"Env": ["PATH=/bin"]})
        oci = spec.runtime_config(self.id, merged, host_config, [], {}, str(folder / "root"), "", is_v2=False)
        self.path = str(folder / "m" / self.id[:12])
        specification = {
            "id": self.id, "run": self.run, "socket": self.path, "layers": str(layers), "log": str(folder / "log"), "exit": str(folder / "exit.json"),
            "overlay": {"lower": ["1"], "upper": str(folder / "upper"), "work": str(folder / "work")}, "oci": json.dumps(oci),
            "cgroup": {"monitor": [], "payload": []}, "oom": "", "stdin": stdin, "wait": False,
        }  # fmt: skip
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = launcher.launch("monitor", specification, [theirs.fileno()])
        theirs.close()
        self.daemon = Monitor.__new__(Monitor)
        self.daemon.sock, self.daemon.descriptors = ours, []
        ours.settimeout(10)
        self.ready = self.daemon.hear()
        self.sockets = dict(zip(self.ready.get("sockets", []), self.daemon.descriptors[1:]))  # noqa: B905
        self.daemon.descriptors = self.daemon.descriptors[:1]

    def start(self) -> dict[str, Any]:
        return self.daemon.ask("start")

    def dial(self) -> Monitor:
        return Monitor(self.path)

    def output(self) -> bytes:
        return b"".join(file.read_bytes() for file in sorted((self.folder / "log").iterdir()))

    def end(self) -> None:
        for descriptor in self.sockets.values():
            os.close(descriptor)
        self.daemon.close()
        with contextlib.suppress(OSError, messages.Closed), self.dial() as monitor:
            monitor.ask("abort")
            monitor.ask("signal", signal=9)
        until(lambda: not is_alive(self.pid), "the monitor has gone")


@pytest.fixture
def make(launcher: Launcher, layers: Path, tmp_path: Path) -> Iterator[Any]:
    made: list[Made] = []

    def start(*command: str, **more: Any) -> Made:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Made(launcher, layers, folder, *command, **more))
        return made[-1]

    yield start
    for one in made:
        one.end()


def running(make: Any, *command: str, **more: Any) -> Made:
    made = make(*(command or ("sleep", "1000")), **more)
    assert made.start()["ok"]
    return made


# ---- transport


def test_the_socket_is_for_root_alone(make: Any) -> None:
    made = running(make)
    assert os.stat(made.path).st_mode & 0o777 == 0o600
    os.chmod(made.path, 0o777)
    for folder in (made.folder, *made.folder.parents):
        if not folder.stat().st_mode & 0o001:
            os.chmod(folder, folder.stat().st_mode | 0o011)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b"not let in"
        try:
            os.setresuid(65534, 65534, 65534)
            with made.dial() as monitor:
                answer = json.dumps(monitor.ask("hello")).encode()
        except BaseException as error:  # noqa: BLE001
            answer = type(error).__name__.encode()
        os.write(writing, answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read()
    os.waitpid(child, 0)
    assert b"pid" not in said, said
    with made.dial() as monitor:
        assert monitor.ask("hello")["ok"]


def test_every_operation_of_the_document_is_known(make: Any) -> None:
    section = DOCUMENT.partition("## Operations")[2].partition("**A published port")[0]
    names = re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)
    assert set(names) == {"hello", "start", "signal", "attach", "close-stdin", "resize", "reopen-log", "watch", "give-sockets",
                          "take-sockets", "drop-sockets", "abort"}  # fmt: skip
    made = running(make)
    fields = {"signal": 0, "rows": 1, "columns": 1, "names": []}
    for name in names:
        with made.dial() as monitor:
            assert monitor.ask(name, **fields).get("error") not in ("unknown-op", "bad-request"), name


@pytest.mark.parametrize("op", ["dance", "", None, 7, ["hello"], {"a": 1}, "x" * 60_000, "\ud800"])
def test_an_unknown_operation_is_answered_as_such_and_ends_nothing(make: Any, op: object) -> None:
    made = running(make)
    with made.dial() as monitor:
        assert monitor.raw(json.dumps({"op": op}).encode())["error"] == "unknown-op"
        assert monitor.ask("hello")["state"] == "running"


@pytest.mark.parametrize("packet", [
    b"{", b"\xff\xfe", b"[]", b"null", b"7", b"", b"[" * 65_000, b'{"op":' * 9000, b'{"op": "signal"}', b'{"op": "signal", "signal": "x"}',
    b'{"op": "signal", "signal": 1e999}', b'{"op": "signal", "signal": 99999999999999999999}', b'{"op": "signal", "signal": -1}',
    b'{"op": "signal", "signal": null}', b'{"op": "give-sockets"}', b'{"op": "give-sockets", "names": 7}', b'{"op": "give-sockets", "names": [[]]}',
    b'{"op": "drop-sockets", "names": {"a": []}}', b'{"op": "drop-sockets", "names": [{}]}', b'{"op": "take-sockets", "names": null}',
    b'{"op": "take-sockets", "names": ["port/a"]}', b'{"op": "give-sockets", "names": ["route"%s]}' % (b', "route"' * 100),
])  # fmt: skip
def test_a_packet_that_cannot_be_understood_ends_nothing(make: Any, packet: bytes) -> None:
    made = running(make)
    if packet:
        with made.dial() as monitor:
            answer = monitor.raw(packet)
            assert answer.get("error") in ("bad-request", "no-socket") or answer == {"ok": True}, answer
    else:
        with made.dial() as monitor:
            monitor.sock.send(packet)
    with made.dial() as monitor:
        assert monitor.ask("hello")["state"] == "running"


def test_descriptors_that_no_operation_wants_are_closed(make: Any) -> None:
    made = running(make)
    before = len(os.listdir(f"/proc/{made.pid}/fd"))
    with made.dial() as monitor:
        for op in ("hello", "dance", "watch", "give-sockets", "take-sockets"):
            monitor.ask(op, [0] * 20, names=["nothing"])
        monitor.raw(b"garbage", [0] * 20)
    until(lambda: len(os.listdir(f"/proc/{made.pid}/fd")) == before, "all are closed")


def test_more_than_sixty_four_connections_are_turned_away_and_return_when_there_is_room(make: Any) -> None:
    made = running(make)
    held = [made.dial() for _ in range(64)]
    answers = []
    for monitor in held:
        with contextlib.suppress(Exception):
            answers.append(monitor.ask("hello"))
    assert 60 <= len(answers) <= 64
    for monitor in held:
        monitor.close()

    def answered() -> bool:
        try:
            with made.dial() as monitor:
                return bool(monitor.ask("hello")["ok"])
        except Exception:  # noqa: BLE001
            return False

    until(answered, "a new connection is answered")


# ---- a container's life


def test_hello_says_who_and_how(make: Any) -> None:
    made = make("sleep", "1000")
    with made.dial() as monitor:
        hello = monitor.ask("hello")
        assert hello == {
            "ok": True, "protocol": 1, "container": made.id, "run": made.run, "monitor": made.pid, "pid": made.ready["pid"], "state": "created",
            "started": 0, "finished": 0, "exit_code": None, "sockets": ["dns-tcp", "dns-udp", "netfilter", "route"],
        }  # fmt: skip
        (pidfd,) = monitor.descriptors
        assert int(re.findall(r"^Pid:\t(\d+)", Path(f"/proc/self/fdinfo/{pidfd}").read_text(), re.MULTILINE)[0]) == hello["pid"]
        started = made.start()["started"]
        hello = monitor.ask("hello")
        assert (hello["state"], hello["started"]) == ("running", started)


def test_the_document_names_every_field_of_hello(make: Any) -> None:
    made = make("sleep", "1000")
    row = next(line for line in DOCUMENT.splitlines() if line.startswith("| `hello`"))
    for field in set(made.daemon.ask("hello")) - {"ok"}:
        assert field.replace("_", " ") in row.replace("_", " "), field


def test_a_container_starts_once(make: Any) -> None:
    made = make("sleep", "1000")
    assert made.start()["ok"]
    with made.dial() as monitor:
        assert monitor.ask("start")["error"] == "running"


@pytest.mark.parametrize(("command", "number"), [("nothing-here", 2), ("/etc/passwd", 13), ("/etc", 13)])
def test_a_program_that_cannot_run_is_exec_failed_with_its_errno(make: Any, command: str, number: int) -> None:
    made = make(command)
    answer = made.start()
    assert (answer["error"], answer["errno"], answer["argument"]) == ("exec-failed", number, command)
    until(lambda: not is_alive(made.pid), "the monitor leaves")
    end = json.loads((made.folder / "exit.json").read_text())
    assert (end["run"], end["exit_code"]) == (made.run, 127 if number == 2 else 126)


def test_a_container_that_cannot_be_prepared_is_setup_failed_with_its_step(make: Any) -> None:
    made = make("true", Sysctls={"net.no.such.thing": "1"})
    try:
        answer = made.start()
    except (messages.Closed, OSError):  # it was quicker than we
        message = json.loads((made.folder / "exit.json").read_text())["error"]
    else:
        assert (answer["error"], answer["step"]) == ("setup-failed", "network")
        message = answer["message"]
    assert "/proc/sys/net/no/such/thing" in message


def test_abort_ends_what_has_not_started_and_the_monitor_with_it(make: Any) -> None:
    made = make("sleep", "1000")
    assert made.daemon.ask("abort") == {"ok": True}
    until(lambda: not is_alive(made.pid), "the monitor has gone")
    assert not os.path.exists(made.path)
    assert not (made.folder / "exit.json").exists(), "nothing has run"
    made = running(make)
    assert made.daemon.ask("abort")["error"] == "running"


def test_a_signal_goes_to_the_first_process_alone(make: Any) -> None:
    made = make("sh", "-c", "trap 'exit 5' USR1; echo ready; while true; do sleep 0.01; done")
    assert made.daemon.ask("signal", signal=9)["error"] == "not-running"
    made.start()
    until(lambda: b"ready" in made.output(), "it has its handler")
    assert made.daemon.ask("signal", signal=int(signal.SIGUSR1)) == {"ok": True}
    until((made.folder / "exit.json").exists, "it ends")
    assert json.loads((made.folder / "exit.json").read_text())["exit_code"] in (5, 138)


def test_the_end_is_on_disk_before_anybody_is_told(make: Any) -> None:
    made = running(make, "sh", "-c", "exit 4")
    with contextlib.suppress(OSError):
        watcher = made.dial()
        watcher.ask("watch")
        event = watcher.hear()
        watcher.close()
        assert {"event", "exit_code", "finished", "oom_killed"} <= set(event)
        assert (event["event"], event["exit_code"], event["oom_killed"]) == ("exit", 4, False)
        assert json.loads((made.folder / "exit.json").read_text())["exit_code"] == 4
    until(lambda: not is_alive(made.pid), "the monitor leaves")
    assert json.loads((made.folder / "exit.json").read_text())["exit_code"] == 4


def is_free(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(address)
        except OSError:
            return False
        return True


def test_who_hears_of_an_end_finds_port_and_path_free_for_the_next_run(make: Any) -> None:
    """They were freed after the news: a next run that was quick had its own socket removed, and could not be adopted."""
    for _ in range(10):
        made = running(make)
        with socket.socket() as reservation:
            reservation.bind(("127.0.0.1", 0))
            reservation.listen()
            address = reservation.getsockname()
            made.daemon.ask("take-sockets", [reservation.fileno()], names=[f"port/tcp/127.0.0.1/{address[1]}"])
        watcher = made.dial()
        watcher.ask("watch")
        made.daemon.ask("signal", signal=9)
        watcher.hear()
        assert not Path(made.path).exists()
        assert is_free(address)
        watcher.close()


def test_every_watcher_is_told(make: Any) -> None:
    made = running(make)
    watchers = [made.dial() for _ in range(5)]
    for watcher in watchers:
        assert watcher.ask("watch") == {"ok": True}
    made.daemon.ask("signal", signal=9)
    for watcher in watchers:
        assert watcher.hear()["exit_code"] == 137
        watcher.close()


# ---- input and output


def test_attach_gives_the_standard_input(make: Any) -> None:
    made = running(make, "sh", "-c", "read line; echo got $line; cat; echo end", stdin=True)
    with made.dial() as monitor:
        assert monitor.ask("attach") == {"ok": True}
        last = os.dup(monitor.descriptors[0])  # the next call closes what came with this one
        os.write(last, b"hello\n")
        until(lambda: b"got hello" in made.output(), "it arrives")
        assert monitor.ask("close-stdin") == {"ok": True}
        assert b"end" not in made.output()
        assert monitor.ask("attach")["error"] == "no-stdin"
    os.close(last)
    until(lambda: b"end\n" in made.output(), "the end arrives when the last one has closed")


def test_there_is_no_input_where_none_was_kept_and_no_terminal(make: Any) -> None:
    made = running(make)
    assert made.daemon.ask("attach")["error"] == "no-stdin"
    assert made.daemon.ask("close-stdin") == {"ok": True}
    assert made.daemon.ask("resize", rows=24, columns=80)["error"] == "no-terminal"


def test_reopen_log_goes_on_in_the_next_file(make: Any) -> None:
    made = running(make, "sh", "-c", "echo one; read line; echo two; read line", stdin=True)
    until(lambda: b"one" in made.output(), "the first line")
    assert made.daemon.ask("reopen-log") == {"ok": True}
    made.daemon.ask("attach")
    os.write(made.daemon.descriptors[0], b"\n")
    until(lambda: b"two" in made.output(), "the second line")
    files = sorted(os.listdir(made.folder / "log"))
    assert len(files) == 2
    assert b"two" not in (made.folder / "log" / files[0]).read_bytes()
    os.write(made.daemon.descriptors[0], b"\n")


def test_a_connection_that_is_full_is_dropped_and_the_container_goes_on(make: Any) -> None:
    made = running(make, "sh", "-c", "while true; do echo still here; sleep 0.01; done")
    slow = made.dial()
    slow.sock.setblocking(False)
    with contextlib.suppress(OSError):
        for _ in range(20_000):
            slow.sock.send(b'{"op": "hello"}')
    with made.dial() as monitor:
        assert monitor.ask("hello")["state"] == "running"
    size = len(made.output())
    until(lambda: len(made.output()) > size, "output is still taken")
    slow.close()


# ---- sockets


def test_sockets_are_given_in_order_and_kept(make: Any) -> None:
    made = make("sleep", "1000")
    for _ in range(2):
        assert made.daemon.ask("give-sockets", names=["dns-udp", "route"])["ok"]
        udp, route = (socket.socket(fileno=os.dup(descriptor)) for descriptor in made.daemon.descriptors)
        assert (udp.family, udp.type, udp.getsockname()[0]) == (socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.11")
        assert route.family == socket.AF_NETLINK
        udp.close()
        route.close()
    answer = made.daemon.ask("give-sockets", names=["dns-udp", "port/tcp/0.0.0.0/80"])
    assert answer["error"] == "no-socket"
    assert "port/tcp/0.0.0.0/80" in answer["message"]
    assert made.daemon.descriptors == []


def test_a_port_moves_from_one_monitor_to_another_without_ever_being_free(make: Any) -> None:
    old, new = running(make), running(make)
    with socket.socket() as reservation:
        reservation.bind(("127.0.0.1", 0))
        reservation.listen()
        address = reservation.getsockname()
        name = f"port/tcp/127.0.0.1/{address[1]}"
        assert old.daemon.ask("take-sockets", [reservation.fileno()], names=[name]) == {"ok": True}

    assert not is_free(address)
    old.daemon.ask("give-sockets", names=[name])
    new.daemon.ask("take-sockets", old.daemon.descriptors, names=[name])
    old.daemon.forget()
    assert old.daemon.ask("drop-sockets", names=[name, "never-held"]) == {"ok": True}
    assert not is_free(address)
    assert name in new.daemon.ask("hello")["sockets"]
    assert name not in old.daemon.ask("hello")["sockets"]
    assert new.daemon.ask("drop-sockets", names=[name]) == {"ok": True}
    assert is_free(address)


def test_a_socket_taken_under_a_held_name_replaces_it(make: Any) -> None:
    made = running(make)
    before = len(os.listdir(f"/proc/{made.pid}/fd"))
    for _ in range(3):
        with socket.socket() as one:
            made.daemon.ask("take-sockets", [one.fileno()], names=["port/x"])
    assert len(os.listdir(f"/proc/{made.pid}/fd")) == before + 1


# ---- ends


def test_a_killed_monitor_takes_its_container_along(make: Any) -> None:
    made = running(make, "sh", "-c", "sleep 999 & sleep 1000")
    first = made.ready["pid"]
    pidfd = made.daemon.descriptors[0] if made.daemon.descriptors else process.pidfd_open(first)
    os.kill(made.pid, signal.SIGKILL)
    assert select.select([pidfd], [], [], 5)[0], "the first process has ended"
    assert not (made.folder / "exit.json").exists()
    os.close(pidfd)
    made.daemon.descriptors = []


def test_a_full_or_missing_place_for_the_end_does_not_keep_the_monitor(make: Any) -> None:
    made = running(make)
    (made.folder / "exit.json.tmp").mkdir()
    made.daemon.ask("watch")
    made.daemon.ask("signal", signal=9)
    assert made.daemon.hear()["exit_code"] == 137
    until(lambda: not is_alive(made.pid), "the monitor leaves")
