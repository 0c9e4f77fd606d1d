"""A tag for the state of the whole engine: another one whenever anything has changed, and after each start of the daemon."""

from __future__ import annotations

import itertools
import secrets


class Changes:
    """Counts changes. `bump` may be called from any thread."""

    def __init__(self) -> None:
        self._start = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self._count = 0

    def bump(self) -> None:
        """Call it when the change can be seen: a tag that was read before must not be that of an answer that was made after."""
        self._count = next(self._numbers)

    @property
    def etag(self) -> str:
        return f'"{self._start}-{self._count}"'
