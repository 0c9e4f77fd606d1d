"""Who is called what, and who can see whom.  [pure]

In: what each endpoint answers to.  Out: answers for the container that asks. A `Names` is frozen and replaced whole, so the resolver
sees a transition before or after it, never half way.

- A name is found in the networks that the asking container belongs to, in the order of connection, and may carry the network's name behind it
  (`web.front`), as Docker has it.
- Several addresses are all given; who answers turns them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Member:
    """An endpoint and the names that lead to it; the first is the one that its address is called back."""

    container: str
    address: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """One network: what its members may ask."""

    name: str
    is_internal: bool
    subnet: ipaddress.IPv4Network
    addresses: Mapping[str, tuple[str, ...]]
    """By name in lower case, in the order of the members."""
    names: Mapping[str, str]
    """By address."""


@dataclass(frozen=True)
class Names:
    """`views` by network id; `networks` says which networks a container belongs to, in the order of connection."""

    views: Mapping[str, View] = field(default_factory=dict[str, View])
    networks: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def with_network(self, identifier: str, view: View) -> Names:
        return replace(self, views={**self.views, identifier: view})

    def without_network(self, identifier: str) -> Names:
        return replace(self, views={key: view for key, view in self.views.items() if key != identifier})

    def with_container(self, container: str, networks: tuple[str, ...]) -> Names:
        return replace(self, networks={**self.networks, container: networks})

    def without_container(self, container: str) -> Names:
        return replace(self, networks={key: found for key, found in self.networks.items() if key != container})

    def addresses(self, container: str, name: str) -> tuple[str, ...]:
        """The addresses of a name, empty when nobody is called that."""
        asked = name.rstrip(".").lower()
        for view in self._views(container):
            found = view.addresses.get(asked)
            if found:
                return found
        for view in self._views(container):
            behind = f".{view.name.lower()}"
            if asked.endswith(behind):
                found = view.addresses.get(asked[: -len(behind)])
                if found:
                    return found
        return ()

    def name_of(self, container: str, address: str) -> str:
        """What an address is called, with its network's name behind it; empty when it is nobody's."""
        for view in self._views(container):
            if address in view.names:
                return f"{view.names[address]}.{view.name}"
        return ""

    def is_inside(self, container: str, address: str) -> bool:
        """Whether an address belongs to one of the container's networks, whoever has it."""
        return any(ipaddress.IPv4Address(address) in view.subnet for view in self._views(container))

    def has_outside(self, container: str) -> bool:
        """Whether a look-up may leave the host: only for a container that itself can (CVE-2024-29018)."""
        return any(not view.is_internal for view in self._views(container))

    def _views(self, container: str) -> Iterable[View]:
        return (self.views[network] for network in self.networks.get(container, ()) if network in self.views)


def view(name: str, is_internal: bool, subnet: str, members: Iterable[Member]) -> View:
    addresses: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}
    for member in members:
        for called in member.names:
            known = addresses.get(called.lower(), ())
            if member.address not in known:
                addresses[called.lower()] = (*known, member.address)
        if member.names:
            names[member.address] = member.names[0]
    return View(name, is_internal, ipaddress.IPv4Network(subnet), addresses, names)
