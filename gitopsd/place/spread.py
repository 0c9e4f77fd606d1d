"""Which hosts run which replicas of one stack.  [pure]

In: a Stack, the fleet's hosts, what was observed.  Out: each replica's host, and why; or errors, and then the stack stays as it is.

Rule 1: the same input gives the same output, in whatever order hosts are listed.
Rule 2: what runs stays where it is as long as it fits; a new host takes nothing away from another. What runs nowhere goes back to
where its volume is.
Rule 3: services with one replica each that share a network are placed on one host, since networks do not span hosts yet. What
then still needs a network between hosts is refused, never run without it.
Rule 4: a host that does not answer counts with what was last seen of it: what is there is not started elsewhere a second time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from gitopsd.model.constraint import parse_constraint
from gitopsd.model.errors import GitopsdError
from gitopsd.model.fleet import Host
from gitopsd.model.observed import HostObserved
from gitopsd.model.stack import Service, Stack

DEFAULT_NETWORK = "default"
_RUNNING_FIRST = ("running", "restarting", "paused")


@dataclass(frozen=True)
class Placement:
    service: str
    replica: int
    host: str
    reason: str


def spread(stack: Stack, hosts: Iterable[Host], observed: dict[str, HostObserved]) -> tuple[list[Placement], list[GitopsdError]]:
    """Where each replica of the stack belongs."""
    spreading = _Spreading(stack, sorted(hosts, key=lambda host: host.name), observed)
    spreading.run()
    return sorted(spreading.found, key=lambda each: (each.service, each.replica, each.host)), spreading.errors


class _Spreading:
    def __init__(self, stack: Stack, hosts: list[Host], observed: dict[str, HostObserved]) -> None:
        self.found: list[Placement] = []
        self.errors: list[GitopsdError] = []
        self._stack = stack
        self._hosts = {host.name: host for host in hosts}
        self._observed = observed
        self._fits = {service.name: self._fitting(service) for service in stack.services}

    def run(self) -> None:
        beside = self._joint()
        for service in self._stack.services:
            if not self._fits[service.name] and service.deploy.replicas:
                self._refuse_unfit(service)
            elif service.deploy.mode == "global":
                self._place_global(service)
            elif service.name in beside:
                host, names = beside[service.name]
                self._put(
                    service,
                    1,
                    host,
                    f"beside {', '.join(names)}, on one network" if self._is_new(service, host) else "stays where it is",
                )
            else:
                self._place_replicas(service)
        if not self.errors:
            self._refuse_spanning()

    def _fitting(self, service: Service) -> list[str]:
        """Hosts that may run the service, by name."""
        constraints = [parse_constraint(text) for text in (*self._stack.constraints, *service.deploy.constraints)]
        return [
            name
            for name, host in self._hosts.items()
            if (not self._stack.hosts or name in self._stack.hosts) and all(each.accepts(host) for each in constraints)
        ]

    def _refuse_unfit(self, service: Service) -> None:
        constraints = [*self._stack.constraints, *service.deploy.constraints]
        among = ", ".join(self._stack.hosts or self._hosts)
        asked = f" with {' and '.join(constraints)}" if constraints else ""
        message = f"no host fits {service.name}: none of {among}{asked}"
        self.errors.append(GitopsdError("no-host-fits", message, service.where, "change the constraints, or a host's labels"))

    def _place_global(self, service: Service) -> None:
        for name in self._fits[service.name]:
            if not self._hosts[name].maintenance or self._home(service, 1, name):
                self._put(service, 1, name, "global: on every host that fits")

    def _place_replicas(self, service: Service) -> None:
        fits = self._fits[service.name]
        counts = dict.fromkeys(fits, 0)
        homes = {replica: self._home_of(service, replica, fits) for replica in range(1, service.deploy.replicas + 1)}
        for replica, home in homes.items():
            if home:
                counts[home] += 1
                self._put(service, replica, home, "stays where it is")
        open_hosts = [name for name in fits if not self._hosts[name].maintenance]
        for replica in (replica for replica, home in homes.items() if not home):
            if not open_hosts:
                message = f"no host takes {service.name} now: {', '.join(fits)} in maintenance"
                self.errors.append(GitopsdError("no-host-fits", message, service.where, "it is placed when a host is back"))
                return
            host = min(
                open_hosts, key=lambda name: (counts[name], not self._has_volume(service, name), self._rank(service.name, name))
            )
            self._put(service, replica, host, self._why(service, host, fits, counts[host]))
            counts[host] += 1

    def _why(self, service: Service, host: str, fits: list[str], count: int) -> str:
        if len(fits) == 1:
            return "the only host that fits"
        if not count and self._has_volume(service, host):
            return "its volume is there"
        return f"fewest of {service.name} there ({count})"

    def _joint(self) -> dict[str, tuple[str, list[str]]]:
        """For services that have to be on one host: which, and the others. Of those placed one by one nothing."""
        found: dict[str, tuple[str, list[str]]] = {}
        for group in self._groups():
            fits = [name for name in self._hosts if all(name in self._fits[service.name] for service in group)]
            candidates = [
                name for name in fits if not self._hosts[name].maintenance or any(self._home(each, 1, name) for each in group)
            ]
            if (
                len(group) < 2
                or not candidates
                or any(each.deploy.mode == "global" or each.deploy.replicas != 1 for each in group)
            ):
                continue
            names = [service.name for service in group]
            host = min(candidates, key=lambda name: self._closeness(group, name))
            found.update({each: (host, [other for other in names if other != each]) for each in names})
        return found

    def _closeness(self, group: list[Service], host: str) -> tuple[int, int, str]:
        homes = sum(self._home(service, 1, host) for service in group)
        volumes = sum(self._has_volume(service, host) for service in group)
        return (-homes, -volumes, self._rank(group[0].name, host))

    def _groups(self) -> list[list[Service]]:
        """Services that networks join, directly or through others."""
        groups: list[list[Service]] = []
        for service in self._stack.services:
            keys = {attachment.network for attachment in service.networks}
            joined = [group for group in groups if any(keys & {item.network for item in each.networks} for each in group)]
            groups = [group for group in groups if group not in joined]
            groups.append(sorted([service, *(each for group in joined for each in group)], key=lambda each: each.name))
        return groups

    def _home(self, service: Service, replica: int, host: str) -> bool:
        """Whether this replica is on this host now."""
        seen = self._observed.get(host)
        key = (self._stack.name, service.name, replica)
        return seen is not None and any(container.key == key for container in seen.containers)

    def _home_of(self, service: Service, replica: int, fits: list[str]) -> str | None:
        """The host where the replica is; of several, after a partition, one where it runs."""
        homes = [name for name in fits if self._home(service, replica, name)]
        return min(homes, key=lambda name: (not self._runs(service, replica, name), name), default=None)

    def _runs(self, service: Service, replica: int, host: str) -> bool:
        key = (self._stack.name, service.name, replica)
        return any(each.key == key and each.state in _RUNNING_FIRST for each in self._observed[host].containers)

    def _is_new(self, service: Service, host: str) -> bool:
        return not self._home(service, 1, host)

    def _has_volume(self, service: Service, host: str) -> bool:
        seen = self._observed.get(host)
        names = {volume.key: volume.name for volume in self._stack.volumes}
        wanted = {names[mount.source] for mount in service.mounts if mount.kind == "volume" and mount.source in names}
        return seen is not None and any(each.spec.name in wanted for each in seen.volumes)

    def _rank(self, service: str, host: str) -> str:
        """Some order of the hosts, another for each service, so that not all begin with the same."""
        return hashlib.sha256(f"{self._stack.name}\0{service}\0{host}".encode()).hexdigest()

    def _put(self, service: Service, replica: int, host: str, reason: str) -> None:
        self.found.append(Placement(service.name, replica, host, reason))

    def _refuse_spanning(self) -> None:
        for network in self._stack.networks:
            members = {
                service.name: sorted({each.host for each in self.found if each.service == service.name})
                for service in self._stack.services
                if any(attachment.network == network.key for attachment in service.networks)
            }
            members = {name: hosts for name, hosts in members.items() if hosts}
            if self._spans(network.key, members):
                self._say_spanning(network.key, members)

    def _spans(self, key: str, members: dict[str, list[str]]) -> bool:
        if len({host for hosts in members.values() for host in hosts}) < 2:
            return False
        are_global = all(self._stack.service(name).deploy.mode == "global" for name in members)
        if len(members) == 1:
            # Alone in the network that it did not ask for, a service reaches nobody there; in one of its own it means to.
            return not are_global and key != DEFAULT_NETWORK
        return not are_global or len({tuple(hosts) for hosts in members.values()}) > 1

    def _say_spanning(self, key: str, members: dict[str, list[str]]) -> None:
        shown = [f"{name} on {', '.join(hosts)}" for name, hosts in sorted(members.items())]
        listed = f"{'; '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]
        message = f"networks do not span hosts yet: {listed} would need network {key} between these hosts"
        hint = "give each of them deploy.mode: global, so that every host has its own, or keep them on one host (placement.constraints)"
        first = self._stack.service(min(members))
        self.errors.append(GitopsdError("network-spans-hosts", message, first.where, hint))
