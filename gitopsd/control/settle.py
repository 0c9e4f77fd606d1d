"""What a sync leaves behind: in the store, and on the hosts what the store must not be alone to know.

A stack is *at* a revision when all that it asked for was done, or nothing had to be done. A revision is *bad* for a stack when a step
failed for a reason that will not go away by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from gitopsd.apply.intent import forget, write_applied, write_bad
from gitopsd.hosts.engineapi import EngineApi
from gitopsd.model.desired import Desired, DesiredContainer
from gitopsd.model.errors import GitopsdError
from gitopsd.model.outcome import Images, Outcome
from gitopsd.model.plan import Plan
from gitopsd.model.record import Applied, BadRevision
from gitopsd.store import Store


def settle(
    store: Store,
    engine: Callable[[str], EngineApi],
    desired: Desired,
    whole: Plan,
    outcome: Outcome,
    images: Images,
    at: str,
) -> None:
    """`whole` is the plan for all of `desired`; the outcome may be about a part of it."""
    plan = outcome.plan
    revision = plan.revision
    if revision is None:
        return
    known = with_digests(desired, images)
    applied, before = store.applied(), store.previous()
    untouched = {change.stack for change in whole.changes if change.action != "retain"} - {step.stack for step in plan.steps}
    results: dict[str, list[str]] = {stack: [] for stack in desired.stacks}
    failed: dict[str, str] = {}
    hosts: dict[str, set[str]] = {}
    for step, ended in zip(plan.steps, outcome.steps, strict=True):
        results.setdefault(step.stack, []).append(ended.result)
        if step.host:
            hosts.setdefault(step.stack, set()).add(step.host)
        if ended.result == "failed" and ended.next == "stall":
            failed.setdefault(step.stack, ended.error or "")
    blocked = dict(plan.blocked)
    for stack, ended in results.items():
        places = sorted(hosts.get(stack, ()))
        if stack in failed:
            bad = BadRevision(stack, revision.commit, _reason(failed[stack]), at)
            store.mark_bad(bad)
            every = tuple(item for item in store.bad_revisions() if item.stack == stack)
            _on(places, engine, lambda api, stack=stack, every=every: write_bad(api, stack, every))
        elif any(result != "succeeded" for result in ended) or stack in blocked or stack in untouched:
            continue
        elif stack not in desired.stacks:
            store.forget(stack)
            _on(places, engine, lambda api, stack=stack: forget(api, stack))
        else:
            is_new = stack not in applied or applied[stack].revision != revision
            if is_new or _slice(before, stack) != _slice(known, stack):
                store.set_applied(Applied(stack, revision, at), known)
            if ended:
                store.clear_bad(stack)
                now_at = Applied(stack, revision, at)
                _on(places, engine, lambda api, now_at=now_at: write_applied(api, now_at))


def _on(hosts: list[str], engine: Callable[[str], EngineApi], write: Callable[[EngineApi], None]) -> None:
    """Best effort: the store knows it, and the next sync that changes something writes it again."""
    for host in hosts:
        with suppress(GitopsdError):
            write(engine(host))


def _reason(error: str) -> str:
    """The clause of an error's text that says what was wrong."""
    lines = error.splitlines()
    return lines[1].strip() if len(lines) > 1 else error


def with_digests(desired: Desired, images: Images) -> Desired:
    """With the bytes of what was built now, so that the stack can be brought back to exactly this later."""

    def known(container: DesiredContainer) -> DesiredContainer:
        image = container.spec.image
        digest = image.digest or images.digest(image.key)
        return replace(container, spec=replace(container.spec, image=replace(image, digest=digest)))

    hosts = tuple(replace(host, containers=tuple(known(container) for container in host.containers)) for host in desired.hosts)
    return replace(desired, hosts=hosts)


def _slice(desired: Desired | None, stack: str) -> list[object]:
    if desired is None:
        return []
    return [
        (host.host, item)
        for host in desired.hosts
        for item in (*host.containers, *host.networks, *host.volumes)
        if item.stack == stack
    ]
