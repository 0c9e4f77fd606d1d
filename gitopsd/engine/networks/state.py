"""What there is: networks, the containers in them, what each has.  In memory; nothing here asks the kernel or the disk.

`State` belongs to `Networks`, which has the lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from socket import socket
from typing import Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.kernel.netlink.connection import Netlink
from gitopsd.engine.networks import names
from gitopsd.engine.networks.allocate import Claim
from gitopsd.engine.networks.endpoint import Endpoint
from gitopsd.engine.networks.network import Network
from gitopsd.engine.networks.ruleset import ANY, Port, Published


@dataclass
class Member:
    """A container. `is_serving`: it has its ports and its services' names, not only its own."""

    container: str
    name: str
    is_serving: bool = True
    endpoints: list[Endpoint] = field(default_factory=list[Endpoint])
    """In the order of connection."""
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict[str, "tuple[str, ...]"])
    """By network id."""
    ports: tuple[Port, ...] = ()
    route: Optional[Netlink] = None
    netfilter: Optional[Netlink] = None
    """Sockets in its namespace, from when it is attached."""
    is_attached: bool = False
    resolver: tuple[socket, ...] = ()
    """The sockets for look-ups, UDP and TCP; whoever answers them owns them."""

    def hold(self, sockets: Mapping[str, socket]) -> None:
        """Take the sockets over; a container without a namespace of its own has none."""
        if "route" in sockets:
            self.route, self.netfilter = Netlink(sockets["route"]), Netlink(sockets["netfilter"])
            self.resolver = (sockets["dns-udp"], sockets["dns-tcp"])

    def close(self) -> None:
        for held in (self.route, self.netfilter):
            if held is not None:
                held.close()


class State:
    def __init__(self) -> None:
        self.networks: dict[str, Network] = {}
        """By id."""
        self.members: dict[str, Member] = {}
        """By container id."""
        self.active: set[str] = set()
        """Ids of the networks that have a bridge."""
        self.leaving: set[str] = set()
        """Ids of endpoints whose container has ended and whose veth is being deleted."""
        self.names = names.Names()

    def find(self, reference: str) -> Network:
        """By id, name, or an unmistakable beginning of an id."""
        if reference in self.networks:
            return self.networks[reference]
        for network in self.networks.values():
            if reference == network.name:
                return network
        found = [network for identifier, network in self.networks.items() if reference and identifier.startswith(reference)]
        if len(found) > 1:
            raise ApiError(400, f"network {reference} is ambiguous ({len(found)} matches found on its id)")
        if not found:
            raise ApiError(404, f"network {reference} not found")
        return found[0]

    def member(self, container: str) -> Member:
        """A container that runs; ApiError 409 `not-running` for any other."""
        found = self.members.get(container)
        if found is None:
            raise ApiError(409, f"container {container[:12]} is not running", "not-running")
        return found

    def inside(self, network: Network) -> Iterator[tuple[Member, Endpoint]]:
        """Who is in a network."""
        for member in self.members.values():
            for endpoint in member.endpoints:
                if endpoint.network == network.id:
                    yield member, endpoint

    def endpoints(self) -> Iterator[Endpoint]:
        return (endpoint for member in self.members.values() for endpoint in member.endpoints)

    def claims(self) -> list[Claim]:
        """What the networks claim of the address space."""
        return [Claim(network.subnet, f"network {network.name}") for network in self.networks.values() if network.is_bridge]

    def outlet(self, member: Member) -> Optional[Endpoint]:
        """The endpoint by which a container reaches the world, and the world its ports: in the first network with an outside."""
        return next((endpoint for endpoint in member.endpoints if not self.networks[endpoint.network].is_internal), None)

    def published_by(self, member: Member) -> list[Published]:
        outlet = self.outlet(member)
        if outlet is None or not member.is_serving:
            return []
        return [Published(port, outlet.address) for port in member.ports]

    def published(self) -> list[Published]:
        return [item for member in self.members.values() for item in self.published_by(member)]

    def holder_of(self, port: Port) -> str:
        """The container that has a port, or one that cannot be had beside it; empty when it is nobody's."""
        for member in self.members.values():
            for other in member.ports:
                if (other.protocol, other.host_port) == (port.protocol, port.host_port) and (
                    other.host_address == port.host_address or ANY in (other.host_address, port.host_address)
                ):
                    return member.name
        return ""

    def view(self, network: Network) -> names.View:
        """What may be looked up in a network."""
        found: list[names.Member] = []
        for member, endpoint in self.inside(network) if network.has_names else ():
            if member.is_attached:
                aliases = member.aliases.get(network.id, ()) if member.is_serving else ()
                called = (member.name, *aliases, member.container[:12])
                found.append(names.Member(member.container, endpoint.address, called))
        return names.view(network.name, network.is_internal, network.subnet, found)

    def show(self, networks: Iterable[str], *members: Member) -> None:
        """Let look-ups see these networks and containers as they are now, all of it at once."""
        shown = self.names
        for member in members:
            if member.container in self.members:
                shown = shown.with_container(member.container, tuple(endpoint.network for endpoint in member.endpoints))
            else:
                shown = shown.without_container(member.container)
        for identifier in set(networks):
            if identifier in self.networks:
                shown = shown.with_network(identifier, self.view(self.networks[identifier]))
            else:
                shown = shown.without_network(identifier)
        self.names = shown
