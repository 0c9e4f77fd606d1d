"""Which stages a target needs, and which images from outside they start from.  [pure]

In: a parsed Dockerfile, the build's arguments.  Out: stage numbers, names of images.

Rule 1: a name in FROM or COPY --from is an earlier stage where one has it, the latest such; otherwise it is an image.
Rule 2: FROM lines see the arguments that stand before the first FROM, and those about the platform, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.expand import expand_word
from gitopsd.dockerfile.instructions import Copy, From, expanded
from gitopsd.dockerfile.parse import Dockerfile, Stage

SCRATCH = "scratch"


def platform_args(platform: str, stage: str = "") -> dict[str, str]:
    """The arguments that nobody has to give; inside a stage each needs its ARG. Built for and built on are the same."""
    system, _, rest = platform.partition("/")
    machine, _, variant = rest.partition("/")
    args: dict[str, str] = {"TARGETSTAGE": stage or "default"}
    for side in ("BUILD", "TARGET"):
        args[f"{side}PLATFORM"] = platform
        args[f"{side}OS"] = system
        args[f"{side}ARCH"] = machine
        args[f"{side}VARIANT"] = variant
    return args


def global_args(dockerfile: Dockerfile, args: Mapping[str, str], platform: str, target: str = "") -> dict[str, str]:
    """The variables that FROM lines see."""
    env = platform_args(platform, target)
    for instruction in dockerfile.args:
        for name, default in instruction.items:
            if name in args:
                env[name] = args[name]
            elif default is not None:
                env[name] = expand_word(default, env, dockerfile.escape, instruction.line)
    return env


def target_stage(dockerfile: Dockerfile, target: str) -> Stage:
    """The stage that is asked for by name or number; the last one where none is."""
    if not target:
        return dockerfile.stages[-1]
    found = _find(dockerfile, target, len(dockerfile.stages))
    if found is None:
        names = ", ".join(stage.name for stage in dockerfile.stages if stage.name) or "none with a name"
        raise DockerfileError(f"no stage {target!r}; there are {names}", 0)
    return found


def resolved_base(dockerfile: Dockerfile, stage: Stage, env: Mapping[str, str]) -> From:
    """FROM with its variables replaced, whether it names a stage or an image."""
    base = expanded(stage.base, env, dockerfile.escape)
    if not base.image.strip():
        raise DockerfileError(f"FROM: {stage.base.image} is empty; expected the name of an image or a stage", base.line)
    return base


def base_stage(dockerfile: Dockerfile, stage: Stage, base: From) -> Optional[Stage]:
    """The earlier stage that FROM names, if it is one."""
    return None if base.image == SCRATCH else _find(dockerfile, base.image, stage.index, numbers=False)


def source_stage(dockerfile: Dockerfile, stage: Stage, copy: Copy) -> Optional[Stage]:
    """The earlier stage that COPY --from names, if it is one."""
    found = _find(dockerfile, copy.from_, stage.index)
    if found is None and (copy.from_.isdigit() or _find(dockerfile, copy.from_, len(dockerfile.stages))):
        raise DockerfileError(f"COPY: --from={copy.from_}: expected an earlier stage", copy.line)
    return found


def needed(dockerfile: Dockerfile, env: Mapping[str, str], target: str = "") -> tuple[Stage, ...]:
    """The stages that the target is made from, itself the last, in the order of the file. `env` is what FROM lines see."""
    wanted = {target_stage(dockerfile, target).index}
    for stage in reversed(dockerfile.stages):
        if stage.index not in wanted:
            continue
        sources = [base_stage(dockerfile, stage, resolved_base(dockerfile, stage, env))]
        sources += [source_stage(dockerfile, stage, copy) for copy in _copies(stage)]
        wanted.update(source.index for source in sources if source)
    return tuple(stage for stage in dockerfile.stages if stage.index in wanted)


def bases(dockerfile: Dockerfile, args: Mapping[str, str], platform: str = "linux/amd64", target: str = "") -> tuple[str, ...]:
    """The images from outside that the target is made from, as FROM and COPY --from name them with arguments in; each once."""
    env = global_args(dockerfile, args, platform, target)
    found: dict[str, None] = {}
    for stage in needed(dockerfile, env, target):
        base = resolved_base(dockerfile, stage, env)
        if base.image != SCRATCH and not base_stage(dockerfile, stage, base):
            found[base.image] = None
        for copy in _copies(stage):
            if not source_stage(dockerfile, stage, copy):
                found[copy.from_] = None
    return tuple(found)


def _copies(stage: Stage) -> list[Copy]:
    return [step for step in stage.instructions if isinstance(step, Copy) and step.from_]


def _find(dockerfile: Dockerfile, name: str, before: int, numbers: bool = True) -> Optional[Stage]:
    for stage in reversed(dockerfile.stages[:before]):
        if stage.name == name.lower() or (numbers and name == str(stage.index)):
            return stage
    return None
