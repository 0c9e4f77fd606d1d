"""The host's side in the kernel: our table, bridges, the hosts' ends of veths, forwarding; made what `State` says, and kept so.

Rule 1: deny first. Our table stands before forwarding is switched on, and before a bridge or a veth exists.
Rule 2: what is right is not touched.
Rule 3: a host that did not forward still does not forward between the interfaces it had when we came (`guarded`, ruleset.py).

Not thread-safe; `Networks` has the lock.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Iterable

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.kernel.netlink import addressing, links, nftables, nftables_reading
from gitopsd.engine.kernel.netlink.connection import NETFILTER, ROUTE, Netlink
from gitopsd.engine.kernel.netlink.links import Link
from gitopsd.engine.kernel.netlink.messages import NetlinkError
from gitopsd.engine.kernel.netlink.nftables_reading import ReadTable
from gitopsd.engine.networks import allocate, bridge, foreign, loopback, settings, transition, veth
from gitopsd.engine.networks.endpoint import Endpoint
from gitopsd.engine.networks.network import Network
from gitopsd.engine.networks.ruleset import PORTS_ANY, PORTS_AT, Port, Published, host_table, read_port
from gitopsd.engine.networks.state import Member, State

_log = logging.getLogger(__name__)
_MEND = "mend networks"
_ANY_ENGINE = ("gb", "gv")


class Host:
    def __init__(self, instance: str, state: State) -> None:
        self._instance, self._state = instance, state
        self.table = allocate.table_name(instance)
        self.prefixes = (allocate.bridge_prefix(instance), allocate.veth_prefix(instance))
        self.route, self.netfilter = Netlink.open(ROUTE), Netlink.open(NETFILTER)
        self.tracking = Netlink.open(NETFILTER)
        """For tracked connections: listing them takes as long as all other work together."""
        self._guarded: tuple[str, ...] = ()
        self._can_guard, self._watched = True, set[int]()
        """Whether the kernel can guard the loopback (loopback.py); the interfaces that have the guard, by index."""

    def close(self) -> None:
        for held in (self.route, self.netfilter, self.tracking):
            held.close()

    # ---- all of it

    def reassert(self) -> list[str]:
        """Make everything so; what had to be mended, in words."""
        mended: list[str] = []
        if not self._state.active:
            self._remove_table()
            return self._assert_interfaces()
        changed, was_gone = self._assert_table()
        mended += ["the nftables table"] if changed else []
        mended += self._assert_forwarding(_MEND)
        mended += self._assert_interfaces()
        mended += ["accepts in chains of others"] if self._assert_foreign(are_wanted=True) else []
        if was_gone:  # clients that tried meanwhile met the reservations
            published = self._state.published()
            self.forget_ports([item.port for item in published], published)
        return mended

    def adopt(self) -> list[Endpoint]:
        """What the kernel has of containers, in the order it was made: networks by 12 characters of their ids."""
        found = self._read_table()
        if found is not None and "guarded" in found.sets:
            self._guarded = tuple(sorted(key.rstrip(b"\0").decode() for key, _ in found.sets["guarded"].elements))
        return veth.read_all(self._instance, bridge.list_links(self.route).values())

    def activate(self, what: str, network: Network) -> None:
        """Give a network its bridge, and before it what makes it safe. On an error nothing of it is left."""
        self._state.active.add(network.id)
        try:
            self._assert_table()
            self._assert_forwarding(what)
            name = allocate.bridge_name(self._instance, network.id)
            bridge.assert_bridge(self.route, what, name, network, bridge.list_links(self.route).get(name), self._can_guard)
            self._assert_foreign(are_wanted=True)
        except BaseException:
            with contextlib.suppress(OSError, ApiError):
                self.deactivate(network)
            raise

    def deactivate(self, network: Network) -> None:
        """Take a network out of the kernel, and with the last one everything of ours."""
        self._state.active.discard(network.id)
        veth.delete(self.route, allocate.bridge_name(self._instance, network.id))
        if self._state.active:
            self._assert_table()
        else:
            self._remove_table()

    # ---- single things

    def connect(self, member: Member, endpoint: Endpoint) -> None:
        """Make an endpoint. On an error nothing of it is left."""
        assert member.route is not None
        upper = links.read(self.route.get(links.get(allocate.bridge_name(self._instance, endpoint.network))))
        veth.create(self.route, member.route, self._instance, endpoint, upper, self._guard)

    def silence(self, member: Member) -> None:
        """A container that has ended answers for its addresses no more, at once: deleting an interface takes the kernel a while."""
        for endpoint in member.endpoints:
            if member.route is not None:
                with contextlib.suppress(OSError):  # whatever it is, the interface goes in a moment
                    veth.silence(member.route, endpoint)

    def disconnect(self, endpoint: Endpoint) -> None:
        veth.delete(self.route, allocate.veth_name(self._instance, endpoint.id))

    def lead_out(self, member: Member) -> None:
        """Set a container's default route."""
        assert member.route is not None
        veth.set_default_route(member.route, self._state.outlet(member))

    def lead_lookups(self, member: Member) -> None:
        """Lead a container's look-ups to its resolver's sockets."""
        assert member.netfilter is not None
        veth.lead_lookups(member.netfilter, self._instance, *member.resolver)

    def set_ports(self, before: Iterable[Published], after: Iterable[Published]) -> None:
        """Change where ports lead, in one transaction; `after` is part of what `State` says already. On an error nothing has changed."""
        try:
            self.netfilter.batch(transition.set_ports(self.table, before, after))
        except NetlinkError:  # the kernel has not what we thought it had: somebody flushed it
            self._assert_table()

    def forget_ports(self, ports: Iterable[Port], led: Iterable[Published]) -> int:
        return transition.forget_ports(self.tracking, ports, led)

    def forget_addresses(self, addresses: Iterable[str]) -> int:
        return transition.forget_addresses(self.tracking, addresses)

    def published(self) -> tuple[Published, ...]:
        """Where the kernel leads each port now."""
        found = self._read_table()
        sets = [found.sets[wanted.name] for wanted in (PORTS_ANY, PORTS_AT) if wanted.name in found.sets] if found else []
        return tuple(read_port(key, data) for one in sets for key, data in one.elements.items() if isinstance(data, bytes))

    def claims(self) -> list[allocate.Claim]:
        """What routes claim that are not our own networks'."""
        ours = f"route by {self.prefixes[0]}"
        return [claim for claim in bridge.route_claims(self.route) if not claim.owner.startswith(ours)]

    # ---- parts

    def _read_table(self) -> ReadTable | None:
        return nftables_reading.read(self.netfilter.dump, nftables.IP, self.table)

    def _assert_table(self) -> tuple[bool, bool]:
        """Whether anything was mended, and whether the table was gone."""
        active = [network for network in self._state.networks.values() if network.id in self._state.active]
        found = self._read_table()
        wanted = host_table(self._instance, active, self._state.published(), self._guarded)
        requests = nftables_reading.difference(wanted, found)
        self.netfilter.batch(requests)
        return bool(requests), found is None

    def _assert_foreign(self, are_wanted: bool) -> bool:
        requests = foreign.difference(self.netfilter.dump, self._instance, are_wanted)
        self.netfilter.batch(requests)
        return bool(requests)

    def _remove_table(self) -> None:
        self._assert_foreign(are_wanted=False)
        if self._read_table() is not None:
            self.netfilter.batch([nftables.delete_table(nftables.IP, self.table)])

    def _assert_forwarding(self, what: str) -> list[str]:
        if all(self._state.networks[identifier].is_internal for identifier in self._state.active):
            return []
        if settings.read("ipv4/ip_forward") != "0":
            return []
        if not self._guarded:
            before = bridge.list_links(self.route).values()
            self._guarded = tuple(
                sorted(link.name for link in before if not link.is_loopback and not link.name.startswith(_ANY_ENGINE))
            )
            self._assert_table()
        settings.write(what, "ipv4/ip_forward", "1")
        return ["forwarding"]

    def _assert_interfaces(self) -> list[str]:
        """Bridges and endpoints: what is missing is made, what is nobody's is removed."""
        mended: list[str] = []
        # before the list is made, since what leaves is deleted meanwhile
        leaving = {allocate.veth_name(self._instance, identifier) for identifier in tuple(self._state.leaving)}
        found = bridge.list_links(self.route)
        bridges = {
            allocate.bridge_name(self._instance, identifier): self._state.networks[identifier]
            for identifier in self._state.active
        }
        self._watched &= {link.index for link in found.values()}
        unguarded = [link for name, link in found.items() if name.startswith(self.prefixes[1]) and self._guard(link.index)]
        mended += [f"the guard of {link.name}" for link in unguarded]
        for name, network in bridges.items():
            if bridge.assert_bridge(self.route, _MEND, name, network, found.get(name), self._can_guard):
                mended.append(f"bridge {name}")
        attached = {
            allocate.veth_name(self._instance, endpoint.id): (member, endpoint)
            for member in self._state.members.values()
            for endpoint in member.endpoints
            if member.is_attached
        }
        for name in found:
            if name.startswith(self.prefixes) and name not in bridges and name not in attached and name not in leaving:
                veth.delete(self.route, name)
                mended.append(f"{name}, which was nobody's")
        if mended:
            found = bridge.list_links(self.route)
        for name, (member, endpoint) in attached.items():
            upper = found[allocate.bridge_name(self._instance, endpoint.network)]
            if self._assert_endpoint(found.get(name), upper, member, endpoint):
                mended.append(f"{endpoint.interface} of container {member.name}")
        return mended

    def _guard(self, index: int) -> bool:
        """Have the loopback guarded from what comes in by an interface; whether that was new."""
        if index in self._watched:
            return False
        try:
            is_new = loopback.assert_guard(self.route, index)
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return False  # it is gone
            if self._can_guard:
                _log.warning("published ports are not reached at 127.0.0.1, since this kernel cannot guard it: %s", error)
            self._can_guard = False
            for identifier in self._state.active:
                name = allocate.bridge_name(self._instance, identifier)
                if settings.read(f"ipv4/conf/{name}/route_localnet") == "1":
                    settings.write(_MEND, f"ipv4/conf/{name}/route_localnet", "0")
            return False
        self._watched.add(index)
        return is_new

    def _assert_endpoint(self, found: Link | None, upper: Link, member: Member, endpoint: Endpoint) -> bool:
        if found is not None and found.master == upper.index and found.is_up:
            return False
        try:
            if found is None:
                self.connect(member, endpoint)
                self.lead_out(member)
            else:
                neighbour = addressing.set_neighbour(upper.index, endpoint.address, endpoint.mac)
                self.route.ask(links.set_master(found.name, upper.index), links.set_up(found.name), neighbour)
        except OSError as error:  # one container's trouble is not that of the others
            _log.warning("mend %s of container %s: %s", endpoint.interface, member.name, error)
        return True
