"""3. pin: names to exact values.

`pin(revision, rendered, registries, platform, known=None) -> Pins` is the verb.
"""

from __future__ import annotations

from gitopsd.pin.pin import pin

__all__ = ["pin"]
