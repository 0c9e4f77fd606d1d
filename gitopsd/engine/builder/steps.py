"""How a step of a build is performed: taken from our own records, or done now and recorded.

In: a step of the plan and the layers below it.  Out: the layers after it, on the way what the classic build prints.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Optional

from gitopsd.engine.builder import copy
from gitopsd.engine.builder.cache import Cache, layer_from_json, layer_to_json
from gitopsd.engine.builder.cachekey import chain_of, key_of
from gitopsd.engine.builder.context import Context
from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.graph import Vertex
from gitopsd.engine.builder.images import BuildImages, Layer
from gitopsd.engine.builder.meaning import FolderWork, RunWork, Work
from gitopsd.engine.builder.needs import Emit, Runner, RunWorker
from gitopsd.engine.builder.options import BuildOptions
from gitopsd.engine.builder.plan import Start, Task, placed
from gitopsd.engine.builder.run import run
from gitopsd.engine.builder.tree import digest_of, select
from gitopsd.engine.paths.root import Root, remove_tree

MOST_LAYERS = 500


@dataclass(frozen=True)
class Snapshot:
    """The files of a stage after a step, as layers."""

    layers: tuple[Layer, ...]
    made_layer: bool = False


@dataclass(frozen=True)
class Steps:
    """What the steps of one build need. `perform` may be called from several threads."""

    images: BuildImages
    runner: Runner
    run_worker: RunWorker
    cache: Cache
    scratch: str
    platform: str
    options: BuildOptions
    context: Context
    """Without what .dockerignore leaves out."""
    emit: Emit
    cancelled: threading.Event
    total: int

    def perform(self, vertex: Vertex[Task], inputs: list[Snapshot]) -> Snapshot:
        """One step of the graph."""
        if self.cancelled.is_set():
            raise BuildError("the build was cancelled")
        what = vertex.work.what
        instruction = what.base if isinstance(what, Start) else what.instruction
        title = f"Step {vertex.number + 1}/{self.total} : {instruction.text}\n"
        if isinstance(what, Start):
            self._say(title + (f" ---> {short(what.image.id)}\n" if what.image else ""))
            return Snapshot(inputs[0].layers if inputs else what.image.layers if what.image else ())
        below, work = inputs[0].layers, what.work
        if work is None or (isinstance(work, FolderWork) and work.path == "/"):
            self._say(title)
            return Snapshot(below)
        source = inputs[1].layers if len(inputs) > 1 else vertex.work.source.layers if vertex.work.source else None
        where = f"{self.options.dockerfile}:{instruction.line}: {instruction.text}"
        layer = placed(where, lambda: self._layer(title, work, below, source))
        return Snapshot((*below, layer), made_layer=True) if layer else Snapshot(below)

    def _layer(self, title: str, work: Work, below: tuple[Layer, ...], source: Optional[Sequence[Layer]]) -> Optional[Layer]:
        """What the step adds; None where it changes nothing."""
        key, job, arguments = self._prepared(work, chain_of([layer.diff_id for layer in below]), source)
        cached = None if self.options.nocache else self.cache.get(key)
        if cached is not None:
            layer = layer_from_json(cached.get("layer"))
            if (layer is None) == (cached.get("layer") is None) and self.images.has([layer] if layer else []):
                self._say(f"{title} ---> Using cache\n")
                return layer
            self.cache.drop(key)
        self._say(title)
        if len(below) >= MOST_LAYERS:
            raise BuildError(f"an image has at most {MOST_LAYERS} layers, which is what the kernel can lay over each other")
        with self.images.mounted(below) as lower, self.images.mounted(source or ()) as from_lower, Place(self.scratch) as folders:
            place = {"layers": self.images.layers_root, "lower": lower, **folders}
            if isinstance(work, RunWork):
                run(work, place, self.runner, self.run_worker, self.emit, self.cancelled)
            else:
                self.run_worker(job, {**place, **arguments, "from_lower": from_lower}, [self.context.content])
            layer = self.images.add_layer(below, folders["upper"], self.options.epoch)
        self.cache.put(key, layer=layer_to_json(layer))
        return layer

    def _prepared(self, work: Work, chain: str, source: Optional[Sequence[Layer]]) -> tuple[str, str, dict[str, Any]]:
        """The step's key, and for a step that a worker does its job."""
        if isinstance(work, RunWork):
            covered = {
                "arguments": work.arguments,
                "environment": work.environment,
                "directory": work.directory,
                "user": work.user,
            }
            return key_of("run", chain, self.platform, **covered), "", {}
        if isinstance(work, FolderWork):
            folder = {"path": work.path, "user": work.user}
            return key_of("folder", chain, self.platform, **folder), copy.FOLDER_JOB, folder
        step = work.copy
        said = {"destination": step.destination, "chown": step.chown, "chmod": step.chmod, "files": work.files}
        if source is None:
            taken = select(self.context, step.sources)
            key = key_of("copy", chain, self.platform, digest=digest_of(taken, with_owners=False), **said)
            return key, copy.CONTEXT_JOB, {**said, "taken": [(source.name, source.entry, source.below) for source in taken]}
        key = key_of("copy", chain, self.platform, digest=self._stage_digest(source, step.sources), **said)
        return key, copy.STAGE_JOB, {**said, "sources": step.sources}

    def _stage_digest(self, layers: Sequence[Layer], sources: Sequence[str]) -> str:
        """The digest of files in a stage; it can never become another for the same layers, so it is kept."""
        key = key_of("digest", chain_of([layer.diff_id for layer in layers]), self.platform, sources=sources)
        known = (self.cache.get(key) or {}).get("digest")
        if isinstance(known, str):
            return known
        with self.images.mounted(layers) as lower, Place(self.scratch) as folders:
            arguments = {**folders, "layers": self.images.layers_root, "from_lower": lower, "sources": sources}
            digest: str = self.run_worker(copy.DIGEST_JOB, arguments, [])
        self.cache.put(key, digest=digest)
        return digest

    def _say(self, text: str) -> None:
        self.emit({"stream": text})


class Place:
    """Fresh folders for one step, taken away afterwards."""

    def __init__(self, scratch: str) -> None:
        self.scratch = scratch

    def __enter__(self) -> dict[str, str]:
        self.path = tempfile.mkdtemp(dir=self.scratch, prefix="step-")
        folders = {name: os.path.join(self.path, name) for name in ("upper", "work", "merged", "source")}
        for path in folders.values():
            os.mkdir(path)
            os.chmod(path, 0o755)  # noqa: S103  `upper` becomes the stage's root folder, as it is in images
        return folders

    def __exit__(self, *_: object) -> None:
        with suppress(OSError), Root.at(self.scratch) as root:
            remove_tree(root.descriptor, os.path.basename(self.path))


def short(digest: str) -> str:
    """The first 12 digits, as Docker shows them."""
    return digest.partition(":")[2][:12]
