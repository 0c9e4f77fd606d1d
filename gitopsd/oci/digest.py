"""A digest: the name of content by its SHA-256.  [pure]

In: text or bytes.  Out: a `Digest`, which is a str that has been checked, so whoever takes a `Digest` need not look again.

Rule: no digest reaches a path or a URL unless it went through here (CVE-2024-3727). Only sha256 is spoken: other
algorithms of the OCI specification are refused by name.
"""

from __future__ import annotations

import hashlib
import re
from typing import Union

_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_ALGORITHM = re.compile(r"([a-z0-9]+(?:[+._-][a-z0-9]+)*):[A-Za-z0-9=_-]+")


class InvalidDigest(ValueError):  # noqa: N818
    """Text that is no digest, or one of an algorithm that is not spoken here."""


class Digest(str):
    """`sha256:` and 64 lower-case hexadecimal digits."""

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:  # noqa: PYI034  Self came after 3.9
        if not _SHA256.fullmatch(text):
            other = _ALGORITHM.fullmatch(text)
            if other and other.group(1) != "sha256":
                raise InvalidDigest(f"digest algorithm {other.group(1)} is not supported, only sha256 is")
            raise InvalidDigest(f"invalid digest {text[:100]!r}: expected sha256: and 64 lower-case hexadecimal digits")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, data: Union[bytes, bytearray, memoryview]) -> Digest:
        """The digest of these bytes."""
        return cls.from_hex(hashlib.sha256(data).hexdigest())

    @classmethod
    def from_hex(cls, digits: str) -> Digest:
        """The digest with these 64 digits."""
        return cls("sha256:" + digits)

    @property
    def hex(self) -> str:
        """The 64 digits, which are safe as a file name."""
        return self[7:]

    @property
    def short(self) -> str:
        """The first 12 digits, as Docker shows them."""
        return self[7:19]
