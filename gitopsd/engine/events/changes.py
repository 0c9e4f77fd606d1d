"""A tag for the state of the whole engine: another one whenever anything has changed, and after each start of the daemon."""

from __future__ import annotations

import secrets


class Changes:
    """Counts changes. `bump` may be called from any thread."""

    def __init__(self) -> None:
        self._start = secrets.token_hex(6)
        self._count = 0

    def bump(self) -> None:
        self._count += 1

    @property
    def etag(self) -> str:
        return f'"{self._start}-{self._count}"'
