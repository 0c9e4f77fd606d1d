"""A value nobody may print.  [pure]"""

from __future__ import annotations


class Redacted(str):
    """A string whose text shows only where it is used as a string on purpose: `reveal()`.

    `repr`, `str` and formatting give asterisks, so a log, an error or a plan cannot carry it by accident.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def reveal(self) -> str:
        return str.__str__(self)
