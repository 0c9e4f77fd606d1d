"""Build the images that a plan needs and nobody has yet.

In: a plan, the revision's files, the engine that builds, the registry.  Out: `Images`: key to digest, and what could not be built.

Rule 1: a key is built once, whoever asks for it, and its tag is never moved: what the registry has under it meanwhile is taken.
Rule 2: a build uses exactly the bases that were pinned (`gitopsd-bases`), and no later time than the context's last commit.
Rule 3: one build that fails does not end another.
Rule 4: when told to end, a build is left where it is, at once: the engine ends one whose caller is gone.
"""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
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


@dataclass(frozen=True)
class BuildWatch:
    """Told about each build as it goes."""

    started: Callable[[BuildWant], None] = lambda want: None
    line: Callable[[BuildWant, str], None] = lambda want, line: None
    ended: Callable[[BuildWant, float, bool], None] = lambda want, seconds, is_well: None


QUIET = BuildWatch()

_AT_ONCE = 2
_LAST_LINES = 15
_LOOK_S = 0.1
_AT_LINE = re.compile(r"(?P<file>[^:\s]+):(?P<line>\d+): (?P<message>.*)\Z", re.DOTALL)
_COMMAND = re.compile(r"The command '(?:/bin/sh -c )?(?P<command>.*)' returned a non-zero code: (?P<code>\d+)", re.DOTALL)
"""Docker's words for a command that failed."""


def build(
    plan: Plan,
    tree: Tree,
    builder: Callable[[], EngineApi],
    registries: Registries,
    watch: BuildWatch = QUIET,
    ending: threading.Event | None = None,
) -> Images:
    """`builder` gives the engine that builds; it is only asked for when something has to be built. `ending`: set when it is to end early."""
    wants = {want.key: want for want in plan.builds}
    if not wants:
        return Images()
    left: queue.SimpleQueue[BuildWant] = queue.SimpleQueue()
    for want in wants.values():
        left.put(want)
    ended: queue.SimpleQueue[_Ended] = queue.SimpleQueue()
    end = ending or threading.Event()

    def work() -> None:
        while not end.is_set():
            try:
                want = left.get_nowait()
            except queue.Empty:
                return
            ended.put(_one(want, tree, builder, registries, watch))

    for number in range(min(_AT_ONCE, len(wants))):
        # not waited for when it is to end: an engine may say nothing for as long as a command runs
        threading.Thread(target=work, name=f"build-{number}", daemon=True).start()
    found: dict[str, _Ended] = {}
    while len(found) < len(wants) and not end.is_set():
        with suppress(queue.Empty):
            one = ended.get(timeout=_LOOK_S)
            found[one.key] = one
    failed = [one.failed for one in found.values() if one.failed is not None]
    failed += [
        FailedBuild(key, "error: interrupted\n  told to end before it was built", "retry") for key in wants if key not in found
    ]
    return Images(
        tuple(sorted((key, one.digest) for key, one in found.items() if one.failed is None)),
        tuple(failed),
        tuple((key, one.seconds) for key, one in found.items()),
    )


@dataclass(frozen=True)
class _Ended:
    key: str
    seconds: float
    digest: str = ""
    failed: FailedBuild | None = None


def _one(want: BuildWant, tree: Tree, builder: Callable[[], EngineApi], registries: Registries, watch: BuildWatch) -> _Ended:
    watch.started(want)
    begun = time.monotonic()
    try:
        digest = _build(want, tree, builder(), registries, lambda line: watch.line(want, line))
        ended = _Ended(want.key, time.monotonic() - begun, digest)
    except GitopsdError as error:
        placed = _placed(error, want)
        ended = _Ended(want.key, time.monotonic() - begun, failed=FailedBuild(want.key, str(placed), placed.next))
    except Exception as error:  # noqa: BLE001  a fault of ours ends this build, not the wait for all of them
        ended = _Ended(
            want.key, time.monotonic() - begun, failed=FailedBuild(want.key, f"error: build-failed\n  {error!r}", "retry")
        )
    watch.ended(want, ended.seconds, ended.failed is None)
    return ended


def _placed(error: GitopsdError, want: BuildWant) -> GitopsdError:
    """Where a person mends it: the line of the Dockerfile, if the engine names one."""
    image = f"image {want.stack}/{want.service}"
    if error.code != "build-failed":
        return error.at(Where(object=image).within(want.where))
    at = _AT_LINE.match(error.message)
    where = Where(want.dockerfile, int(at["line"]) if at else None)
    asked = f"{want.where.file}:{want.where.line}" if want.where.file else f"service {want.service} of {want.stack}"
    hint = f"{image} is asked for by {asked}" + (f"\n    {error.hint}" if error.hint else "")
    message = _COMMAND.sub(r"RUN \g<command> ended with \g<code>", at["message"] if at else error.message)
    return GitopsdError(error.code, message, where, hint, error.next)


def _build(want: BuildWant, tree: Tree, engine: EngineApi, registries: Registries, progress: Callable[[str], None]) -> str:
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
                progress(line)
    except GitopsdError as error:
        if error.code == "build-failed" and last:
            error.hint = "\n    ".join(["its last output:", *last])
        raise
    found = registries.resolve(name, parse_platform(want.platform))
    if found is not None:  # somebody else was quicker; an image key stands for the same sources
        return found.digest
    return _push(engine, name, progress)


def _push(engine: EngineApi, name: str, progress: Callable[[str], None]) -> str:
    progress(f"pushing {name}")
    digest = ""
    for event in engine.push(name):
        digest = str(cast("dict[str, Any]", event.get("aux") or {}).get("Digest") or digest)
    if not digest:
        raise GitopsdError("push-failed", "the engine did not say the digest of what it pushed", Where(object=name), next="retry")
    return digest
