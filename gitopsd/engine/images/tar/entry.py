"""What a member of an archive is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

FILE, LINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO = "file", "link", "symlink", "character", "block", "directory", "fifo"
BLOCK_BYTES = 512


@dataclass
class Entry:
    """One member. `size` is what a file has when unpacked; `sparse` its regions with data, as (offset, length)."""

    name: str
    kind: str
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    target: str = ""
    major: int = 0
    minor: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    sparse: Optional[list[tuple[int, int]]] = None
