"""The one error of the builder, in a module of its own because every job of a worker needs it and nothing else of needs.py."""

from __future__ import annotations

from typing import Optional


class BuildError(Exception):
    """Why a build cannot go on, in words for the one who asked for it. `status` is HTTP's, for an answer that has not begun."""

    def __init__(self, message: str, status: int = 400, code: Optional[int] = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        """The exit code of the command that failed, where one did."""
