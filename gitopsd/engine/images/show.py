"""Images as Docker's API shows them.  [pure]

In: records, manifests, configs and names.  Out: the JSON of list, inspect and history.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Callable, cast

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.images.refs import Record
from gitopsd.oci.manifest import ImageConfig, Manifest
from gitopsd.oci.reference import parse_reference

Json = dict[str, Any]
NO_TIME_S = -62135596800
"""Go's time that is none."""
_FILTERS = ("dangling", "label", "reference", "before", "since", "until")


@dataclass(frozen=True)
class Described:
    """An image with its names, all of those that share its id."""

    record: Record
    manifest: Manifest
    config: ImageConfig
    names: Sequence[str]

    @property
    def tags(self) -> list[str]:
        return [parse_reference(name).familiar for name in self.names if "@" not in name]

    @property
    def digests(self) -> list[str]:
        return [parse_reference(name).familiar for name in self.names if "@" in name]

    @property
    def created(self) -> str:
        return str(self.config.document.get("created") or "0001-01-01T00:00:00Z")

    @property
    def created_s(self) -> int:
        return seconds_of(self.created)

    @property
    def labels(self) -> Mapping[str, str]:
        """Also of an image that came in before its config was read strictly, as are all fields here."""
        said: Any = self.config.settings.get("Labels")
        return {str(key): str(value) for key, value in cast("Json", said).items()} if isinstance(said, dict) else {}


def listed(images: Sequence[Described], filters: Mapping[str, Sequence[str]], by_name: Callable[[str], Described]) -> list[Json]:
    """`GET /images/json`, newest first."""
    for name in filters:
        if name not in _FILTERS:
            raise ApiError(400, f"invalid filter '{name}'")
    chosen = [image for image in images if _matches(image, filters, by_name)]
    return [
        {
            "Containers": -1,
            "Created": image.created_s,
            "Id": image.record.config,
            "Labels": dict(image.labels) or None,
            "ParentId": "",
            "RepoDigests": image.digests,
            "RepoTags": image.tags,
            "SharedSize": -1,
            "Size": image.record.size_bytes,
        }
        for image in sorted(chosen, key=lambda image: -image.created_s)
    ]


def inspected(image: Described, folders: Sequence[str]) -> Json:
    """`GET /images/{name}/json`; `folders` are its layers', top first."""
    document = image.config.document
    data: Json = {"UpperDir": folders[0]}
    if len(folders) > 1:
        data["LowerDir"] = ":".join(folders[1:])
    shown: Json = {
        "Id": image.record.config,
        "RepoTags": image.tags,
        "RepoDigests": image.digests,
        "Parent": "",
        "Comment": document.get("comment") or "",
        "Created": image.created,
        "DockerVersion": document.get("docker_version") or "",
        "Author": document.get("author") or "",
        "Config": dict(image.config.settings),
        "Architecture": image.config.platform.architecture,
        "Os": image.config.platform.os,
        "Size": image.record.size_bytes,
        "GraphDriver": {"Name": "overlay2", "Data": data},
        "RootFS": {"Type": "layers", "Layers": list(image.config.diff_ids)},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        "Descriptor": {"mediaType": image.manifest.media_type, "digest": image.record.digest},
    }
    if image.config.platform.variant:
        shown["Variant"] = image.config.platform.variant
    return shown


def history(image: Described) -> list[Json]:
    """`GET /images/{name}/history`, the last step first."""
    said = cast("list[Any]", image.config.document.get("history") or [])
    steps = [cast("Json", step) for step in said if isinstance(step, dict)]
    shown: list[Json] = [
        {
            "Comment": str(step.get("comment") or ""),
            "Created": seconds_of(str(step.get("created") or "")),
            "CreatedBy": str(step.get("created_by") or ""),
            "Id": "<missing>",
            "Size": 0,
            "Tags": None,
        }
        for step in reversed(steps)
    ]
    if shown:
        shown[0].update({"Id": image.record.config, "Tags": image.tags or None})
    return shown


def seconds_of(text: str) -> int:
    """An RFC 3339 time in seconds since the epoch; for what is none the beginning of the year 1, which clients show as no time."""
    cut = text.strip().replace("Z", "+00:00")
    head, dot, rest = cut.partition(".")
    if dot:  # fromisoformat of 3.9 takes no nanoseconds
        digits = len(rest) - len(rest.lstrip("0123456789"))
        cut = head + rest[digits:]
    try:
        when = datetime.fromisoformat(cut)
    except ValueError:
        return NO_TIME_S
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return int(when.timestamp())


def _matches(image: Described, filters: Mapping[str, Sequence[str]], by_name: Callable[[str], Described]) -> bool:
    for value in filters.get("dangling", ()):
        if (value.lower() in ("1", "true")) != (not image.tags):
            return False
    for value in filters.get("label", ()):
        key, equals, wanted = value.partition("=")
        if key not in image.labels or (equals and image.labels[key] != wanted):
            return False
    patterns = filters.get("reference", ())
    if patterns and not any(_is_like(name, pattern) for name in (*image.tags, *image.digests) for pattern in patterns):
        return False
    for value in filters.get("before", ()):
        if image.created_s >= by_name(value).created_s:
            return False
    for value in filters.get("since", ()):
        if image.created_s <= by_name(value).created_s:
            return False
    until = [int(value) if value.isdigit() else seconds_of(value) for value in filters.get("until", ())]
    return all(image.created_s < limit for limit in until)


def _is_like(name: str, pattern: str) -> bool:
    repository = name.partition("@")[0]
    if "@" not in name:
        repository = name.rpartition(":")[0]
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(repository, pattern)
