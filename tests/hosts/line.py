"""The whole line for tests: a lab, a repository, a controller that is run as people run it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gitopsd.hosts.engineapi import EngineApi
from gitopsd.hosts.links import Links
from gitopsd.lab import Lab, execute
from gitopsd.model.fleet import Fleet, Host, Registry
from tests.fakes.fakework import Upstream
from tests.hosts.busybox import a_busybox_image
from tests.hosts.pushing import push

TOP = Path(__file__).parents[2]
_USERS = {"lab-2": "deploy"}
"""One host is reached by a user that is not root and may use sudo."""

SHOP = """\
services:
  web:
    build: ../web
    ports: ["8080:80"]
    networks: [shop]
    depends_on: [store]
    mem_limit: 64m
    healthcheck: {test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1/version"], interval: 1s, timeout: 1s, retries: 3, start_interval: 100ms}
    stop_grace_period: 1s
    deploy: {mode: global}
  store:
    image: busybox:stable
    command: [sh, -c, "echo kept >> /data/log; exec sleep 1000000"]
    volumes: ["data:/data"]
    networks: [shop]
    mem_limit: 64m
    stop_grace_period: 1s
    deploy: {mode: global}
networks: {shop: {}}
volumes: {data: {}}
"""

BLOG = """\
services:
  blog:
    image: busybox:stable
    command: [sleep, "1000000"]
    stop_grace_period: 1s
    volumes: ["posts:/posts"]
    deploy: {mode: global}
volumes: {posts: {}}
"""

WEB = {"web/Dockerfile": 'FROM busybox:stable\nCOPY site /www\nCMD ["httpd", "-f", "-p", "80", "-h", "/www"]\n'}


class Line:
    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.state = folder / "state"
        self.registry = f"127.0.0.1:{a_free_port()}"
        self.upstream = Upstream(folder / "fleet")
        self.links = Links(Fleet("line", tuple(self._host(name) for name in self.names), Registry(self.registry), ()))
        self.commit("first", **{"web/site/version": "1"})
        done = self.gitopsd("registry", "start")
        assert done.returncode == 0, done.stderr
        push(self.registry, "library/busybox", "stable", a_busybox_image())

    @property
    def names(self) -> list[str]:
        return [host.name for host in self.lab.hosts]

    def address(self, name: str) -> str:
        return self.lab.host(name).address

    def _host(self, name: str) -> Host:
        host = self.lab.host(name)
        return Host(name, host.address, user=_USERS.get(name, "root"), key=str(self.lab.key), host_keys=(host.host_key,))

    def fleet(self, stacks: tuple[str, ...] = ("shop",), keys: dict[str, str] | None = None) -> str:
        hosts = "".join(
            f"  {host.name}: {{address: {host.address}, user: {_USERS.get(host.name, 'root')}, key: {self.lab.key}, "
            f"host_key: {(keys or {}).get(host.name, host.host_key)}}}\n"
            for host in self.lab.hosts
        )
        listed = "".join(f"  {name}: {{file: stacks/{name}.yaml}}\n" for name in stacks)
        registry = f"registry: {{address: '{self.registry}', mirrors: {{docker.io: '{self.registry}'}}}}\n"
        return f"name: line\n{registry}intervals: {{poll: 30s, drift: 2s}}\nhosts:\n{hosts}stacks:\n{listed}"

    def commit(self, subject: str, **files: str | None) -> str:
        """The first stack as it is, with `files` changed."""
        return self.upstream.commit({"gitopsd.yaml": self.fleet(), "stacks/shop.yaml": SHOP, **WEB, **files}, subject)

    def gitopsd(self, *words: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, cwd=self.upstream.path, env=self.environment, timeout=timeout_s
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command whose two outputs are read as one while it runs."""
        return subprocess.Popen(
            self.command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.upstream.path,
            env={**self.environment, "PYTHONUNBUFFERED": "1"},
        )

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-c", "from gitopsd.cli import main; main()", *words]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(TOP), "GITOPSD_STATE_DIR": str(self.state)}

    def sync(self, *words: str, ends: int = 0) -> subprocess.CompletedProcess[str]:
        done = self.gitopsd("sync", *words)
        assert done.returncode == ends, done.stdout + done.stderr
        return done

    def plan(self, *words: str) -> dict[str, Any]:
        done = self.gitopsd("plan", "--json", *words)
        assert done.returncode in (0, 2, 3), done.stderr
        return json.loads(done.stdout)

    def is_settled(self) -> bool:
        return not self.plan()["steps"]

    def api(self, name: str) -> EngineApi:
        return EngineApi(self.links.link(name))

    def containers(self, name: str) -> dict[str, str]:
        """Name to status."""
        api = self.api(name)
        try:
            state = api.state()
            assert state is not None
            return {c["inspect"]["Name"].lstrip("/"): c["inspect"]["State"]["Status"] for c in state.value["containers"]}
        finally:
            api.close()

    def etags(self) -> list[str]:
        found: list[str] = []
        for name in self.names:
            api = self.api(name)
            state = api.state()
            assert state is not None
            found.append(state.etag)
            api.close()
        return found

    def execute(self, name: str, *words: str) -> str:
        done = execute(self.lab, name, words)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def signal(self, name: str, program: str, number: str) -> None:
        """A signal to every process of that name on a lab host, by number."""
        script = f'for p in /proc/[0-9]*; do read c < $p/comm && [ "$c" = {program} ] && kill -{number} ${{p#/proc/}}; done; true'
        self.execute(name, "sh", "-c", script)

    def close(self) -> None:
        self.links.close()
        done = self.gitopsd("registry", "remove", "--yes")
        for folder in (self.state, self.upstream.path):
            shutil.rmtree(folder, ignore_errors=True)
        assert done.returncode == 0, done.stderr


def a_free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def fetch(address: str, path: str = "/version", port: int = 8080) -> str:
    """A page, over a connection of its own."""
    with socket.create_connection((address, port), 2) as connection:
        connection.settimeout(5)
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while data := connection.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], head
    return body.decode().strip()


def wait_for(holds: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.1)
