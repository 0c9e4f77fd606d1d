"""What is left of a thing that was removed: files that containers wrote, below a name that nobody uses any more.

Not in root.py: that is memory of every monitor, and a log is not to be.
"""

from __future__ import annotations

import logging

from gitopsd.engine.paths.root import remove_at

_log = logging.getLogger(__name__)


def remove_leftover(path: str) -> None:
    """Remove it, whatever is in it. No removal and no start of the daemon fails for what cannot go: the next start tries again."""
    try:
        remove_at(path)
    except Exception:  # noqa: BLE001  see above
        _log.exception("what is left of a removed thing stays: %s", path)
