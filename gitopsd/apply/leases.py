"""The leases of one apply: a stack on a host is managed by one controller at a time.

A lease is an open connection to the engine, so it ends with this process, however that ends; the engine notices a moment later, for which
the next one waits. One that an engine lost when it was started again is taken anew.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from gitopsd.hosts.engineapi import EngineApi, Held
from gitopsd.hosts.enginehttp import EngineError

_LET_GO_S = 2.0


class Leases:
    def __init__(self, holder: str) -> None:
        self._holder = holder
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._held: dict[tuple[str, str], tuple[Held, Callable[[], None]]] = {}

    def get(self, engine: EngineApi, host: str, stack: str) -> Held:
        """The lease, taken when it is asked for first; `lease-held` if another controller has it."""
        key = (host, stack)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            known = self._held.get(key)
            if known is not None and known[0].is_held:
                return known[0]
            if known is not None:
                known[1]()
            exits = contextlib.ExitStack()
            held = self._take(exits, engine, stack)
            self._held[key] = (held, exits.close)
            return held

    def _take(self, exits: contextlib.ExitStack, engine: EngineApi, stack: str) -> Held:
        deadline = time.monotonic() + _LET_GO_S
        while True:
            try:
                return exits.enter_context(engine.lease(stack, self._holder))
            except EngineError as error:
                if error.code != "lease-held" or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def close(self) -> None:
        for _, end in self._held.values():
            end()
        self._held.clear()
