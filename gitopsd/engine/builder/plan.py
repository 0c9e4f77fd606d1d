"""The graph of a build: every instruction that the target needs, with what it waits for.

In: a Dockerfile, the options, where images come from.  Out: `Plan`. Everything that can be known to be wrong before a command has
run is found here: names, variables, platforms, images that are not to be had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Optional, TypeVar, Union

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.instructions import Copy, From
from gitopsd.dockerfile.parse import Dockerfile, Stage, parse
from gitopsd.dockerfile.stages import SCRATCH, base_stage, global_args, needed, platform_args, resolved_base, source_stage
from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.graph import Graph
from gitopsd.engine.builder.images import BaseImage, BuildImages
from gitopsd.engine.builder.meaning import SCRATCH_CONFIG, Meaning, Step, meaning_of
from gitopsd.engine.builder.needs import Emit
from gitopsd.engine.builder.options import BuildOptions
from gitopsd.oci.platform import InvalidPlatform, Platform, parse_platform
from gitopsd.oci.reference import InvalidReference, parse_reference

Answer = TypeVar("Answer")
MOST_STEPS = 5000


@dataclass(frozen=True)
class Start:
    """FROM: an image, an earlier stage (its files are the input), or nothing."""

    base: From
    image: Optional[BaseImage]


@dataclass(frozen=True)
class Task:
    """One instruction in the graph. `source` is the image that COPY --from takes from, if it takes from one."""

    what: Union[Start, Step]
    source: Optional[BaseImage] = None


@dataclass
class Plan:
    dockerfile: Dockerfile
    graph: Graph[Task] = field(default_factory=Graph[Task])
    stages: tuple[Stage, ...] = ()
    """Those that are needed, the target last."""
    last: dict[int, int] = field(default_factory=dict[int, int])
    """Of each stage, the number of its last step in the graph."""
    meanings: dict[int, Meaning] = field(default_factory=dict[int, Meaning])
    starts: dict[int, Optional[Stage]] = field(default_factory=dict[int, "Optional[Stage]"])
    """Of each stage, the stage it starts from."""


def plan(data: bytes, options: BuildOptions, platform: Platform, images: BuildImages, emit: Emit) -> Plan:
    """Read the Dockerfile and find the images; raises BuildError with the line of what is wrong."""
    try:
        planned = Plan(parse(data))
        _Planning(planned, options, platform, images, emit).stages()
    except DockerfileError as error:
        places = ((f":{problem.line}" if problem.line else "", problem.message) for problem in error.problems)
        raise BuildError("\n".join(f"{options.dockerfile}{line}: {message}" for line, message in places)) from None
    return planned


def check_platform(text: str, platform: Platform, what: str) -> None:
    """Nothing said is this machine's own; raises BuildError for another."""
    try:
        if text and parse_platform(text) != platform:
            raise BuildError(f"{what}={text}: expected {platform}, building for others is not there yet")
    except InvalidPlatform as error:
        raise BuildError(f"{what}={text}: {error}") from None


def placed(where: str, action: Callable[[], Answer]) -> Answer:
    """An error from below, with the place in the Dockerfile in front of it."""
    try:
        return action()
    except BuildError as error:
        raise BuildError(f"{where}: {error.message}", error.status, error.code) from None
    except ApiError as error:
        raise BuildError(f"{where}: {error.message}", error.status) from None
    except OSError as error:
        raise BuildError(f"{where}: {error}", 500) from error


class _Planning:
    """One Dockerfile while its plan is made."""

    def __init__(self, planned: Plan, options: BuildOptions, platform: Platform, images: BuildImages, emit: Emit) -> None:
        self.plan = planned
        self.options = options
        self.platform = platform
        self.images = images
        self.emit = emit
        self._bases: dict[str, BaseImage] = {}

    def stages(self) -> None:
        dockerfile, options = self.plan.dockerfile, self.options
        env = global_args(dockerfile, options.args, str(self.platform), options.target)
        self.plan.stages = needed(dockerfile, env, options.target)
        for stage in self.plan.stages:
            base = resolved_base(dockerfile, stage, env)
            check_platform(base.platform, self.platform, f"{options.dockerfile}:{base.line}: FROM --platform")
            source = base_stage(dockerfile, stage, base)
            image = None if source or base.image == SCRATCH else self._base(base.image, base.line)
            config = self.plan.meanings[source.index].config if source else image.config if image else SCRATCH_CONFIG
            args = {**env, **platform_args(str(self.platform), stage.name)}
            meaning = meaning_of(stage, dockerfile.escape, config, options.args, args)
            last = self.plan.graph.add(Task(Start(base, image)), (self.plan.last[source.index],) if source else ())
            for step in meaning.steps:
                last = self._add(stage, step, last)
            self.plan.starts[stage.index] = source
            self.plan.last[stage.index] = last
            self.plan.meanings[stage.index] = meaning
            if len(self.plan.graph.vertices) > MOST_STEPS:
                raise BuildError(
                    f"{options.dockerfile}: expected at most {MOST_STEPS} instructions in the stages that are needed"
                )

    def _add(self, stage: Stage, step: Step, previous: int) -> int:
        copied = step.instruction
        if not isinstance(copied, Copy) or not copied.from_:
            return self.plan.graph.add(Task(step), (previous,))
        source = source_stage(self.plan.dockerfile, stage, copied)
        if source:
            return self.plan.graph.add(Task(step), (previous, self.plan.last[source.index]))
        return self.plan.graph.add(Task(step, self._base(copied.from_, copied.line)), (previous,))

    def _base(self, name: str, line: int) -> BaseImage:
        """The image of this name: the one that was pinned, else the one that is here, else the registry's."""
        if name in self._bases:
            return self._bases[name]
        where = f"{self.options.dockerfile}:{line}: {name}"
        try:
            reference = parse_reference(name)
        except InvalidReference as error:
            raise BuildError(f"{where}: {error}") from None
        pinned = self.options.bases.get(name)
        if self.options.bases and not pinned:
            raise BuildError(f"{where}: gitopsd-bases names no digest for it")
        if pinned and reference.digest not in (None, pinned):
            raise BuildError(f"{where}: gitopsd-bases says {pinned}")
        wanted = f"{reference.name}@{pinned}" if pinned else str(reference)
        found = None if self.options.pull and not pinned else placed(where, lambda: self.images.find(wanted))
        image = found or placed(where, lambda: self.images.pull(wanted, self.emit))
        if image.config.get("OnBuild"):
            raise BuildError(f"{where}: its ONBUILD triggers are not there yet")
        self._bases[name] = image
        return image
