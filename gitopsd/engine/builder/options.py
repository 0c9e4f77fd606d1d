"""What a build is asked for.  [pure]

In: the query of `POST /build`.  Out: `BuildOptions`. What the classic API has and we do not have yet is refused by name when
it asks for something; at its default it is nothing to refuse. `rm` and `forcerm` have nothing to change here: no intermediate
container is ever kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, cast

from gitopsd.engine.builder.errors import BuildError

NOT_THERE_YET = (
    "remote", "extrahosts", "cachefrom", "squash", "memory", "memswap", "cpushares", "cpusetcpus", "cpusetmems", "cpuperiod",
    "cpuquota", "shmsize", "ulimits", "cgroupparent", "isolation", "securityopt", "outputs", "session",
)  # fmt: skip
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class BuildOptions:
    dockerfile: str = "Dockerfile"
    """Its path in the context."""
    target: str = ""
    args: Mapping[str, str] = field(default_factory=dict[str, str])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    tags: tuple[str, ...] = ()
    nocache: bool = False
    pull: bool = False
    quiet: bool = False
    """Nothing is said but the image's id; of a build that fails, all."""
    platform: str = ""
    """Empty: this machine's."""
    epoch: Optional[int] = None
    """SOURCE_DATE_EPOCH, in seconds: no time in the image is later, and it is the image's own."""
    bases: Mapping[str, str] = field(default_factory=dict[str, str])
    """A name in FROM to the manifest digest that it has to be."""


def from_query(query: Mapping[str, Sequence[str]]) -> BuildOptions:
    """The options that a query says; raises BuildError for what cannot be done."""
    last = {name: values[-1] for name, values in query.items() if values}
    if last.get("version", "") == "2":
        raise BuildError("build: BuildKit's builds are not there yet; DOCKER_BUILDKIT=0 makes the client use the other way", 501)
    for name in NOT_THERE_YET:
        if last.get(name, "").lower() not in ("", "0", "[]", "{}", "null", "none", "false"):
            raise BuildError(f"build: the parameter {name} is not there yet", 501)
    if last.get("networkmode", "") not in ("", "default"):
        raise BuildError(f"build: networkmode={last['networkmode']} is not there yet, only default", 501)
    args = _table(last, "buildargs")
    return BuildOptions(
        dockerfile=last.get("dockerfile", "") or "Dockerfile",
        target=last.get("target", ""),
        args={name: value for name, value in args.items() if value is not None},
        labels={name: value or "" for name, value in _table(last, "labels").items()},
        tags=tuple(tag for tag in query.get("t", ()) if tag),
        nocache=_is_true(last.get("nocache", "")),
        pull=_is_true(last.get("pull", "")),
        quiet=_is_true(last.get("q", "")),
        platform=last.get("platform", "").lower(),
        epoch=_epoch(args.get("SOURCE_DATE_EPOCH")),
        bases=_bases(_table(last, "gitopsd-bases")),
    )


def _table(query: Mapping[str, str], name: str) -> dict[str, Optional[str]]:
    """A JSON object of strings; null for an argument that is to come from nowhere."""
    text = query.get(name, "") or "{}"
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = ()
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(item, (str, type(None))) for item in cast("dict[str, Any]", value).values()
    ):
        raise BuildError(f"build: {name}={text[:100]}: expected a JSON object of strings")
    table = cast("dict[str, Optional[str]]", value)
    if any("\0" in key or "=" in key or "\0" in (item or "") for key, item in table.items()):
        raise BuildError(f"build: {name}: a name has no '=', and nothing has a zero byte")
    return table


def _epoch(text: Optional[str]) -> Optional[int]:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise BuildError(f"build: SOURCE_DATE_EPOCH={text[:40]}: expected seconds since 1970, a whole number")
    return int(text)


def _bases(table: Mapping[str, Optional[str]]) -> dict[str, str]:
    bases: dict[str, str] = {}
    for name, digest in table.items():
        if not digest or not DIGEST.fullmatch(digest):
            raise BuildError(f"build: gitopsd-bases: {name}: expected the digest of a manifest, sha256:…, found {digest!r}")
        bases[name] = digest
    return bases


def _is_true(text: str) -> bool:
    """As Docker reads booleans in a query."""
    return text.strip().lower() not in ("", "0", "no", "false", "none")
