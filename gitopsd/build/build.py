"""Build the images that a plan needs and nobody has yet.

In: a plan, the revision's files, the engine that builds, the registry.  Out: `Images`: key to digest, and what could not be built.

Rule 1: a key is built once, whoever asks for it, and its tag is never moved: what the registry has under it meanwhile is taken.
Rule 2: a build uses exactly the bases that were pinned (`gitopsd-bases`), and no later time than the context's last commit.
Rule 3: one build that fails does not end another.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from gitopsd.build.context import context_tar, dockerfile_in
from gitopsd.hosts.engineapi import EngineApi
from gitopsd.model.desired import BuildWant
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.outcome import FailedBuild, Images
from gitopsd.model.plan import Plan
from gitopsd.model.revision import Tree
from gitopsd.oci.platform import parse_platform
from gitopsd.registries import Registries

Progress = Callable[[BuildWant, str], None]

_AT_ONCE = 2
_LAST_LINES = 15


def build(
    plan: Plan,
    tree: Tree,
    builder: Callable[[], EngineApi],
    registries: Registries,
    progress: Progress = lambda want, line: None,
) -> Images:
    """`builder` gives the engine that builds; it is only asked for when something has to be built."""
    wants = {want.key: want for want in plan.builds}
    if not wants:
        return Images()
    built: dict[str, str] = {}
    failed: list[FailedBuild] = []

    def one(want: BuildWant) -> None:
        try:
            built[want.key] = _build(want, tree, builder(), registries, progress)
        except GitopsdError as error:
            placed = error.at(Where(object=f"image {want.stack}/{want.service}").within(want.where))
            failed.append(FailedBuild(want.key, str(placed), error.next))

    with ThreadPoolExecutor(_AT_ONCE, "build") as pool:
        for _ in pool.map(one, wants.values()):
            pass
    return Images(tuple(sorted(built.items())), tuple(failed))


def _build(want: BuildWant, tree: Tree, engine: EngineApi, registries: Registries, progress: Progress) -> str:
    name = f"{want.repository}:{want.key}"
    query = {
        "t": name,
        "dockerfile": dockerfile_in(want.context, want.dockerfile),
        "buildargs": json.dumps({"SOURCE_DATE_EPOCH": str(want.epoch), **dict(want.args)}, sort_keys=True),
        "platform": want.platform,
        "gitopsd-bases": json.dumps(dict(want.bases), sort_keys=True),
    }
    last: deque[str] = deque(maxlen=_LAST_LINES)
    try:
        for event in engine.build(context_tar(tree, want.context, want.dockerfile, want.epoch), query):
            for line in str(event.get("stream") or "").splitlines():
                last.append(line)
                progress(want, line)
    except GitopsdError as error:
        if error.code == "build-failed" and last:
            error.hint = "\n    ".join(["its last output:", *last])
        raise
    found = registries.resolve(name, parse_platform(want.platform))
    if found is not None:  # somebody else was quicker; an image key stands for the same sources
        return found.digest
    return _push(engine, name, lambda line: progress(want, line))


def _push(engine: EngineApi, name: str, progress: Callable[[str], None]) -> str:
    progress(f"pushing {name}")
    digest = ""
    for event in engine.push(name):
        digest = str(cast("dict[str, Any]", event.get("aux") or {}).get("Digest") or digest)
    if not digest:
        raise GitopsdError("push-failed", "the engine did not say the digest of what it pushed", Where(object=name), next="retry")
    return digest
