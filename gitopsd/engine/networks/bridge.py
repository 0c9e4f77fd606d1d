"""A network's bridge: it is there, up, has the gateway's address, and its switches are right.

Rule 1: what is right is not touched. A bridge keeps its MAC address whatever joins it, and gets the same one again if somebody deleted it,
so that containers never lose their gateway.
Rule 2: our table stands before `route_localnet` is set, and the guard of loopback.py before a container is connected: it alone would let
containers reach the host's loopback.
Rule 3: a bridge has no IPv6 as long as networks are IPv4 only, so that no container can play router to the host (CVE-2020-13401).
"""

from __future__ import annotations

from gitopsd.engine.kernel.netlink import addressing, links
from gitopsd.engine.kernel.netlink.connection import Netlink
from gitopsd.engine.kernel.netlink.links import Link
from gitopsd.engine.networks import settings
from gitopsd.engine.networks.allocate import Claim, mac_of
from gitopsd.engine.networks.network import Network

_DEFAULT_MTU = 1500
_DEFAULT = "0.0.0.0/0"


def assert_bridge(route: Netlink, what: str, name: str, network: Network, found: Link | None, is_guarded: bool) -> bool:
    """Make the bridge what it should be; `found` is what the kernel has by that name. True when something was mended. `is_guarded`: whether
    this kernel can have the guard of loopback.py."""
    changed = False
    if found is None:
        route.ask(links.create_bridge(name, mac_of(network.gateway), network.mtu or default_mtu(route)))
        found = links.read(route.get(links.get(name)))
        changed = True
    if settings.read(f"ipv6/conf/{name}/disable_ipv6") == "0":
        changed = settings.write(what, f"ipv6/conf/{name}/disable_ipv6", "1") or changed
    addresses = [addressing.read_address(message) for message in route.dump(addressing.list_addresses(found.index))]
    if not any((a.index, a.address, a.prefix) == (found.index, network.gateway, network.prefix) for a in addresses):
        route.ask(addressing.add_address(found.index, network.gateway, network.prefix))
        changed = True
    if not network.is_internal:
        changed = settings.write(what, f"ipv4/conf/{name}/route_localnet", "1" if is_guarded else "0") or changed
    if not found.is_up:
        route.ask(links.set_up(name))
        changed = True
    return changed


def list_links(route: Netlink) -> dict[str, Link]:
    """All interfaces of the host, by name."""
    return {link.name: link for link in map(links.read, route.dump(links.list_all()))}


def route_claims(route: Netlink) -> list[Claim]:
    """What the host's routes claim of the address space."""
    names = {link.index: link.name for link in list_links(route).values()}
    found: list[Claim] = []
    for message in route.dump(addressing.list_routes()):
        read = addressing.read_route(message)
        if read is not None:
            by = f"route by {names[read.index]}" if read.index in names else "route"
            found.append(Claim(read.destination, by, read.is_direct))
    return found


def default_mtu(route: Netlink) -> int:
    """That of the interface by which the host reaches the world."""
    mtus = {link.index: link.mtu for link in list_links(route).values()}
    for message in route.dump(addressing.list_routes()):
        read = addressing.read_route(message)
        if read is not None and read.destination == _DEFAULT and read.index in mtus:
            return mtus[read.index]
    return _DEFAULT_MTU
