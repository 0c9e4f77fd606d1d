"""Put a plan together.  [pure]

In: what is desired and observed, what was applied last, the time.  Out: a Plan: data, to be shown, stored and applied.

Rule 1: a stack that is held, or a host that did not answer, has no change and no step, only a line that says so.
Rule 2: a stack that is blocked loses nothing that is there. What was applied last may be healed, but what that does not name stays.
Rule 3: a stack that left Git stays while one that is new there is blocked: it may be the same under a new name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import fields, replace

from gitopsd.model.codec import digest_of
from gitopsd.model.desired import BuildWant, Desired
from gitopsd.model.observed import Observed
from gitopsd.model.plan import Plan
from gitopsd.model.revision import RevisionName
from gitopsd.plan.diff import Before, HostWork, diff_host
from gitopsd.plan.guard import DEFAULT_LIMITS, Limits, blocked_stacks, foreign_users, refusals, renamed_perhaps
from gitopsd.plan.order import order


def plan(
    desired: Desired,
    observed: Observed,
    now: str,
    revision: RevisionName | None = None,
    builds: tuple[BuildWant, ...] = (),
    blocked: tuple[tuple[str, str], ...] = (),
    previous: Desired | None = None,
    limits: Limits = DEFAULT_LIMITS,
    notes: tuple[str, ...] = (),
) -> Plan:
    """The plan that makes `observed` what is `desired`.

    `blocked`: stacks that Git cannot have its way with, and why; those in `desired.held` are left alone, others are desired as they were
    before. `previous` is what was applied last: it only tells drift from Git. `notes`: what else to say with it.
    """
    jobs = frozenset(
        (container.stack, dependency.service)
        for host in desired.hosts
        for container in host.containers
        for dependency in container.depends_on
        if dependency.condition == "service_completed_successfully"
    )
    reasons = {item.name: "\n".join(item.errors) for item in desired.blocked} | dict(blocked)
    held = {stack: reasons.get(stack, "held") for stack in desired.held}
    kept = frozenset(reasons)
    while True:  # what one stack cannot give up, another may not get
        works = _works(desired, observed, held, kept, jobs, previous)
        found = blocked_stacks(desired, observed, builds, held.keys() | kept)
        found |= renamed_perhaps(desired, observed, held.keys() | kept)
        for work in works:
            found |= foreign_users(work, observed.host(work.host))
        if found.keys() <= held.keys():
            break
        held = found | held

    steps = order(works, observed, builds, jobs)
    changes = tuple(change for work in works for change in work.changes)
    drawn = Plan(
        id="",
        fleet=desired.fleet,
        revision=revision,
        created_at=now,
        changes=tuple(change for change in changes if change.action != "same"),
        steps=steps,
        builds=tuple(step.build for step in steps if step.build),
        etags=tuple((host.host, host.etag) for host in observed.hosts if host.is_reachable),
        unknown=tuple((host.host, host.error) for host in observed.hosts if host.error is not None),
        blocked=tuple(sorted((reasons | held).items())),
        refused=refusals(works, observed, limits),
        notes=(*notes, *_notes(works, observed)),
        unchanged=sum(change.action == "same" for change in changes),
    )
    return replace(drawn, id=id_of(drawn))


def only(whole: Plan, stacks: Collection[str]) -> Plan:
    """The part of a plan that is about `stacks`."""
    steps = tuple(step for step in whole.steps if step.stack in stacks)
    numbers = {step.number for step in steps}
    part = replace(
        whole,
        changes=tuple(change for change in whole.changes if change.stack in stacks),
        steps=tuple(replace(step, after=tuple(number for number in step.after if number in numbers)) for step in steps),
        builds=tuple(step.build for step in steps if step.build),
    )
    return replace(part, id=id_of(part))


def id_of(plan: Plan) -> str:
    """docs/formats.md, plan, version 1."""
    return digest_of(
        {field.name: getattr(plan, field.name) for field in fields(plan) if field.name not in ("id", "created_at")}, 12
    )


def _works(
    desired: Desired,
    observed: Observed,
    held: Collection[str],
    kept: frozenset[str],
    jobs: frozenset[tuple[str, str]],
    previous: Desired | None,
) -> tuple[HostWork, ...]:
    there = {item.stack for host in observed.hosts for item in (*host.containers, *host.networks, *host.volumes) if item.stack}
    stacks = tuple(sorted((there | set(desired.stacks)) - set(held)))
    wanted = frozenset((container.stack, container.service) for host in desired.hosts for container in host.containers)
    return tuple(
        diff_host(desired.host(host.host), host, stacks, jobs, Before.of(previous, host.host), wanted, kept)
        for host in observed.hosts
        if host.is_reachable
    )


def _notes(works: tuple[HostWork, ...], observed: Observed) -> tuple[str, ...]:
    notes = [
        f"container {work.change.name} on {work.change.host} is {work.change.reason}"
        for host in works
        for work in host.containers
        if work.change.action == "same" and work.change.reason
    ]
    strangers = Counter(host.host for host in observed.hosts for item in host.containers if item.stack is None)
    notes += [
        f"host {host}: {count} {'container is' if count == 1 else 'containers are'} not of this fleet and left alone"
        for host, count in sorted(strangers.items())
    ]
    return tuple(notes)
