"""The hosts of a fleet, as this process reaches them.

In: the fleet file, the store's host numbers.  Out: a client for each host, made once; the engine brought to those that have none.

Rule 1: a host has its number for the life of the fleet. It is taken from the store, else from the host itself, and only a host that
neither knows gets a new one.
Rule 2: what goes wrong with one host is that host's error, and the others go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gitopsd.hosts.addresses import lowest_free
from gitopsd.hosts.bootstrap import Identity, Place, bootstrap
from gitopsd.hosts.engineapi import EngineApi
from gitopsd.hosts.facts import read_facts
from gitopsd.hosts.link import Link
from gitopsd.hosts.links import Links
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.fleet import Fleet, Host
from gitopsd.model.observed import Observed
from gitopsd.store import Store

_ARCHITECTURES = {"x86_64": "linux/amd64", "aarch64": "linux/arm64", "armv7l": "linux/arm/v7", "riscv64": "linux/riscv64"}
_AT_ONCE = 16
_SILENCE_S = (5.0, 15.0, 30.0, 60.0)


@dataclass(frozen=True)
class Brought:
    """What bootstrap did on a host, or why it could not."""

    host: str
    done: tuple[str, ...] = ()
    error: GitopsdError | None = None


@dataclass(frozen=True)
class _Silence:
    until_s: float
    times: int
    code: str
    message: str


class Reach:
    def __init__(self, fleet: Fleet, key: Path | None, place: Place | None = None) -> None:
        self.fleet = fleet
        self.place = place or Place()
        self._links = Links(fleet, key)
        self._lock = threading.Lock()
        self._engines: dict[str, EngineApi] = {}
        self._silent: dict[str, _Silence] = {}
        self.brought: set[str] = set()
        """Hosts that run this engine, as far as this process has seen to it."""

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Those that are asked and changed: all but the ones in maintenance."""
        return tuple(host for host in self.fleet.hosts if not host.maintenance)

    def link(self, host: str) -> Link:
        return self._links.link(host)

    def engine(self, host: str) -> EngineApi:
        """The client of a host, connected when it is first used."""
        link = self._links.link(host)
        with self._lock:
            if host not in self._engines:
                self._engines[host] = EngineApi(link, self.place.socket)
            return self._engines[host]

    def sources(self) -> Mapping[str, Callable[[], EngineApi]]:
        """For `observe`. A host that was silent a moment ago is not asked again at once, so that the others need not wait for it."""
        return {host.name: (lambda name=host.name: self._unless_silent(name)) for host in self.hosts}

    def _unless_silent(self, host: str) -> EngineApi:
        silence = self._silent.get(host)
        if silence is not None and time.monotonic() < silence.until_s:
            raise GitopsdError(silence.code, silence.message, Where(host=host), next="retry")
        return self.engine(host)

    def note_silence(self, observed: Observed) -> None:
        """Remember who could not be reached."""
        for host in observed.hosts:
            if host.error is None or not host.error.startswith("host-"):
                self._silent.pop(host.host, None)
                continue
            before = self._silent.get(host.host)
            if before is None or time.monotonic() >= before.until_s:
                times = before.times + 1 if before else 1
                code, _, message = host.error.partition(": ")
                pause = _SILENCE_S[min(times, len(_SILENCE_S)) - 1]
                self._silent[host.host] = _Silence(time.monotonic() + pause, times, code, message)

    def forget_silence(self) -> None:
        self._silent.clear()

    def platform(self, observed: Observed) -> str:
        """The hosts' platform; they are of one kind so far, and the first that answers tells which."""
        for host in observed.hosts:
            if host.facts.architecture:
                return _ARCHITECTURES.get(host.facts.architecture, f"linux/{host.facts.architecture}")
        for host in self.hosts:
            try:
                architecture = read_facts(self.link(host.name)).architecture
            except GitopsdError:
                continue
            return _ARCHITECTURES.get(architecture, f"linux/{architecture}")
        return "linux/amd64"

    def bring(self, observed: Observed, store: Store, wanted: Collection[str]) -> tuple[Brought, ...]:
        """Have this engine running on the `wanted` hosts, each as the host of the fleet that it is."""
        numbers = self._numbers(observed, store)
        chosen = [host.name for host in self.hosts if host.name in wanted]
        with ThreadPoolExecutor(_AT_ONCE, "bring") as pool:
            jobs = [pool.submit(self._bring, name, numbers.get(name)) for name in chosen]
            found = tuple(job.result() for job in jobs)
        for brought in found:
            if brought.error is None:
                store.set_host_number(brought.host, numbers[brought.host])
                self.brought.add(brought.host)
        return found

    def _numbers(self, observed: Observed, store: Store) -> dict[str, int]:
        numbers = dict(store.host_numbers())
        for host in observed.hosts:
            ours = host.facts.fleet == self.fleet.name
            if ours and host.facts.number is not None and host.facts.number not in numbers.values():
                numbers.setdefault(host.host, host.facts.number)
        silent = {host.host for host in observed.hosts if host.error is not None and host.host not in numbers}
        for host in self.hosts:
            if host.name in numbers or host.name in silent:
                continue
            # a silent host may have a low number that nobody here remembers
            numbers[host.name] = max(numbers.values(), default=-1) + 1 if silent and numbers else lowest_free(numbers.values())
        return numbers

    def _bring(self, name: str, number: int | None) -> Brought:
        try:
            if number is None:
                raise GitopsdError("host-unknown", "it has not answered, so it has no number yet", Where(host=name), next="retry")
            link = self.link(name)
            arrived = bootstrap(link, Identity(self.fleet.name, name, number, self.fleet.pool), self.place)
        except GitopsdError as error:
            return Brought(name, error=error)
        return Brought(name, arrived.done)

    def close(self) -> None:
        with self._lock:
            for engine in self._engines.values():
                engine.close()
            self._engines.clear()
        self._links.close()
