"""Who manages a stack on this host: a lease lasts as long as its connection, and its token is never given twice.

The counter is durable before a token is given out, so that a controller that was cut off long ago is known by its old token.
"""

from __future__ import annotations

import os
import threading

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json
from gitopsd.engine.events.changes import Changes
from gitopsd.engine.paths.records import Unreadable, read_record, write_durably


class Leases:
    def __init__(self, data_root: str, changes: Changes) -> None:
        self._path = os.path.join(data_root, "fencing")
        self._changes = changes
        self._held: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()
        last: object = read_record(self._path) or 0
        if not isinstance(last, int):
            raise Unreadable(f"{self._path}: expected the last token, a number")
        self._last = last

    def take(self, stack: str, holder: str) -> int:
        """A fresh token; ApiError 409 `lease-held` while another holds the stack."""
        with self._lock:  # it is called from threads, since it writes
            if stack in self._held:
                other, token = self._held[stack]
                raise ApiError(409, f"stack {stack} is managed by {other}", "lease-held", holder=other, token=token)
            write_durably(self._path, str(self._last + 1).encode())
            self._last += 1
            self._held[stack] = (holder, self._last)
            self._changes.bump()
            return self._last

    def release(self, stack: str, token: int) -> None:
        if self._held.get(stack, ("", 0))[1] == token:
            del self._held[stack]
            self._changes.bump()

    def check(self, text: str) -> None:
        """`stack=token`; ApiError 412 `lease-lost` unless it is held with that token."""
        stack, _, token = text.rpartition("=")
        if stack not in self._held or str(self._held[stack][1]) != token:
            raise ApiError(412, f"the lease {text} is not held", "lease-lost")

    def all(self) -> list[Json]:
        return [{"stack": stack, "holder": holder, "token": token} for stack, (holder, token) in sorted(self._held.items())]
