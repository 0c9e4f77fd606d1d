"""A whole controller whose hosts, builder and registry are in memory: Git, rendering, the store and HTTP are real."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from gitopsd.apply import Timing
from gitopsd.control.reach import Brought, Reach
from gitopsd.control.settings import Settings
from gitopsd.control.wiring import Wiring
from gitopsd.hosts.addresses import block_of, spans_of
from gitopsd.hosts.engineapi import EngineApi
from gitopsd.hosts.local import LocalLink
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.fleet import Fleet, Registry
from gitopsd.model.observed import Observed
from gitopsd.store import Store
from tests.fakes.fakeengine import FakeEngine, an_oci_image
from tests.fakes.registries import MemoryRegistries

FAST = Timing(settle_s=0.03, job_s=2, margin_s=0.5, poll_s=0.01)
REGISTRY = "127.0.0.1:5000"

FLEET = """\
name: test
registry:
  address: 127.0.0.1:5000
  mirrors: {docker.io: 127.0.0.1:5000}
intervals: {poll: 30s, drift: 30s}
hosts:
  a: {address: 10.0.0.1}
  b: {address: 10.0.0.2}
stacks:
  shop: {file: stacks/shop.yaml}
"""

SHOP = """\
services:
  web:
    build: ../web
    ports: ["8080:80"]
    depends_on: [store]
    healthcheck: {test: [CMD, "true"], interval: 1s}
    deploy: {mode: global}
  store:
    image: busybox:stable
    command: [sleep, infinity]
    mem_limit: 64m
    volumes: ["data:/data"]
    deploy: {mode: global}
volumes: {data: {}}
"""

FILES = {
    "gitopsd.yaml": FLEET,
    "stacks/shop.yaml": SHOP,
    "web/Dockerfile": "FROM busybox:stable\nCOPY index.html /\n",
    "web/index.html": "hello",
}


class Upstream:
    """The repository that people commit to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> str:
        person = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "Ada",
                  "GIT_COMMITTER_EMAIL": "a@example.org"}  # fmt: skip
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.path.parent), "GIT_CONFIG_NOSYSTEM": "1", **person}
        done = subprocess.run(["git", *words], cwd=self.path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, files: dict[str, str | None], subject: str = "change") -> str:
        for name, text in files.items():
            path = self.path / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return self.git("rev-parse", "HEAD")


class FakeReach(Reach):
    """`engines` by host; one that is missing cannot be reached."""

    def __init__(self, fleet: Fleet, engines: dict[str, FakeEngine]) -> None:
        super().__init__(fleet, None)
        self.fakes = engines
        self._apis: dict[str, EngineApi] = {}

    def engine(self, host: str) -> EngineApi:
        if host not in self.fakes:
            raise GitopsdError("host-unreachable", "No route to host", Where(host=host), next="retry")
        if host not in self._apis:
            self._apis[host] = EngineApi(LocalLink(host), str(self.fakes[host].socket), timeout_s=5)
        return self._apis[host]

    def bring(self, observed: Observed, store: Store, wanted: Collection[str]) -> tuple[Brought, ...]:
        numbers = self._numbers(observed, store)
        found: list[Brought] = []
        for host in sorted(wanted):
            if host not in self.fakes:
                continue
            number = numbers[host]
            self.engine(host).put_host(
                self.fleet.name, host, number, block_of(self.fleet.pool, number), spans_of(self.fleet.pool)
            )
            store.set_host_number(host, number)
            self.brought.add(host)
            found.append(Brought(host, ("put engine",)))
        return tuple(found)

    def close(self) -> None:
        for api in self._apis.values():
            api.close()
        super().close()


class FakeServices:
    def __init__(self, builder: FakeEngine) -> None:
        self._api = EngineApi(LocalLink(), str(builder.socket))
        self.started: list[str] = []

    def builder(self, registry: Registry) -> EngineApi:
        return self._api

    def ensure_registry(self, registry: Registry) -> None:
        self.started.append(registry.address)

    def registry_answers(self, registry: Registry) -> bool:
        return True

    def close(self) -> None:
        self._api.close()


class FakeWork(Wiring):
    """Built over a folder; `engines` are there before any host is asked, as if bootstrap had been."""

    def __init__(self, folder: Path, state: Path | None = None, world: World | None = None) -> None:
        self.world = world or World(folder)
        super().__init__(Settings(state or folder / "state", str(self.world.upstream.path), "main"))
        self.services = FakeServices(self.world.builder)  # type: ignore[assignment]

    def reach(self, fleet: Fleet) -> Reach:
        if self._reach is None:
            self._reach = FakeReach(fleet, self.world.engines)
        self._reach.fleet = fleet
        return self._reach

    def close(self) -> None:
        super().close()
        self.settings.remove_sockets()

    def registries(self, fleet: Fleet) -> Any:
        return self.world.registries


class World:
    """What is outside of the controller: a repository, hosts, a builder, a registry. It outlives controllers."""

    def __init__(self, folder: Path, files: dict[str, str] = FILES) -> None:
        self.upstream = Upstream(folder / "upstream")
        self.upstream.commit(dict(files), "first")
        self.engines = {host: FakeEngine(folder, host) for host in ("a", "b")}
        self.builder = FakeEngine(folder, "builder")
        self.registries = MemoryRegistries({"docker.io": REGISTRY})
        self.put_image(f"{REGISTRY}/library/busybox", "stable", "busybox")
        self.builder.push_to = self._pushed

    def put_image(self, location: str, tag: str, word: str) -> str:
        manifest, blobs = an_oci_image(word)
        for blob in blobs.values():
            self.registries.put(location, blob)
        return self.registries.put(location, manifest, tag)

    def _pushed(self, name: str, context: bytes) -> str:
        location, _, tag = name.rpartition(":")
        return self.put_image(location, tag, f"{tag} {len(context)}")

    def names(self, host: str) -> dict[str, str]:
        return {container.name: container.status for container in self.engines[host].containers.values()}

    def close(self) -> None:
        for engine in (*self.engines.values(), self.builder):
            engine.close()


def a_work(folder: Path) -> Iterator[FakeWork]:
    work = FakeWork(folder)
    yield work
    work.close()
    work.world.close()
