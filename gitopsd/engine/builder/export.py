"""The config document of a built image.  [pure]

In: the base's document, what the stage means, which steps made a layer.  Out: the bytes that the image's id is the digest of: the
same for the same build, if SOURCE_DATE_EPOCH is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from gitopsd.oci.manifest import render
from gitopsd.oci.platform import Platform


@dataclass(frozen=True)
class Done:
    """A step that is part of the image's history."""

    created_by: str
    made_layer: bool


def image_config(
    platform: Platform,
    config: Mapping[str, Any],
    diff_ids: Sequence[str],
    base_history: Sequence[Mapping[str, Any]],
    base_layers: int,
    done: Sequence[Done],
    created_s: int,
) -> bytes:
    """The image config document of the OCI image spec."""
    created = datetime.fromtimestamp(created_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    history: list[Mapping[str, Any]] = list(base_history)
    unsaid = base_layers - sum(1 for entry in history if not entry.get("empty_layer"))
    history = [{"comment": "a layer of the base, which has no history"}] * max(unsaid, 0) + history
    for step in done:
        entry: dict[str, Any] = {"created": created, "created_by": step.created_by}
        history.append(entry if step.made_layer else {**entry, "empty_layer": True})
    document: dict[str, Any] = {
        "architecture": platform.architecture,
        "os": platform.os,
        "created": created,
        "config": {name: value for name, value in config.items() if value not in (None, "", [], {})},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": history,
    }
    if platform.variant:
        document["variant"] = platform.variant
    return render(document)
