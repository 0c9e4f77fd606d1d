"""The second program: a container engine behind the Docker Engine API, on Python 3.9 and newer with nothing to install.

Packages of others lie unmodified in _vendor/ and import themselves by their own names, so that folder goes first on the path.
"""

from __future__ import annotations

import os
import sys

_VENDOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_vendor")
if _VENDOR not in sys.path:
    sys.path.insert(0, _VENDOR)

if sys.implementation.name == "pypy":
    from gitopsd.engine.kernel import gaps

    gaps.fill()
