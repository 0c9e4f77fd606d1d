"""Bring the engine to a host, and take it away again.

In: a link, and which host of which fleet it is.  Out: `Arrived`, which says what had to be done; doing it again does nothing.

Rule 1: what a host lacks is found out before anything is written to it (`facts.py`).
Rule 2: the engine is put only where its digest is not there yet, and the daemon restarted only where it runs from another one: containers
stay as they are, since their monitors outlive it.
Rule 3: the host's number and addresses are set by the engine's own call, which refuses to change those of a host in use.
"""

from __future__ import annotations

import json
import time
import zlib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from gitopsd.hosts import facts as facts_
from gitopsd.hosts import unit
from gitopsd.hosts.addresses import block_of, spans_of
from gitopsd.hosts.engineapi import EngineApi
from gitopsd.hosts.facts import Facts
from gitopsd.hosts.link import PYTHON, Link
from gitopsd.hosts.package import Package, package
from gitopsd.model.errors import GitopsdError, Where

DATA_ROOT = "/var/lib/gitopsd-engine"
EXEC_ROOT = "/run/gitopsd-engine"
LOG = "/var/log/gitopsd-engine.log"


@dataclass(frozen=True)
class Place:
    """Where on a machine an engine lives. Several may, as long as they share none of these."""

    data_root: str = DATA_ROOT
    exec_root: str = EXEC_ROOT
    unit_path: str = unit.PATH
    log_path: str = LOG
    options: tuple[str, ...] = ()
    """More options of `gitopsd-engine daemon`."""

    @property
    def socket(self) -> str:
        return f"{self.exec_root}/engine.sock"


@dataclass(frozen=True)
class Identity:
    """Which host of which fleet this is."""

    fleet: str
    host: str
    number: int
    pool: str


@dataclass(frozen=True)
class Arrived:
    facts: Facts
    digest: str
    done: tuple[str, ...]
    """What had to be done, for people; empty when all was as it should be."""


@dataclass(frozen=True)
class Installed:
    """What of the engine is on a host."""

    packages: tuple[str, ...]
    pid: int
    digest: str
    """Of the zipapp that runs; empty when none does."""


def bootstrap(
    link: Link, identity: Identity | None = None, place: Place = Place(), engine: Package | None = None, wait_s: float = 60
) -> Arrived:
    """Have the engine running on the host, as this host of the fleet."""
    engine = engine or package()
    facts = facts_.read_facts(link)
    facts_.check(facts, link.name)
    done: list[str] = []
    if engine.digest not in read_installed(link, place).packages:
        _install(link, "put", {**_settings(place), "digest": engine.digest}, zlib.compress(engine.data))
        done.append(f"put engine {engine.digest[:12]}")
    settings = _start_settings(place, engine.digest, facts)
    started = _install(link, "start", settings)["done"]
    if started:
        done.append(started)
    api = EngineApi(link, place.socket)
    try:
        _wait_for(api, link, place, wait_s)
        if identity is not None:
            _identify(api, identity, done)
    finally:
        api.close()
    return Arrived(facts, engine.digest, tuple(done))


def read_installed(link: Link, place: Place = Place()) -> Installed:
    said = _install(link, "status", _settings(place))
    words: list[str] = said["command"]
    archive = next((word for word in words if word.endswith(".pyz")), "")
    return Installed(tuple(said["packages"]), said["pid"], archive.rpartition("/")[2].removesuffix(".pyz"))


def stop(link: Link, place: Place = Place()) -> None:
    """Stop the daemon. Containers go on."""
    _install(link, "stop", _settings(place))


def remove(link: Link, place: Place = Place(), delete_volumes: bool = False) -> None:
    """Take the engine and all that it made off the host. Volumes are somebody's data: they go only when told to."""
    said = _install(link, "remove", {**_settings(place), "volumes": delete_volumes})
    if said["volumes"]:
        message = f"its engine has volumes: {', '.join(said['volumes'])}"
        raise GitopsdError("host-has-volumes", message, Where(host=link.name), "say --delete-volumes if their data may go too")


def _identify(api: EngineApi, identity: Identity, done: list[str]) -> None:
    state = api.state()
    assert state is not None  # it was asked for without an ETag
    block, spans = block_of(identity.pool, identity.number), spans_of(identity.pool)
    wanted: dict[str, Any] = {
        "fleet": identity.fleet,
        "host": identity.host,
        "number": identity.number,
        "block": block,
        "spans": spans,
    }
    if {name: state.value["host"].get(name) for name in wanted} != wanted:
        api.put_host(**wanted)
        done.append(f"is host {identity.number} of {identity.fleet}, with {block}")


def _wait_for(api: EngineApi, link: Link, place: Place, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            api.ping()
        except GitopsdError as error:
            if time.monotonic() > deadline:
                lines: list[str] = _install(link, "log", _settings(place))["lines"]
                message = f"the engine does not answer after {wait_s:g} s: {error.message}"
                hint = "its last words: " + (" | ".join(lines[-3:]) or "none")
                raise GitopsdError("engine-not-up", message, Where(host=link.name), hint, "retry") from error
            time.sleep(0.05)
        else:
            return


def _settings(place: Place) -> dict[str, Any]:
    return {"data_root": place.data_root, "exec_root": place.exec_root, "unit_path": place.unit_path, "log_path": place.log_path}


def _start_settings(place: Place, digest: str, facts: Facts) -> dict[str, Any]:
    archive = f"{place.data_root}/engine/{digest}.pyz"
    daemon = ["daemon", "--data-root", place.data_root, "--exec-root", place.exec_root, "--host", f"unix://{place.socket}"]
    daemon += ["--socket-user", str(facts.uid), *place.options]
    python = [facts.executable, "-I", "-S", archive]
    return {
        **_settings(place),
        "digest": digest,
        "unit": unit.render_unit([*python, *daemon]),
        "command": [*python, "supervise", "--", *daemon],
    }


def _install(link: Link, verb: str, settings: dict[str, Any], stdin: bytes = b"") -> dict[str, Any]:
    program = resources.files("gitopsd.hosts").joinpath("install.py").read_text()
    done = link.run([*PYTHON, "-c", program, verb, json.dumps(settings)], stdin, as_root=True, timeout_s=300)
    if done.exit:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.exit}"]
        raise GitopsdError("host-install", f"{verb}: {lines[-1]}", Where(host=link.name))
    return json.loads(done.stdout)
