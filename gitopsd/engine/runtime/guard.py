"""Nothing more is imported once a process may see a container's files.

After chroot, pivot_root or setns the import path leads into the container, and a late look-up (a codec, an error message, a
lazy import) would run its code as root of the host (CVE-2019-14271 is the same fault in another language).
"""

from __future__ import annotations

import codecs
import sys

for _name in ("utf-8", "ascii", "latin-1"):
    codecs.lookup(_name)
"".encode("utf-8", "surrogateescape")


def close_imports() -> None:
    """From here on every import of a module that is not loaded fails."""
    sys.path[:] = []
    sys.meta_path[:] = []
    sys.path_hooks[:] = []
    sys.path_importer_cache.clear()
