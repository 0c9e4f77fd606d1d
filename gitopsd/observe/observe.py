"""Ask every host what it has.

In: a client for each host, and what was seen last.  Out: `Observed`, in which a host that did not answer is Unknown, with the reason.

All hosts are asked at once, each within its own time. A host whose state has not changed answers with its ETag alone, and
what was seen last is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

from gitopsd.model.errors import GitopsdError
from gitopsd.model.observed import HostObserved, Observed
from gitopsd.observe.read import read_host


class State(Protocol):
    @property
    def etag(self) -> str: ...
    @property
    def value(self) -> dict[str, Any]: ...


class StateSource(Protocol):
    """A host's engine, as far as it is asked here."""

    def state(self, etag: str | None = None) -> State | None:
        """The state, or None when it is still the one with this ETag."""
        ...


def observe(
    sources: Mapping[str, Callable[[], StateSource]],
    fleet: str,
    last: Mapping[str, HostObserved] | None = None,
    new: Collection[str] = (),
    deadline_s: float = 20.0,
    workers: int = 32,
) -> Observed:
    """`sources`: host to what gives its client, which may raise too. Hosts keep the order of `sources`.

    `new` are hosts that never had an engine: one that is reached and has none has nothing, and that is known.
    """
    last = last or {}
    pool = ThreadPoolExecutor(max_workers=max(1, min(workers, len(sources))), thread_name_prefix="observe")
    try:
        asked = {host: pool.submit(_ask, host, source, fleet, last.get(host)) for host, source in sources.items()}
        wait(asked.values(), timeout=deadline_s)
        return Observed(tuple(_answer(host, future, last.get(host), host in new, deadline_s) for host, future in asked.items()))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _ask(host: str, source: Callable[[], StateSource], fleet: str, last: HostObserved | None) -> HostObserved:
    known = last.etag if last is not None and last.error is None and last.etag else None
    state = source().state(known)
    if state is None:
        assert last is not None
        return last
    return read_host(host, fleet, state.etag, state.value)


def _answer(host: str, future: Future[HostObserved], last: HostObserved | None, is_new: bool, deadline_s: float) -> HostObserved:
    if not future.done():
        return _unknown(host, last, f"no answer within {deadline_s:g} s")
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, GitopsdError):
        if is_new and error.code == "engine-unreachable":
            return HostObserved(host)
        return _unknown(host, last, error.brief)
    if isinstance(error, OSError):
        return _unknown(host, last, str(error) or type(error).__name__)
    raise error


def _unknown(host: str, last: HostObserved | None, why: str) -> HostObserved:
    seen = last or HostObserved(host)
    return HostObserved(
        host,
        error=why,
        facts=seen.facts,
        containers=seen.containers,
        networks=seen.networks,
        volumes=seen.volumes,
        images=seen.images,
        intent_etag=seen.intent_etag,
        intent=seen.intent,
    )
