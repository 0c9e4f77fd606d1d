"""The key that a step's result is kept under.  [pure]

In: what the step starts from and everything that can change its result.  Out: 64 hexadecimal digits.

Rule 1: the key is made of content alone: the chain id of the layers below, the resolved instruction, the digest of the files
that go in. Names, times and histories of images have no part in it, so that no image somebody pulled can stand in for a step
(CVE-2024-24557).
Rule 2: an argument counts from where it is used: every RUN after its ARG sees it, a COPY only if it names it.
Rule 3: the image's config (HEALTHCHECK, LABEL, CMD and the like) is made anew in every build and comes from no cache, so it needs no key.
Rule 4: SOURCE_DATE_EPOCH is not in the key: with it each commit would build everything again. Where a step can see it, it is an
argument, and counts as one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import chain_ids

VERSION = 1
"""Of the builder's semantics: raised when the same step would give something else than before."""


def chain_of(diff_ids: Sequence[str]) -> str:
    """The name of layers one above the other; empty for none."""
    return chain_ids([Digest(diff_id) for diff_id in diff_ids])[-1] if diff_ids else ""


def key_of(kind: str, below: str, platform: str, **inputs: Any) -> str:
    """The key of a step of this kind on the layers `below`."""
    form = {"version": VERSION, "kind": kind, "below": below, "platform": platform, "inputs": inputs}
    text = json.dumps(form, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
