"""The one collector: removes the blobs that no root names.

In: the store, its owners.  Out: what was removed.

Rule 1: all owners are asked before anything goes; if one fails, nothing is removed.
Rule 2: a blob younger than the grace, or held, stays: it may be on its way into a record (docs/engine-api.md promises an hour).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gitopsd.engine.content.blobs import Blobs
from gitopsd.engine.content.roots import Roots
from gitopsd.oci.digest import Digest

GRACE_S = 3600.0
PARTIAL_GRACE_S = 24 * 3600.0


@dataclass(frozen=True)
class Collected:
    """What a collection removed."""

    removed: tuple[Digest, ...]
    freed_bytes: int


def collect(
    blobs: Blobs, owners: Iterable[Roots], grace_s: float = GRACE_S, partial_grace_s: float = PARTIAL_GRACE_S
) -> Collected:
    """Remove every blob that no owner names, nobody holds, and nobody relied on for `grace_s`."""
    present = set(blobs)
    for owner in owners:
        present.difference_update(owner.roots())
    removed: list[Digest] = []
    freed = blobs.remove_partials(partial_grace_s)
    for digest in sorted(present):
        size = blobs.remove(digest, grace_s)
        if size or not blobs.has(digest):
            removed.append(digest)
            freed += size
    return Collected(tuple(removed), freed)
