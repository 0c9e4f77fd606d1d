"""What people call images, and which image they mean.

In: names, ids, digests, platforms as the API's callers give them.  Out: the image, or an ApiError in Docker's words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.images.refs import Record, References
from gitopsd.oci.digest import Digest, InvalidDigest
from gitopsd.oci.platform import InvalidPlatform, Platform, parse_platform
from gitopsd.oci.reference import InvalidReference, Reference, check_tag, parse_reference

_HEX = re.compile(r"[0-9a-f]{1,64}")


def find(references: References, name: str) -> Optional[Digest]:
    """By reference, `name@digest`, id or manifest digest, or the beginning of an id; None where there is none."""
    named = references.names()
    records = references.records()
    if name.startswith("sha256:") and _HEX.fullmatch(name[7:]):
        return _by_id(records, name[7:])
    try:
        reference = parse_reference(name)
    except (InvalidReference, InvalidDigest):
        return _by_id(records, name) if _HEX.fullmatch(name) else None
    if reference.digest is not None:
        found = named.get(str(reference.at(reference.digest))) or named.get(str(reference))
        return found or next((record.digest for record in records if record.digest == reference.digest), None)
    found = named.get(str(reference))
    if found is None and _HEX.fullmatch(name):
        found = _by_id(records, name)
    return found


def name_of(references: References, name: str, digest: Digest) -> Optional[str]:
    """The reference that `name` is, if it is one of this image's and not its id."""
    try:
        parsed = parse_reference(name)
    except (InvalidReference, InvalidDigest):
        return None
    for text in (str(parsed), str(parsed.at(parsed.digest)) if parsed.digest else ""):
        if references.names().get(text) == digest:
            return text
    return None


def reference(name: str, tag: str) -> Reference:
    """From the two parameters of Docker's calls; `tag` may be a digest."""
    try:
        if tag:
            reference = parse_reference(name, default_tag=None)
            return reference.at(Digest(tag)) if ":" in tag else reference.tagged(check_tag(tag))
        return parse_reference(name)
    except (InvalidReference, InvalidDigest) as error:
        raise ApiError(400, str(error)) from None


def platform(text: str) -> Optional[Platform]:
    try:
        return parse_platform(text) if text else None
    except InvalidPlatform as error:
        raise ApiError(400, str(error)) from None


def digest(text: str) -> Digest:
    try:
        return Digest(text)
    except InvalidDigest as error:
        raise ApiError(400, str(error)) from None


def familiar(text: str) -> str:
    return parse_reference(text).familiar


def no_such_image(name: str) -> ApiError:
    """Docker's words, with the name whole."""
    with suppress(InvalidReference, InvalidDigest):
        name = parse_reference(name).familiar
    return ApiError(404, f"No such image: {name}")


def _by_id(records: Sequence[Record], prefix: str) -> Optional[Digest]:
    """By id or manifest digest, whole or its beginning; ApiError when two ids begin so."""
    exact = [record for record in records if prefix in (record.config.hex, record.digest.hex)]
    found = exact or [record for record in records if record.config.hex.startswith(prefix)]
    if len({record.config for record in found}) > 1:
        raise ApiError(400, f"multiple IDs found with provided prefix: {prefix}")
    return found[0].digest if found else None
