"""The protocol of those who need blobs: images, the registry's repositories, the build cache."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from gitopsd.oci.digest import Digest


class Roots(Protocol):
    """Somebody who names blobs."""

    def roots(self) -> Iterable[Digest]:
        """Every blob this owner needs, those that are named by others of its blobs included.

        It MUST name what it has recorded durably. It MUST raise rather than leave out what it cannot read: the
        collector then removes nothing. What it is about to record it MUST hold with a lease until it has.
        """
        ...
