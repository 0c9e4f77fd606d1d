"""Capabilities of a container's process: Docker's fourteen, and what was added and dropped.

Inheritable and ambient are empty (CVE-2022-24769): a program gains only what its file or its user says.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from gitopsd.engine.kernel import process

DEFAULT = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
).split()


def bounded(add: Iterable[str], drop: Iterable[str]) -> list[str]:
    """Names with `CAP_`, in the order of their numbers; raises ValueError for an unknown name.  [pure]"""
    added, dropped = {_plain(name) for name in add}, {_plain(name) for name in drop}
    for name in (added | dropped) - {"ALL"} - set(process.CAPABILITIES):
        raise ValueError(f"unknown capability: CAP_{name}")
    kept: set[str] = set(process.CAPABILITIES) if "ALL" in added else set(DEFAULT)
    if "ALL" in dropped:
        kept = added - {"ALL"}
    else:
        kept = (kept | added) - dropped
    return [f"CAP_{name}" for name in process.CAPABILITIES if name in kept]


def apply(names: Iterable[str], uid: int, gid: int, groups: list[int], no_new_privileges: bool) -> None:
    """Become this user with these capabilities at most. What this process itself may not have is left out."""
    mine = process.permitted_capabilities()
    wanted = {process.CAPABILITIES.index(_plain(name)) for name in names} & mine
    process.drop_bounding(wanted)
    process.set_keep_capabilities(True)
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    process.set_keep_capabilities(False)
    process.clear_ambient()
    held = wanted if uid == 0 else set[int]()
    process.set_capabilities(held, held)
    if no_new_privileges:
        process.set_no_new_privileges()


def _plain(name: str) -> str:
    upper = name.upper()
    return upper.removeprefix("CAP_")
