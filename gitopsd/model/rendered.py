"""What a revision says, read and checked.  [pure]"""

from __future__ import annotations

from dataclasses import dataclass

from gitopsd.model.fleet import Fleet
from gitopsd.model.stack import BlockedStack, Stack


@dataclass(frozen=True)
class Rendered:
    """The fleet file's content, and each stack it lists either as a Stack or as a BlockedStack."""

    fleet: Fleet
    stacks: tuple[Stack, ...] = ()
    blocked: tuple[BlockedStack, ...] = ()
