"""`gitopsd-engine`: the daemon and its helpers, and the client, chosen by the first word."""

from __future__ import annotations

import importlib
import sys
from typing import Optional

_ROLES = {
    "daemon": "gitopsd.engine.wiring:daemon",
    "supervise": "gitopsd.engine.daemon.supervise:main",
    "registry": "gitopsd.engine.wiring:registry",
    "uninstall": "gitopsd.engine.wiring:uninstall",
}
_CLIENT = "gitopsd.engine.client.main:main"


def main(arguments: Optional[list[str]] = None) -> int:
    """Run a role or a client's command; the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    is_role = bool(words) and words[0] in _ROLES
    module, _, function = (_ROLES[words[0]] if is_role else _CLIENT).partition(":")
    return getattr(importlib.import_module(module), function)(words[1:] if is_role else words)


if __name__ == "__main__":
    sys.exit(main())
