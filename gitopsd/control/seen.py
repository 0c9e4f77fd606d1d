"""What was seen of each host last, kept in the store: its ETag saves asking for the rest, and an Unknown host keeps its last face."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from gitopsd.model.codec import from_json, to_json
from gitopsd.model.observed import HostObserved, Observed
from gitopsd.store import Store

_SHAPES = ("model/observed.py", "model/desired.py", "model/stack.py", "hosts/bodies.py", "observe/read.py")


@cache
def _form() -> str:
    """Changes whenever a state would be read differently: then what was kept is no longer what an ETag stands for."""
    top = resources.files("gitopsd")
    return hashlib.sha256(b"".join(top.joinpath(path).read_bytes() for path in _SHAPES)).hexdigest()[:16]


class Seen:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.last: dict[str, HostObserved] = {
            host: from_json(HostObserved, state)
            for host, (etag, state) in store.states().items()
            if etag.startswith(f"{_form()} ")
        }

    def remember(self, observed: Observed) -> None:
        for host in observed.hosts:
            if host.error is None and host.etag and host is not self.last.get(host.host):
                self.last[host.host] = host
                self._store.keep_state(host.host, f"{_form()} {host.etag}", to_json(host))
