"""The image key, version 1 (docs/formats.md).  [pure]

In: everything that goes into an image.  Out: `key-` and 32 digits. It is the image's tag for ever, so what is unchanged is never
built twice, on any machine, and a revert finds its image in the registry.
"""

from __future__ import annotations

from gitopsd.model.codec import digest_of
from gitopsd.model.fleet import Pairs

_VERSION = 1
BUILDER = 1
"""The builder's semantics. Raised when the same inputs are to give another image, and then everything is built again."""
_DIGITS = 32


def image_key(*, tree: str, dockerfile: str, args: Pairs, platform: str, bases: Pairs, target: str = "", salt: str = "") -> str:
    """`tree` and `dockerfile` are Git's ids; the arguments are pairs, so that an empty one is not one that was left out."""
    document = {
        "version": _VERSION,
        "builder": BUILDER,
        "tree": tree,
        "dockerfile": dockerfile,
        "args": sorted(args),
        "target": target,
        "platform": platform,
        "bases": dict(bases),
        "salt": salt,
    }
    return f"key-{digest_of(document, _DIGITS)}"
