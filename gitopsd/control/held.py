"""Stacks that cannot have what Git says now stay at their last good revision.  [pure]

In: what is desired, what was applied last, the revisions that are known to fail.  Out: what is desired with those stacks as they were applied
last, and why. So their drift is still healed, and a broken file of one stack is nobody else's trouble. What was never
applied is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gitopsd.model.desired import Desired, HostDesired
from gitopsd.model.record import BadRevision

Blocked = tuple[tuple[str, str], ...]


def hold_back(desired: Desired, previous: Desired | None, bad: Iterable[BadRevision], commit: str) -> tuple[Desired, Blocked]:
    """The stacks of `desired.held`, and those that failed at this `commit`."""
    reasons = {item.name: "\n".join(item.errors) for item in desired.blocked}
    for item in bad:
        if item.commit == commit and item.stack in desired.stacks:
            reasons[item.stack] = f"failed at this commit: {item.why}; it waits for another, or for: gitopsd sync"
    known = set(previous.stacks) if previous else set[str]()
    asked_before = {stack for stack in reasons if stack in known}
    hosts = tuple(_host(host, previous, asked_before, set(reasons)) for host in desired.hosts)
    held = (set(desired.held) | set(reasons)) - asked_before
    return replace(desired, hosts=hosts, held=tuple(sorted(held)), blocked=()), tuple(sorted(reasons.items()))


def _host(host: HostDesired, previous: Desired | None, asked_before: set[str], out: set[str]) -> HostDesired:
    before = previous.host(host.host) if previous else HostDesired(host.host)
    return HostDesired(
        host.host,
        (*(c for c in host.containers if c.stack not in out), *(c for c in before.containers if c.stack in asked_before)),
        (*(n for n in host.networks if n.stack not in out), *(n for n in before.networks if n.stack in asked_before)),
        (*(v for v in host.volumes if v.stack not in out), *(v for v in before.volumes if v.stack in asked_before)),
    )
