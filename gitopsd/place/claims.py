"""What there can be only one of on a host: a published port, a name.  [pure]

In: what stacks want, and what is there and stays.  Out: for each stack that cannot have what it wants, why, naming both places.

Rule 1: who has it keeps it: what is not ours, then stacks that are held, then the stack that runs with it now.
Rule 2: of two stacks that ask for the same at once the first by name gets it, so that the other alone is blocked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gitopsd.model.desired import HostDesired
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.observed import HostObserved
from gitopsd.model.stack import Port

_HOLDS_PORTS = ("running", "restarting", "paused")


@dataclass(frozen=True)
class Claim:
    what: str
    """`port 80/tcp`, `volume shop_data`."""
    ip: str
    """Of a port: the address it is for; empty for all."""
    stack: str | None
    """None: nobody of this fleet."""
    owner: str
    """For people: `service web of shop`."""
    where: Where = Where()

    def meets(self, other: Claim) -> bool:
        return self.what == other.what and (not self.ip or not other.ip or self.ip == other.ip)


def conflicts(
    hosts: Iterable[HostDesired], seen: Mapping[str, HostObserved], held: frozenset[str]
) -> list[tuple[str, GitopsdError]]:
    """Stacks that want what another has or gets on a host, and the error."""
    wanted = {host.host: list(_wanted(host)) for host in hosts}
    has = {(claim.stack, claim.what) for host in seen.values() for claim in _there(host)}
    found: list[tuple[str, GitopsdError]] = []
    for host, claims in wanted.items():
        there = _there(seen[host]) if host in seen else ()
        taken = [claim for claim in there if claim.stack is None or claim.stack in held]
        for claim in sorted(
            claims, key=lambda each: ((each.stack, each.what) not in has, each.stack or "", each.owner, each.what)
        ):
            other = next((each for each in taken if each.meets(claim) and each.owner != claim.owner), None)
            if other:
                found.append((claim.stack or "", _error(claim, other, host, held)))
            else:
                taken.append(claim)
    return found


def _error(claim: Claim, other: Claim, host: str, held: frozenset[str]) -> GitopsdError:
    place = f" ({other.where.file}:{other.where.line})" if other.where.file else ""
    message = f"{claim.what} for {claim.owner} is taken on host {host} by {other.owner}{place}"
    is_left_alone = other.stack is None or other.stack in held
    whose = "it is not of this fleet" if other.stack is None else f"stack {other.stack} is held"
    code = "port-taken" if claim.what.startswith("port") else "name-taken"
    return GitopsdError(code, message, claim.where, f"{whose}, so it is left as it is" if is_left_alone else None)


def _wanted(host: HostDesired) -> Iterable[Claim]:
    for each in host.containers:
        owner = f"service {each.service} of {each.stack}" + (f", replica {each.replica}" if each.replica > 1 else "")
        yield Claim(f"name {each.spec.name}", "", each.stack, owner, each.where)
        for port in each.spec.ports:
            if port.published:
                yield Claim(_port(port), port.host_ip, each.stack, owner, each.ports_at if each.ports_at.line else each.where)
    for network in host.networks:
        yield Claim(f"network {network.spec.name}", "", network.stack, f"stack {network.stack}")
    for volume in host.volumes:
        yield Claim(f"volume {volume.spec.name}", "", volume.stack, f"stack {volume.stack}")


def _there(seen: HostObserved) -> Iterable[Claim]:
    for each in seen.containers:
        owner = f"container {each.spec.name}"
        yield Claim(f"name {each.spec.name}", "", each.stack, owner)
        for port in each.spec.ports if each.state in _HOLDS_PORTS else ():
            if port.published:
                yield Claim(_port(port), port.host_ip, each.stack, owner)
    for network in seen.networks:
        yield Claim(f"network {network.spec.name}", "", network.stack, "a network that is there")
    for volume in seen.volumes:
        yield Claim(f"volume {volume.spec.name}", "", volume.stack, "a volume that is there")


def _port(port: Port) -> str:
    return f"port {port.published}/{port.protocol}"
