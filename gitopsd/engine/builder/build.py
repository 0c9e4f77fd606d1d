"""The one call of the builder: an uploaded context becomes an image.

In: a file that holds the context's tar, `BuildOptions`.  Out: an image in the store, with its names; on the way, what the classic
build prints.

Rule 1: FROM means exactly the manifest that `bases` names, where bases are given (plan.py).
Rule 2: a step's result comes from our own records and nothing else (cachekey.py has why).
Rule 3: nothing of a failed build is named by anything; the folders it worked in are taken away.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Optional

from gitopsd.engine.builder.cache import Cache
from gitopsd.engine.builder.context import Context
from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.export import Done, image_config
from gitopsd.engine.builder.images import BaseImage, BuildImages
from gitopsd.engine.builder.meaning import PROXIES
from gitopsd.engine.builder.needs import Emit, Runner, RunWorker
from gitopsd.engine.builder.options import BuildOptions
from gitopsd.engine.builder.plan import Plan, Start, check_platform, placed, plan
from gitopsd.engine.builder.solve import solve
from gitopsd.engine.builder.steps import Snapshot, Steps, short
from gitopsd.engine.images.images import Image, Images
from gitopsd.engine.paths.root import Root
from gitopsd.engine.registry.client import Credentials
from gitopsd.oci.reference import InvalidReference, Reference, parse_reference

MOST_AT_ONCE = 4


class Builder:
    """Builds images on one machine. Builds may run at the same time."""

    def __init__(self, folder: str, images: Images, runner: Runner, run_worker: RunWorker, now_s: Callable[[], int]) -> None:
        """`folder` is the builder's own, below the data root; what a build that was cut off left there goes."""
        self._images = images
        self._runner = runner
        self._run_worker = run_worker
        self._platform = images.platform
        self._now_s = now_s
        self.cache = Cache(os.path.join(folder, "cache"))
        self._scratch = os.path.join(folder, "work")
        os.makedirs(self._scratch, mode=0o700, exist_ok=True)
        with Root.at(self._scratch) as root:
            root.empty()

    def open_spool(self) -> int:
        """A nameless file to receive a context in, which `build` then takes."""
        return os.open(self._scratch, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)

    def build(
        self,
        archive: int,
        options: BuildOptions,
        emit: Emit,
        cancelled: Optional[threading.Event] = None,
        credentials: Optional[Mapping[str, Credentials]] = None,
    ) -> Image:
        """Build what the context's tar in the file `archive` says, compressed or not. Blocks; raises BuildError.

        `emit` gets the build stream's objects, one at a time. Setting `cancelled` ends the build; a build that fails sets it.
        `credentials`, by registry, are for bases that have to be pulled.
        """
        lock = threading.Lock()

        def emit_one(event: Mapping[str, Any]) -> None:
            with lock:
                emit(event)

        check_platform(options.platform, self._platform, "build: platform")
        tags = [_tag(text) for text in options.tags]
        stop = cancelled or threading.Event()
        context = placed("build context", lambda: Context.open(archive, self._scratch, self._run_worker))
        try:
            with self._images.blobs.lease() as lease:
                image, planned = self._built(
                    context, options, BuildImages(self._images, lease, credentials or {}), emit_one, stop
                )
        finally:
            context.close()
            self.cache.prune()
        _say_unused(planned, options, emit_one)
        emit_one({"aux": {"ID": image.id}})
        emit_one({"stream": f"Successfully built {short(image.id)}\n"})
        for tag in tags:
            emit_one({"stream": f"Successfully tagged {tag.familiar}\n"})
        return image

    def _built(
        self, context: Context, options: BuildOptions, images: BuildImages, emit: Emit, stop: threading.Event
    ) -> tuple[Image, Plan]:
        data = context.read(options.dockerfile)
        if data is None:
            raise BuildError(f"{options.dockerfile}: no such file in the build context")
        planned = plan(data, options, self._platform, images, emit)
        steps = Steps(
            images, self._runner, self._run_worker, self.cache, self._scratch, str(self._platform), options,
            context.ignoring(options.dockerfile), emit, stop, len(planned.graph.vertices),
        )  # fmt: skip
        at_once = max(1, min(MOST_AT_ONCE, len(planned.stages)))
        results = solve(planned.graph, planned.last[planned.stages[-1].index], steps.perform, stop.set, at_once)
        return placed("export", lambda: self._export(planned, options, images, results)), planned

    def _export(self, planned: Plan, options: BuildOptions, images: BuildImages, results: Mapping[int, Snapshot]) -> Image:
        """The image of the target's last step, its history gathered through the stages it comes from."""
        target = planned.stages[-1]
        chain = [target]
        while (below := planned.starts[chain[-1].index]) is not None:
            chain.append(below)
        done: list[Done] = []
        base: Optional[BaseImage] = None
        for stage in reversed(chain):
            meaning, last = planned.meanings[stage.index], planned.last[stage.index]
            first = last - len(meaning.steps)
            start = planned.graph.vertices[first].work.what
            base = start.image if isinstance(start, Start) and start.image else base
            done += [Done(step.created_by, results[number].made_layer) for number, step in enumerate(meaning.steps, first + 1)]
        config = dict(planned.meanings[target.index].config)
        if options.labels:
            config["Labels"] = {**(config.get("Labels") or {}), **options.labels}
        layers = results[planned.last[target.index]].layers
        document = image_config(
            self._platform,
            config,
            [layer.diff_id for layer in layers],
            base.history if base else [],
            len(base.layers) if base else 0,
            done,
            self._now_s() if options.epoch is None else options.epoch,
        )
        return images.add_image(layers, document, options.tags)


def _say_unused(planned: Plan, options: BuildOptions, emit: Emit) -> None:
    used = {name for meaning in planned.meanings.values() for name in meaning.used}
    used.update(name for arg in planned.dockerfile.args for name, _ in arg.items)
    unused = sorted(set(options.args) - used - PROXIES - {"SOURCE_DATE_EPOCH"})
    if unused:
        emit({"stream": f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n"})


def _tag(text: str) -> Reference:
    try:
        return parse_reference(text)
    except InvalidReference as error:
        raise BuildError(f"build: t={text}: {error}") from None
