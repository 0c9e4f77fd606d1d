"""Which extended attributes COPY copies: those that travel in layers. Imports nothing, for the jobs of workers."""

from __future__ import annotations

COPIED = ("user.", "security.capability", "system.posix_acl_access", "system.posix_acl_default")
OVERLAY_S_OWN = "user.overlay."


def is_copied(name: str) -> bool:
    return name.startswith(COPIED) and not name.startswith(OVERLAY_S_OWN)
