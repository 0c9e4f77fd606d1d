"""The networks there are: made, found, removed, kept on disk.

Rule: a record is durable before the kernel shows the network, and gone before the kernel forgets it; a crash between leaves what the next start
makes right.

Not thread-safe; `Networks` has the lock.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Callable

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.networks import read_network
from gitopsd.dockerapi.values import Json
from gitopsd.engine.networks import allocate
from gitopsd.engine.networks.host import Host
from gitopsd.engine.networks.network import PREDEFINED, Network
from gitopsd.engine.networks.state import State
from gitopsd.engine.networks.store import NetworkStore

_KERNEL_ID = 6  # characters of an id that a bridge's name has room for


class Catalogue:
    """`block` is where subnets are taken from."""

    def __init__(
        self, folder: str, state: State, host: Host, now: Callable[[], str], block: str, new_id: Callable[[], str]
    ) -> None:
        self._store = NetworkStore(folder)
        self._state, self._host = state, host
        self._now, self._new_id = now, new_id
        self.block = block

    def load(self) -> None:
        """Read all records, and make those of the predefined networks that are missing."""
        self._state.networks.update((network.id, network) for network in self._store.load())
        for name, driver in PREDEFINED.items():
            if any(network.name == name for network in self._state.networks.values()):
                continue
            what = f"create network {name}"
            subnet = (
                allocate.choose_subnet(what, self.block, self._state.claims(), self._host.claims()) if driver == "bridge" else ""
            )
            gateway = allocate.choose_gateway(what, subnet, "") if subnet else ""
            self._add(Network(self._make_id(), name, driver, self._now(), subnet, gateway))

    def create(self, what: str, body: Json) -> Network:
        request = read_network(body)
        if request.name in PREDEFINED:
            raise ApiError(403, f"{what}: the name belongs to a predefined network")
        if any(network.name == request.name for network in self._state.networks.values()):
            raise ApiError(409, f"{what}: network with name {request.name} already exists")
        claims, routes = self._state.claims(), self._host.claims()
        if request.subnet:
            subnet = allocate.check_subnet(what, request.subnet, claims, routes)
        else:
            subnet = allocate.choose_subnet(what, self.block, claims, routes)
        network = Network(
            id=self._make_id(),
            name=request.name,
            driver="bridge",
            created=self._now(),
            subnet=subnet,
            gateway=allocate.choose_gateway(what, subnet, request.gateway),
            is_internal=request.is_internal,
            mtu=request.mtu,
            labels=request.labels,
            create=body,
        )
        self._add(network)
        try:
            return self.activate(what, network)
        except BaseException:
            del self._state.networks[network.id]
            self._store.remove(network)
            raise

    def remove(self, what: str, network: Network) -> None:
        if network.is_predefined:
            raise ApiError(403, f"{what}: it is a predefined network and cannot be removed")
        users = sorted(member.name for member, _ in self._state.inside(network))
        if users:
            raise ApiError(403, f"{what}: network {network.name} has active endpoints: {', '.join(users)}")
        self._store.remove(network)
        del self._state.networks[network.id]
        self._state.show([network.id])
        self._host.deactivate(network)

    def activate(self, what: str, network: Network) -> Network:
        """The network, with its bridge; the default one with other addresses if somebody took them before it was ever used."""
        if network.id not in self._state.active:
            if network.is_predefined and any(allocate.meets(network.subnet, claim) for claim in self._host.claims()):
                network = self._readdress(what, network, self.block)
            self._host.activate(what, network)
            self._state.show([network.id])
        return network

    def set_block(self, block: str) -> None:
        """Take addresses from another block from now on. ApiError 409 while networks in the old one are in use."""
        what = f"set the address block to {block}"
        if block == self.block:
            return
        old = ipaddress.IPv4Network(self.block)
        inside = [n for n in self._state.networks.values() if n.is_bridge and ipaddress.IPv4Network(n.subnet).subnet_of(old)]
        used = sorted(network.name for network in inside if not network.is_predefined or any(self._state.inside(network)))
        if used:
            raise ApiError(409, f"{what}: the old block {self.block} is in use by {', '.join(used)}", "host-belongs-to")
        for network in inside:
            if network.id in self._state.active:
                self._host.deactivate(network)
            self._readdress(what, network, block)
        self.block = block

    def _readdress(self, what: str, network: Network, block: str) -> Network:
        """Give a network that nobody is in another subnet."""
        claims = [claim for claim in self._state.claims() if claim.subnet != network.subnet]
        subnet = allocate.choose_subnet(what, block, claims, self._host.claims())
        moved = replace(network, subnet=subnet, gateway=allocate.choose_gateway(what, subnet, ""))
        self._add(moved)
        return moved

    def _add(self, network: Network) -> None:
        self._store.save(network)
        self._state.networks[network.id] = network

    def _make_id(self) -> str:
        return allocate.new_id(self._new_id, self._state.networks, _KERNEL_ID)
