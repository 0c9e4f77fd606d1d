"""How every stack and host is.  [pure]

In: what is desired and observed, the plan between them, the revision each stack is at.  Out: `Status`.

Rule: sync and health are two facts. Synced: the hosts have what Git says, as far as they answer. Healthy: what is there is well, whatever
Git says. A stack of which no host answers is Unknown in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gitopsd.model.desired import Desired
from gitopsd.model.fleet import Fleet
from gitopsd.model.observed import HostObserved, Observed, ObservedContainer
from gitopsd.model.plan import Plan
from gitopsd.model.record import Applied
from gitopsd.model.status import Health, HostStatus, ServiceStatus, StackStatus, Status, SyncState
from gitopsd.model.words import counted

_SILENT = "the host does not answer"


class HealthOf(Protocol):
    """The verb of `observe/health.py`, handed in since rooms do not import each other."""

    def __call__(self, containers: tuple[ObservedContainer, ...], wanted: int, is_job: bool = False) -> tuple[Health, str]: ...


def make_status(
    fleet: Fleet,
    desired: Desired,
    observed: Observed,
    plan: Plan,
    applied: Mapping[str, Applied],
    health_of: HealthOf,
    at: str,
) -> Status:
    there = {item.stack for host in observed.hosts for item in host.containers if item.stack}
    names = sorted({*desired.stacks, *there})
    return Status(
        fleet=desired.fleet,
        stacks=tuple(_stack(name, desired, observed, plan, applied.get(name), health_of) for name in names),
        hosts=tuple(_host(host, fleet) for host in observed.hosts),
        at=at,
    )


def _stack(
    name: str, desired: Desired, observed: Observed, plan: Plan, applied: Applied | None, health_of: HealthOf
) -> StackStatus:
    services = _services(name, desired, observed, health_of)
    health: Health = "Unknown" if not services else "Healthy"
    for worse in ("Degraded", "Unknown", "Progressing"):
        if any(service.health == worse for service in services):
            health = worse
            break
    changes = [change for change in plan.changes if change.stack == name and change.action != "retain"]
    blocked = dict(plan.blocked).get(name)
    sync: SyncState = "OutOfSync" if changes or blocked or (applied is None and not services) else "Synced"
    if services and all(service.health == "Unknown" for service in services):
        sync = "Unknown"
    reasons = dict.fromkeys(
        f"host {service.host} does not answer" if service.message == _SILENT else f"{service.message} on {service.host}"
        for service in services
        if service.message
    )
    message = blocked or "; ".join(reasons) or (f"{counted(len(changes), 'change')} to apply" if changes else "")
    return StackStatus(name, sync, health, applied.revision.short if applied else "", services, message)


def _services(stack: str, desired: Desired, observed: Observed, health_of: HealthOf) -> tuple[ServiceStatus, ...]:
    jobs = {
        dependency.service
        for host in desired.hosts
        for container in host.containers
        if container.stack == stack
        for dependency in container.depends_on
        if dependency.condition == "service_completed_successfully"
    }
    found: list[ServiceStatus] = []
    for host in observed.hosts:
        wanted: dict[str, int] = {}
        images: dict[str, str] = {}
        for container in desired.host(host.host).containers:
            if container.stack == stack:
                wanted[container.service] = wanted.get(container.service, 0) + 1
                images[container.service] = container.spec.image.reference
        there: dict[str, list[ObservedContainer]] = {}
        for item in host.containers:
            if item.stack == stack and item.service:
                there.setdefault(item.service, []).append(item)
        for service in sorted({*wanted, *there}):
            containers = tuple(there.get(service, ()))
            image = images.get(service) or (containers[0].spec.image.reference if containers else "")
            running = sum(item.state == "running" and item.replaces is None for item in containers)
            asked = wanted.get(service, len(containers))
            if host.error is not None:
                found.append(ServiceStatus(service, host.host, running, asked, "Unknown", image, _SILENT))
                continue
            health, why = health_of(containers, asked, service in jobs)
            found.append(ServiceStatus(service, host.host, running, asked, health, image, why))
    return tuple(found)


def _host(host: HostObserved, fleet: Fleet) -> HostStatus:
    is_resting = any(known.name == host.host and known.maintenance for known in fleet.hosts)
    state = "Maintenance" if is_resting else "Unknown" if host.error is not None else "Ready"
    return HostStatus(host.host, state, host.error or "", host.facts.engine_version, len(host.containers))
