"""What is about to happen, to what, why, and what people will feel.  [pure]

A plan is data: shown, stored, approved and applied as it is. Version 1 of its JSON: docs/formats.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gitopsd.model.desired import BuildWant, ContainerSpec, DesiredContainer, DesiredNetwork, DesiredVolume, ImageChoice
from gitopsd.model.errors import Where
from gitopsd.model.revision import RevisionName

PLAN_VERSION = 1

Kind = Literal["container", "network", "volume"]
Action = Literal["same", "in_place", "replace", "create", "remove", "retain"]
Effect = Literal["none", "restart", "gap", "data_loss"]
EFFECTS: tuple[Effect, ...] = ("none", "restart", "gap", "data_loss")
"""From what nobody notices to what cannot be undone."""
CauseKind = Literal["git", "image", "drift", "cascade", "leftover", "placement"]


@dataclass(frozen=True)
class FieldChange:
    """One field: `path` as in the stack file, values as people read them; None: not set."""

    path: str
    old: str | None
    new: str | None
    cause: CauseKind
    effect: Effect
    detail: str = ""


@dataclass(frozen=True)
class Change:
    """What happens to one object on one host, with the generation it was seen at (0: it is not there)."""

    host: str
    stack: str
    kind: Kind
    name: str
    action: Action
    reason: str
    """One clause for a person: `image changed`, `removed from Git`, `stopped by hand`."""
    service: str | None = None
    replica: int = 0
    cause: CauseKind = "git"
    """Of the change as a whole; with fields, the weightiest of theirs: Git before an image before drift."""
    fields: tuple[FieldChange, ...] = ()
    effect: Effect = "none"
    id: str | None = None
    generation: int = 0
    where: Where = field(default=Where(), compare=False)


Operation = Literal[
    "build",
    "send_image",
    "create_network",
    "remove_network",
    "create_volume",
    "create_container",
    "start_container",
    "wait_healthy",
    "transition",
    "update_container",
    "connect_network",
    "disconnect_network",
    "rename_container",
    "stop_container",
    "remove_container",
]


@dataclass(frozen=True)
class Step:
    """One call on one host. `after` names the steps that must have succeeded; equal steps may run side by side. Before the first
    step of a stack that is neither `build` nor `send_image`, all of those of the stack have ended, on every host.

    `target` and `other` name containers by `id:<id>` for one that is there, or `step:<number>` for one that a step creates.
    """

    number: int
    operation: Operation
    host: str
    stack: str
    object: str
    """For people: `container shop-web-1`."""
    after: tuple[int, ...] = ()
    target: str = ""
    other: str = ""
    name: str = ""
    generation: int = 0
    container: DesiredContainer | None = None
    network: DesiredNetwork | None = None
    volume: DesiredVolume | None = None
    spec: ContainerSpec | None = None
    build: BuildWant | None = None
    image: ImageChoice | None = None
    until: Literal["healthy", "completed"] = "healthy"
    """What `wait_healthy` waits for; `completed`: it ended with exit code 0."""
    aliases: tuple[str, ...] = ()
    grace_ns: int = 0


@dataclass(frozen=True)
class Plan:
    id: str
    fleet: str
    revision: RevisionName | None
    created_at: str
    """RFC 3339, UTC."""
    changes: tuple[Change, ...]
    steps: tuple[Step, ...]
    builds: tuple[BuildWant, ...] = ()
    etags: tuple[tuple[str, str], ...] = ()
    """Host to the ETag of the state it was planned on."""
    unknown: tuple[tuple[str, str], ...] = ()
    """Hosts that did not answer, and why."""
    blocked: tuple[tuple[str, str], ...] = ()
    """Stacks that are held where they are, and why."""
    refused: tuple[tuple[str, str], ...] = ()
    """Guards that stand in the way: code and sentence. A person lifts one by its code."""
    notes: tuple[str, ...] = ()
    unchanged: int = 0
    """How many objects are as they should be."""
    version: int = PLAN_VERSION

    @property
    def is_empty(self) -> bool:
        return not self.steps

    @property
    def effect(self) -> Effect:
        found = {change.effect for change in self.changes}
        worst_first: tuple[Effect, ...] = EFFECTS[::-1]
        for effect in worst_first:
            if effect in found:
                return effect
        return "none"
