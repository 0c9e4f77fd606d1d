"""Packages of others, unmodified, that the engine carries: versions and licences in README.md beside this file.

They import themselves by their own names, so this folder goes first on the path; `from gitopsd.engine import _vendor` before them.
"""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = str(Path(__file__).parent)
if _HERE not in sys.path:
    sys.path.insert(0, _HERE)
