"""The one error of the controller.  [pure]

Rule: the innermost place that knows the wrong value raises it; outer places add `where` with `at()`, and nobody logs what
is raised. `code` is kebab-case, stable and documented in docs/errors.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Next = Literal["retry", "wait", "stall"]


@dataclass(frozen=True)
class Where:
    """The place an error or a value belongs to; what is not known is None."""

    file: str | None = None
    line: int | None = None
    key: str | None = None
    host: str | None = None
    object: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        named = [f"host {self.host}" if self.host else None, place, self.object, self.key]
        return "  ".join(part for part in named if part)

    def within(self, outer: Where) -> Where:
        """This place, with what it does not say taken from `outer`."""
        return Where(
            self.file or outer.file,
            self.line or (outer.line if self.file in (None, outer.file) else None),
            self.key or outer.key,
            self.host or outer.host,
            self.object or outer.object,
        )


class GitopsdError(Exception):
    """What went wrong, where, what a person can do, and what the loop does next.

    `next`: `retry` at the next pass, `wait` for `wait_s` seconds, or `stall` until what it depends on changes.
    """

    def __init__(
        self,
        code: str,
        message: str,
        where: Where | None = None,
        hint: str | None = None,
        next: Next = "stall",  # noqa: A002  the field's name in style.md
        wait_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where or Where()
        self.hint = hint
        self.next: Next = next
        self.wait_s = wait_s

    def at(self, outer: Where) -> GitopsdError:
        """The same error, placed more exactly."""
        self.where = self.where.within(outer)
        return self

    @property
    def brief(self) -> str:
        """Code, sentence and hint, where the place is said already."""
        return f"{self.code}: {self.message}" + (f"\nhint: {self.hint}" if self.hint else "")

    def __str__(self) -> str:
        lines = [f"error: {self.code}", f"  {self.where}: {self.message}" if str(self.where) else f"  {self.message}"]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class Errors(Exception):  # noqa: N818  it is a collection, raised once
    """All errors of one piece of work, so that a person sees them together."""

    def __init__(self, errors: list[GitopsdError]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)
