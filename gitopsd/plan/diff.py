"""What differs between what a host should have and what it has, field by field.  [pure]

In: one host's desired and observed objects.  Out: a `HostWork`: for each object what is to be done and why, with what is there.

Rule 1: only objects that carry the fleet's label and a stack's are ever part of the work; all others are strangers.
Rule 2: fields decide, not hashes. The hash only tells the cause: when it is the desired one, then what differs was changed
by hand; when it is another, Git (or an image) changed. For what changes in place the Desired that was applied last tells.
Rule 3: a container under `<name>.next` or `<name>.old` is a replacement under way, of a sync that ended in between. It is used
when it is what is wanted, and removed otherwise.
Rule 4: of a stack in `kept` nothing is removed: an error holds it where it is, so what is there and not desired may be what people use.
Only what a sync that did not end left over goes, if nobody can feel it.

Not here: whether we may (guard.py), in which order (order.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gitopsd.model.desired import Desired, DesiredContainer, DesiredNetwork, DesiredVolume, HostDesired
from gitopsd.model.observed import HostObserved, ObservedContainer, ObservedNetwork, ObservedVolume
from gitopsd.model.plan import EFFECTS, Action, CauseKind, Change, Effect, FieldChange
from gitopsd.plan import fields

How = Literal["none", "create", "start", "in_place", "start-first", "stop-first", "recreate", "promote", "remove"]
"""How a container gets to where it should be. `recreate`: gone before the new one is made, because a network under it is
replaced; `promote`: its replacement runs already and only needs the name."""

Key = tuple[str, str, int]


@dataclass(frozen=True)
class ContainerWork:
    change: Change
    how: How
    desired: DesiredContainer | None = None
    main: ObservedContainer | None = None
    """The one that answers now."""
    next: ObservedContainer | None = None
    """A replacement under way that is what is wanted."""
    attach: tuple[str, ...] = ()
    detach: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetworkWork:
    change: Change
    desired: DesiredNetwork | None = None
    observed: ObservedNetwork | None = None


@dataclass(frozen=True)
class VolumeWork:
    change: Change
    desired: DesiredVolume | None = None
    observed: ObservedVolume | None = None


@dataclass(frozen=True)
class HostWork:
    """`networks` in Desired's order, then those that go; the same for the others."""

    host: str
    containers: tuple[ContainerWork, ...] = ()
    networks: tuple[NetworkWork, ...] = ()
    volumes: tuple[VolumeWork, ...] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(work.change for work in (*self.networks, *self.volumes, *self.containers))


@dataclass(frozen=True)
class Before:
    """What was applied last to one host, for the causes; empty when nobody remembers."""

    containers: dict[Key, DesiredContainer]

    @classmethod
    def of(cls, previous: Desired | None, host: str) -> Before:
        return cls({container.key: container for container in previous.host(host).containers} if previous else {})


def diff_host(
    desired: HostDesired,
    observed: HostObserved,
    stacks: tuple[str, ...],
    jobs: frozenset[tuple[str, str]],
    before: Before,
    elsewhere: frozenset[tuple[str, str]],
    kept: frozenset[str] = frozenset(),
) -> HostWork:
    """The work on one host for `stacks`; `jobs`: services others wait for to complete; `elsewhere`: those wanted anywhere;
    `kept`: stacks of which nothing is removed."""
    networks = tuple(
        work for work in _networks(desired, observed, stacks) if work.change.action != "remove" or work.change.stack not in kept
    )
    replaced = {(work.change.stack, work.change.name) for work in networks if work.change.action == "replace"}
    volumes = tuple(work for work in _volumes(desired, observed, stacks) if work.desired or work.change.stack not in kept)
    containers = _containers(desired, observed, stacks, jobs, before, elsewhere, replaced)
    # with what must not go, all that would happen under its name: a container beside it might want its port
    left = {work.main.key for work in containers if work.main and work.change.stack in kept and _takes_away(work, observed)}
    containers = tuple(work for work in containers if _key(work) not in left)
    return HostWork(desired.host, containers, networks, volumes)


def _key(work: ContainerWork) -> Key:
    return (work.change.stack, work.change.service or "", work.change.replica)


def _takes_away(work: ContainerWork, observed: HostObserved) -> bool:
    """Whether a removal may be felt: of all but what a sync left that does not run, or that another runs in place of."""
    if work.how != "remove" or work.main is None:
        return False
    if work.change.cause == "leftover" and work.main.state != "running":
        return False
    beside = [item for item in observed.containers if item.key == work.main.key and item.id != work.main.id]
    return work.change.cause != "leftover" or not any(item.state == "running" and item.replaces is None for item in beside)


def _networks(desired: HostDesired, observed: HostObserved, stacks: tuple[str, ...]) -> tuple[NetworkWork, ...]:
    work: list[NetworkWork] = []
    ours = {network.spec.name: network for network in observed.networks if network.stack in stacks}
    for wanted in desired.networks:
        if wanted.stack not in stacks:
            continue
        change = Change(desired.host, wanted.stack, "network", wanted.spec.name, "same", "")
        found = ours.pop(wanted.spec.name, None)
        if found is None:
            work.append(NetworkWork(replace(change, action="create", reason="not there yet"), wanted))
            continue
        cause: CauseKind = "drift" if found.config == wanted.config else "git"
        changed = tuple(
            FieldChange(d.path, d.old, d.new, cause, "gap") for d in fields.differences(fields.NETWORK, found.spec, wanted.spec)
        )
        change = replace(change, id=found.id, generation=found.generation, fields=changed, cause=cause)
        if changed:
            reason = f"{_listed(changed)} changed; a network cannot change in place"
            change = replace(change, action="replace", reason=reason, effect="gap")
        work.append(NetworkWork(change, wanted, found))
    for name, found in sorted(ours.items()):
        change = Change(
            desired.host,
            found.stack or "",
            "network",
            name,
            "remove",
            "removed from Git",
            id=found.id,
            generation=found.generation,
        )
        work.append(NetworkWork(change, None, found))
    return tuple(work)


def _volumes(desired: HostDesired, observed: HostObserved, stacks: tuple[str, ...]) -> tuple[VolumeWork, ...]:
    work: list[VolumeWork] = []
    there = {volume.spec.name: volume for volume in observed.volumes}
    wanted_names = {wanted.spec.name for wanted in desired.volumes}
    for wanted in desired.volumes:
        if wanted.stack not in stacks:
            continue
        change = Change(desired.host, wanted.stack, "volume", wanted.spec.name, "same", "")
        found = there.get(wanted.spec.name)
        if found is None:
            work.append(VolumeWork(replace(change, action="create", reason="not there yet"), wanted))
            continue
        changed = tuple(
            FieldChange(d.path, d.old, d.new, "git", "none") for d in fields.differences(fields.VOLUME, found.spec, wanted.spec)
        )
        if changed and found.stack == wanted.stack:
            reason = f"kept as it is, with its data: {_listed(changed)} of a volume cannot change"
            change = replace(change, action="retain", reason=reason, fields=changed)
        work.append(VolumeWork(replace(change, generation=found.generation), wanted, found))
    for name, found in sorted(there.items()):
        if found.stack in stacks and name not in wanted_names:
            reason = "kept with all data, though Git names no such volume any more"
            change = Change(desired.host, found.stack or "", "volume", name, "retain", reason, generation=found.generation)
            work.append(VolumeWork(change, None, found))
    return tuple(work)


def _containers(
    desired: HostDesired,
    observed: HostObserved,
    stacks: tuple[str, ...],
    jobs: frozenset[tuple[str, str]],
    before: Before,
    elsewhere: frozenset[tuple[str, str]],
    replaced: set[tuple[str, str]],
) -> tuple[ContainerWork, ...]:
    work: list[ContainerWork] = []
    by_key: dict[Key, list[ObservedContainer]] = {}
    for container in observed.containers:
        if container.stack in stacks:
            by_key.setdefault(container.key, []).append(container)
    for wanted in desired.containers:
        if wanted.stack not in stacks:
            continue
        found = by_key.pop(wanted.key, [])
        context = _Context(
            desired.host, wanted, before.containers.get(wanted.key), (wanted.stack, wanted.service) in jobs, replaced
        )
        work.extend(_one(context, found))
    for key in sorted(by_key):
        found = sorted(by_key[key], key=lambda item: item.spec.name)
        work.extend(_leaving(desired.host, container, elsewhere) for container in found)
    return tuple(work)


@dataclass(frozen=True)
class _Context:
    host: str
    wanted: DesiredContainer
    before: DesiredContainer | None
    is_job: bool
    replaced_networks: set[tuple[str, str]]


def _one(context: _Context, found: list[ObservedContainer]) -> list[ContainerWork]:
    """The work for one wanted container, and for what a sync before left lying under its key."""
    wanted, name = context.wanted, context.wanted.spec.name
    main, waiting, rest = _sorted_out(found, name)
    change = Change(context.host, wanted.stack, "container", name, "same", "", wanted.service, wanted.replica, where=wanted.where)
    cascade = _cascade(context, main)
    fitting = waiting if waiting and not cascade and _fits(waiting, wanted) else None
    if fitting and main and not _differs(main, wanted):
        fitting = None  # nothing to replace any more
    if fitting and main is None and fitting.replaces:
        fitting = None  # it waits for the place of one that is gone: nobody can hand over to it
    unfit = [*rest, *([waiting] if waiting and not fitting else [])]
    leftovers = [_leftover(change, item) for item in unfit]

    if main:
        change = replace(change, id=main.id, generation=main.generation)
        return [_against(context, change, main, fitting, cascade), *leftovers]
    if fitting:
        change = replace(change, action="in_place", reason="its replacement runs and takes the name", cause="leftover")
        return [
            ContainerWork(replace(change, id=fitting.id, generation=fitting.generation), "promote", wanted, next=fitting),
            *leftovers,
        ]
    reason = "removed by hand" if context.before else "not there yet"
    change = replace(change, action="create", reason=reason, cause="drift" if context.before else "git")
    return [ContainerWork(change, "create", wanted), *leftovers]


def _cascade(context: _Context, main: ObservedContainer | None) -> tuple[FieldChange, ...]:
    """The networks under a container that are replaced, and so the container."""
    if main is None:
        return ()
    used = {item.network for item in (*context.wanted.spec.networks, *main.spec.networks)}
    return tuple(
        FieldChange(f"networks.{network}", "attached", "attached", "cascade", "gap", "the network is replaced")
        for network in sorted(used)
        if (context.wanted.stack, network) in context.replaced_networks
    )


def _against(
    context: _Context,
    change: Change,
    main: ObservedContainer,
    fitting: ObservedContainer | None,
    cascade: tuple[FieldChange, ...],
) -> ContainerWork:
    """A wanted container and the one that is there in its place."""
    wanted, is_up = context.wanted, main.state == "running"
    changed = _field_changes(context, main)
    if cascade or main.state == "dead":
        reason = "its network is replaced" if cascade else "dead"
        change = _with_fields(change, "replace", (*changed, *cascade), reason)
        return ContainerWork(replace(change, effect="gap" if is_up else "none"), "recreate", wanted, main)
    if any(_is_replacing(item.path, item) for item in changed):
        is_seamless = is_up and wanted.order == "start-first" and not context.is_job and not _ports_differ(changed)
        felt: Effect = "restart" if is_seamless else ("gap" if is_up else "none")
        shown = tuple(replace(item, effect=felt) if _is_replacing(item.path, item) else item for item in changed)
        change = replace(_with_fields(change, "replace", shown, f"{_listed(shown)} changed"), effect=felt)
        return ContainerWork(change, "start-first" if is_seamless else "stop-first", wanted, main, fitting)
    attach = tuple(item.path.split(".", 1)[1] for item in changed if item.path.startswith("networks.") and item.new is not None)
    detach = tuple(item.path.split(".", 1)[1] for item in changed if item.path.startswith("networks.") and item.new is None)
    stopped = _stopped(main, context.is_job)
    if stopped:
        change = _with_fields(
            change, "in_place", changed, "; ".join([stopped, *([f"{_listed(changed)} changed"] if changed else [])])
        )
        return ContainerWork(change, "start", wanted, main, None, attach, detach)
    if changed:
        change = _with_fields(change, "in_place", changed, f"{_listed(changed)} changed")
        return ContainerWork(change, "in_place", wanted, main, None, attach, detach)
    return ContainerWork(replace(change, reason=_remark(main)), "none", wanted, main)


def _field_changes(context: _Context, main: ObservedContainer) -> tuple[FieldChange, ...]:
    wanted = context.wanted
    asked = context.before.spec if context.before else main.said
    asked_for = {item.path for item in fields.differences(fields.CONTAINER, asked, wanted.spec)} if asked else None
    changed: list[FieldChange] = []
    for path, found in _differing(main, wanted).items():
        if found.field.change == "in_place" or not _comparable(main.config, wanted.config):
            was_asked = asked_for is not None and path not in asked_for
        else:
            was_asked = main.config == wanted.config
        cause: CauseKind = "drift" if was_asked else "git"
        detail = ""
        if path == "image" and not was_asked:
            cause, detail = _why_image(main, wanted)
        changed.append(FieldChange(path, found.old, found.new, cause, "none", detail))
    return tuple(changed)


def _why_image(main: ObservedContainer, wanted: DesiredContainer) -> tuple[CauseKind, str]:
    if wanted.spec.image.key:
        return "image", "built from its sources"
    if main.spec.image.reference == wanted.spec.image.reference:
        return "image", "the name means other bytes now"
    return "git", ""


def _sorted_out(
    found: list[ObservedContainer], name: str
) -> tuple[ObservedContainer | None, ObservedContainer | None, list[ObservedContainer]]:
    """The one that answers, the one that waits to, and the rest."""
    rest = sorted(found, key=lambda item: (item.spec.name, item.id))
    main = next((item for item in rest if item.spec.name == name), None)
    if main is None:  # renamed by hand: still the one, unless it is part of a replacement
        plain = [item for item in rest if not item.replaces and item.spec.name not in (f"{name}.next", f"{name}.old")]
        main = next((item for item in plain if item.state == "running"), plain[0] if plain else None)
    waiting = next((item for item in rest if item is not main and item.spec.name == f"{name}.next"), None)
    return main, waiting, [item for item in rest if item is not main and item is not waiting]


def _fits(waiting: ObservedContainer, wanted: DesiredContainer) -> bool:
    """Whether a replacement under way is what is wanted in all but its name."""
    return waiting.state in ("created", "running", "exited") and not any(path != "name" for path in _differing(waiting, wanted))


def _differs(container: ObservedContainer, wanted: DesiredContainer) -> bool:
    """Whether it would have to be replaced to be what is wanted."""
    return any(_is_replacing(path, change) for path, change in _differing(container, wanted).items())


def _differing(container: ObservedContainer, wanted: DesiredContainer) -> dict[str, fields.Difference]:
    is_known = bool(wanted.spec.image.key) and container.config == wanted.config
    found = fields.differences(fields.CONTAINER, container.spec, wanted.spec)
    return {item.path: item for item in found if not (item.path == "image" and is_known)}


def _is_replacing(path: str, change: fields.Difference | FieldChange) -> bool:
    if path.startswith("networks."):
        return change.old is not None and change.new is not None  # other aliases: not without a gap in place
    if path in ("mem_limit", "cpus") and change.new is None:
        return True  # to Docker's update a 0 means: as it was
    head = path.split(".", 1)[0]
    return next(field.change for field in fields.CONTAINER if field.path == head) == "replace"


def _ports_differ(changed: tuple[FieldChange, ...]) -> bool:
    """A transition moves the same ports; others need the old one gone."""
    return any(item.path == "ports" for item in changed)


def _stopped(container: ObservedContainer, is_job: bool) -> str:
    """Why it must be started, or nothing."""
    if container.state == "created":
        return "created but never started"
    if container.state != "exited" or (is_job and container.exit_code == 0):
        return ""
    return f"failed with exit code {container.exit_code}" if is_job else f"stopped (exit code {container.exit_code})"


def _remark(container: ObservedContainer) -> str:
    if container.health == "unhealthy":
        return "unhealthy"
    return container.state if container.state in ("restarting", "paused", "removing") else ""


def _leftover(change: Change, container: ObservedContainer) -> ContainerWork:
    reason = "left over from a sync that did not end"
    left = replace(
        change,
        name=container.spec.name,
        action="remove",
        reason=reason,
        cause="leftover",
        id=container.id,
        generation=container.generation,
    )
    return ContainerWork(left, "remove", None, container)


def _leaving(host: str, container: ObservedContainer, elsewhere: frozenset[tuple[str, str]]) -> ContainerWork:
    stack, service = container.stack or "", container.service or ""
    effect: Effect = "none"
    cause: CauseKind = "git"
    if (stack, service) in elsewhere:
        reason, cause = "no longer placed here", "placement"
    else:
        reason = "removed from Git"
        effect = "gap" if container.state == "running" else "none"
    change = Change(
        host,
        stack,
        "container",
        container.spec.name,
        "remove",
        reason,
        service,
        container.replica,
        cause=cause,
        effect=effect,
        id=container.id,
        generation=container.generation,
    )
    return ContainerWork(change, "remove", None, container)


def _with_fields(change: Change, action: Action, changed: tuple[FieldChange, ...], reason: str) -> Change:
    weights: tuple[CauseKind, ...] = ("git", "image", "cascade", "placement", "leftover", "drift")
    cause = min((item.cause for item in changed), key=weights.index, default="drift")
    effect = max((item.effect for item in changed), key=EFFECTS.index, default="none")
    return replace(change, action=action, fields=changed, reason=reason, cause=cause, effect=effect)


def _listed(changed: tuple[FieldChange, ...]) -> str:
    """`image, environment changed`, each once."""
    return ", ".join(dict.fromkeys(item.path.split(".", 1)[0] for item in changed))


def _comparable(observed: str, desired: str) -> bool:
    return observed.split(":", 1)[0] == desired.split(":", 1)[0]
