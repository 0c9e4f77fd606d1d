"""Platforms, and the choice of one manifest out of an index.  [pure]

In: `linux/arm64/v8`, `x86_64` as the kernel says it, an index.  Out: a `Platform` in Go's words, the descriptor that fits best.

A machine runs its own architecture in its own variant or an older one (arm v7 runs v6, amd64 v3 runs v1). Entries for `unknown`
are attestations and never chosen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

_ARCHITECTURES: dict[str, tuple[str, str]] = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv5l": ("arm", "v5"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
    "loongarch64": ("loong64", ""),
    "ppc64el": ("ppc64le", ""),
}
# The variant that is meant when none is said, which is left out of the normal form (containerd's platforms do the same).
_IMPLIED = {"arm64": "v8", "amd64": "v1"}
_ARM_WITHOUT_VARIANT = "v7"


class InvalidPlatform(ValueError):  # noqa: N818
    """Text that names no platform."""


class NoSuchPlatform(LookupError):  # noqa: N818
    """An index has nothing for the platform asked for."""


@dataclass(frozen=True)
class Platform:
    """Operating system, architecture and variant, normalised."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def normalise(os: str, architecture: str, variant: str = "") -> Platform:
    """One spelling for what are several: `linux`, `aarch64`, `v8` is `linux/arm64`."""
    os, architecture, variant = os.lower(), architecture.lower(), variant.lower()
    if os == "macos":
        os = "darwin"
    known, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant or implied
    if variant.isdigit():
        variant = "v" + variant
    if known == "arm" and not variant:
        variant = _ARM_WITHOUT_VARIANT
    if _IMPLIED.get(known) == variant:
        variant = ""
    return Platform(os, known, variant)


def parse_platform(text: str, default_os: str = "linux") -> Platform:
    """`os/architecture`, `os/architecture/variant` or an architecture alone."""
    parts = text.split("/")
    if not 1 <= len(parts) <= 3 or not all(
        part and part.replace("_", "").replace("-", "").replace(".", "").isalnum() for part in parts
    ):
        raise InvalidPlatform(f"invalid platform {text[:100]!r}: expected os/architecture or os/architecture/variant")
    if len(parts) == 1:
        return normalise(default_os, parts[0])
    return normalise(*parts)


def runs_on(image: Platform, machine: Platform) -> Optional[int]:
    """How well an image fits a machine: 0 best, more is worse, None not at all."""
    if (image.os, image.architecture) != (machine.os, machine.architecture):
        return None
    wanted, given = _level(machine), _level(image)
    if given is None or wanted is None:
        return 0 if image.variant == machine.variant else None
    return wanted - given if given <= wanted else None


def select(choices: Iterable[tuple[Optional[Platform], int]], machine: Platform) -> int:
    """The number beside the platform that fits `machine` best; the first of equals. What says no platform fits last."""
    ranked: list[tuple[int, int, int]] = []
    offered: list[str] = []
    for order, (platform, choice) in enumerate(choices):
        if platform is None:
            ranked.append((1000, order, choice))
            continue
        offered.append(str(platform))
        fit = runs_on(platform, machine)
        if fit is not None:
            ranked.append((fit, order, choice))
    if not ranked:
        raise NoSuchPlatform(f"no image for platform {machine}, there are: {', '.join(offered[:20]) or 'none'}")
    return min(ranked)[2]


def _level(platform: Platform) -> Optional[int]:
    text = platform.variant or _IMPLIED.get(platform.architecture, "")
    digits = text[1:].split(".")[0]
    return int(digits) if text.startswith("v") and digits.isdigit() and len(digits) < 4 else None
