"""Builds by a real daemon: RUN in its containers, on its network; what is left when something ends in the middle."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.builder.calls import call, connect
from tests.engine.builder.rig import link, tar

pytestmark = pytest.mark.host

BASE: dict[str, Any] = {
    "Dockerfile": 'FROM scratch\nCOPY rootfs /\nCMD ["sh"]\n',
    "rootfs/bin/busybox": (0o755, Path("/bin/busybox").read_bytes()),
    **{f"rootfs/bin/{name}": link("busybox") for name in ("sh", "ls", "cat", "echo", "sleep", "id", "ip", "wget", "nslookup")},
    "rootfs/etc/passwd": "root:x:0:0::/:/bin/sh\nweb:x:33:33::/:/bin/sh\n",
}


class Daemon:
    """A daemon of its own, with a data root, an instance and addresses of its own."""

    def __init__(self, folder: Path) -> None:
        self.data_root, exec_root = folder / "data", folder / "run"
        block = f"10.{random.randrange(200, 255)}.{random.randrange(0, 256, 8)}.0/21"
        self.roots = ["--data-root", str(self.data_root), "--exec-root", str(exec_root)]
        self.options = ["--address-block", block]
        self.socket = str(exec_root / "engine.sock")
        self.log = folder / "log"
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command("daemon", *self.roots, *self.options), stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while True:
            try:
                assert call(self.socket, "GET", "/version")[0] == 200
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        subprocess.run(self._command("uninstall", *self.roots, *self.options), check=True)

    def build(self, text: str, **query: Any) -> tuple[int, list[Any], str]:
        """The status, the objects of the stream, and its text."""
        status, lines = call(self.socket, "POST", "/build", tar({"Dockerfile": text}), **query)
        return status, lines, "".join(line.get("stream", "") for line in lines)

    def containers(self) -> list[Any]:
        return call(self.socket, "GET", "/containers/json", all="1")[1][0]

    def layers(self) -> list[Path]:
        """Folders of layers, the newest last."""
        return sorted((self.data_root / "layers").iterdir(), key=lambda path: int(path.name, 36))

    def left_in_work(self) -> list[str]:
        return os.listdir(self.data_root / "builder/work")

    @staticmethod
    def _command(*words: str) -> list[str]:
        return [sys.executable, "-c", f"import sys; from gitopsd.engine.main import main; sys.exit(main({list(words)!r}))"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    made = Daemon(tmp_path_factory.mktemp("daemon"))
    try:
        status, lines = call(made.socket, "POST", "/build", tar(BASE), t="busybox:stable")
        assert status == 200
        assert lines[-1] == {"stream": "Successfully tagged busybox:stable\n"}
        yield made
    finally:
        made.close()


def test_a_command_runs_on_the_default_network_and_leaves_only_what_it_wrote(daemon: Daemon) -> None:
    _, _, printed = daemon.build("FROM busybox:stable\nRUN ip -4 addr show eth0; cat /etc/resolv.conf; echo x > /x\n")
    assert f"inet {daemon.options[1].rsplit('.', 1)[0].rsplit('.', 1)[0]}." in printed
    assert "nameserver 127.0.0.11" in printed
    assert [str(path.relative_to(daemon.layers()[-1])) for path in daemon.layers()[-1].rglob("*")] == ["x"]
    assert daemon.containers() == []
    assert daemon.left_in_work() == []


def test_a_command_runs_as_the_user_in_the_folder_with_the_environment(daemon: Daemon) -> None:
    _, _, printed = daemon.build(
        'FROM busybox:stable\nENV A=1\nARG B=2\nUSER web\nWORKDIR /w\nRUN id; echo "$PWD $A $B"; echo x > here\n'
    )
    assert "uid=33(web)" in printed
    assert "/w 1 2\n" in printed
    written = daemon.layers()[-1] / "w/here"
    assert (written.stat().st_uid, written.read_text()) == (33, "x\n")


def test_a_program_that_is_not_there_is_named(daemon: Daemon) -> None:
    status, lines, _ = daemon.build('FROM busybox:stable\nRUN ["/bin/nothing"]\n')
    assert status == 200
    assert "/bin/nothing" in lines[-1]["error"]
    assert daemon.containers() == []


def test_a_client_that_goes_away_ends_the_command(daemon: Daemon) -> None:
    connection = connect(daemon.socket, "POST", "/build", tar({"Dockerfile": "FROM busybox:stable\nRUN sleep 1234\n"}))
    response = connection.getresponse()
    while b"RUN" not in response.readline():
        pass
    deadline = time.monotonic() + 20
    while not daemon.containers():
        assert time.monotonic() < deadline
    connection.close()
    response.close()
    while daemon.containers() or daemon.left_in_work():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_daemon_that_is_killed_in_a_build_leaves_nothing_to_the_next(daemon: Daemon) -> None:
    connection = connect(
        daemon.socket, "POST", "/build", tar({"Dockerfile": "FROM busybox:stable\nRUN echo kept > /a\nRUN sleep 1234\n"})
    )
    deadline = time.monotonic() + 20
    while not any(container["Command"].endswith("sleep 1234") for container in daemon.containers()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    daemon.kill()
    connection.close()
    daemon.start()
    assert daemon.containers() == []
    assert daemon.left_in_work() == []
    _, _, printed = daemon.build("FROM busybox:stable\nRUN echo kept > /a\nRUN echo done\n")
    assert printed.count("Using cache") == 1
    assert "done\n" in printed


@pytest.mark.interop
@pytest.mark.skipif(not shutil.which("docker"), reason="needs the docker CLI")
def test_the_docker_cli_builds(daemon: Daemon, tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / "d").mkdir(parents=True)
    (context / "d/kept").write_text("kept")
    (context / "left-out").write_text("")
    (context / ".dockerignore").write_text("left-out\n")
    (context / "Dockerfile").write_text("FROM busybox:stable\nARG A\nCOPY . /x\nRUN ls -R /x && echo A=$A\n")

    def docker(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_HOST": f"unix://{daemon.socket}", "DOCKER_BUILDKIT": "0"}
        return subprocess.run(["docker", *words], env=environment, capture_output=True, text=True, **options)

    built = docker("build", "-t", "web:1", "--build-arg", "A=5", "--label", "a=b", str(context))
    assert built.returncode == 0, built.stderr
    assert "A=5\n" in built.stdout
    assert "kept" in built.stdout
    assert "left-out" not in built.stdout
    assert built.stdout.endswith("Successfully tagged web:1\n")
    assert "web" in docker("images").stdout
    piped = docker("build", "-f", "-", str(context), input="FROM busybox:stable\nRUN exit 9\n")
    assert piped.returncode != 0
    assert "returned a non-zero code: 9" in piped.stderr
    refused = docker("build", "--memory", "10m", str(context))
    assert "the parameter memory is not there yet" in refused.stderr
