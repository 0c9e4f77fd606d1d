"""What a plan must not do unless a person says so, and what it cannot do.  [pure]

A stack that cannot be applied is *blocked*: it stays as it is and the others go on. A plan that would do much harm is
*refused* as a whole until a person lifts the guard by its code. Both are shown with the plan.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gitopsd.model.desired import BuildWant, Desired, DesiredContainer
from gitopsd.model.observed import HostObserved, Observed, ObservedContainer
from gitopsd.model.stack import Port
from gitopsd.plan.diff import HostWork

Refusal = tuple[str, str]


@dataclass(frozen=True)
class Limits:
    """A plan that removes more than `vanish_percent` of the fleet's containers is refused, if they are `vanish_floor` or more."""

    vanish_percent: int = 50
    vanish_floor: int = 3


DEFAULT_LIMITS = Limits()


def blocked_stacks(desired: Desired, observed: Observed, builds: tuple[BuildWant, ...], held: Collection[str]) -> dict[str, str]:
    """Stacks that cannot be applied as things are, and why, in one clause each. What a `held` stack has, nobody else gets."""
    found: dict[str, str] = {}
    for stack in desired.stacks:
        there = sum(container.stack == stack for host in observed.hosts for container in host.containers)
        wanted = sum(container.stack == stack for host in desired.hosts for container in host.containers)
        if there and not wanted:
            found[stack] = (
                f"it renders no service, and {there} containers of it run; remove the stack from the fleet file to remove them"
            )
    keys = {build.key for build in builds}
    for wanted_host in desired.hosts:
        for container in wanted_host.containers:
            image = container.spec.image
            if image.digest is None and image.key not in keys:
                found.setdefault(container.stack, f"nobody has the image {image.reference} of service {container.service}")
        observed_host = next((host for host in observed.hosts if host.host == wanted_host.host), None)
        if observed_host is None or not observed_host.is_reachable:
            continue
        for container in wanted_host.containers:
            clash = _clash(container, observed_host, wanted_host.containers, held)
            if clash:
                found.setdefault(container.stack, f"host {wanted_host.host}: {clash}")
        for network in wanted_host.networks:
            taken = next((item for item in observed_host.networks if item.spec.name == network.spec.name), None)
            if taken and taken.stack != network.stack:
                found.setdefault(
                    network.stack, f"host {wanted_host.host}: network {network.spec.name} belongs to {_owner(taken.stack)}"
                )
    return found


def renamed_perhaps(desired: Desired, observed: Observed, held: Collection[str]) -> dict[str, str]:
    """Stacks that left Git while a stack that nobody has seen yet cannot be applied."""
    there = {item.stack for host in observed.hosts for item in (*host.containers, *host.networks) if item.stack}
    waiting = sorted(set(held) & set(desired.stacks) - there)
    if not waiting:
        return {}
    why = f"removed from Git, but {waiting[0]}, which is new there, cannot be applied and may be this stack under another name"
    return dict.fromkeys(there - set(desired.stacks), f"{why}; it goes when {waiting[0]} is applied, or gone from Git")


def _clash(
    wanted: DesiredContainer, host: HostObserved, others: tuple[DesiredContainer, ...], held: Collection[str]
) -> str | None:
    name = wanted.spec.name
    for container in host.containers:
        if container.spec.name in (name, f"{name}.next", f"{name}.old") and container.key != wanted.key:
            return f"the name {container.spec.name} is taken by a container of {_owner(container.stack)}"
    asked = {(port.protocol, port.published): port for port in wanted.spec.ports if port.published}
    for other in others:
        for port in other.spec.ports:
            if (
                other.key != wanted.key
                and (port.protocol, port.published) in asked
                and _meet(port, asked[port.protocol, port.published])
            ):
                return f"port {port.published}/{port.protocol} is asked for by {name} and {other.spec.name}"
    goes_on = {other.key for other in others if other.stack == wanted.stack}
    for container in host.containers:
        stays = container.stack is None or (container.stack in held and container.key not in goes_on)
        if stays and container.state == "running":
            for port in container.spec.ports:
                if (port.protocol, port.published) in asked and _meet(port, asked[port.protocol, port.published]):
                    taken = f"port {port.published}/{port.protocol} is taken by container {container.spec.name}"
                    return f"{taken} of {_owner(container.stack)}"
    return None


def _meet(one: Port, other: Port) -> bool:
    every = ("", "0.0.0.0", "::")  # noqa: S104  the words for all addresses, not a place to listen at
    return one.host_ip == other.host_ip or one.host_ip in every or other.host_ip in every


def _owner(stack: str | None) -> str:
    return f"stack {stack}" if stack else "nobody in this fleet"


def foreign_users(work: HostWork, observed: HostObserved) -> dict[str, str]:
    """Stacks whose network would have to go while containers use it that are not theirs, or stay as they are."""
    found: dict[str, str] = {}
    touched = {item.id for each in work.containers for item in (each.main, each.next) if item}
    for network in work.networks:
        if network.change.action not in ("replace", "remove"):
            continue
        using = [item for item in observed.containers if _uses(item, network.change.name)]
        users = [item for item in using if item.stack != network.change.stack or item.id not in touched]
        if users:
            names = ", ".join(item.spec.name for item in users)
            found[network.change.stack] = f"host {work.host}: network {network.change.name} cannot go while {names} uses it"
    return found


def _uses(container: ObservedContainer, network: str) -> bool:
    return any(item.network == network for item in container.spec.networks)


def refusals(works: tuple[HostWork, ...], observed: Observed, limits: Limits) -> tuple[Refusal, ...]:
    """Guards that stand in the way of the whole plan."""
    found: list[Refusal] = []
    total = sum(container.stack is not None for host in observed.hosts for container in host.containers)
    gone = [
        work.change for host in works for work in host.containers if work.change.action == "remove" and work.change.cause == "git"
    ]
    if len(gone) >= limits.vanish_floor and len(gone) * 100 > total * limits.vanish_percent:
        found.append(("mass-removal", f"{len(gone)} of {total} containers would go; is the fleet file whole?"))
    lost = [work.change for host in works for work in host.volumes if work.change.effect == "data_loss"]
    if lost:
        names = ", ".join(f"{change.name} on {change.host}" for change in lost)
        found.append(("data-loss", f"the data of {names} would be lost"))
    return tuple(found)
