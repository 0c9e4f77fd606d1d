"""Words for people that several rooms need.  [pure]"""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def unknown_word(why: str) -> str:
    """What a host is that could not be looked at: one whose key is wrong is stopped on purpose."""
    return "stopped" if why.startswith("host-key-") else "unknown"
