"""Which subnet, which address, which id, and what it is called in the kernel.  [pure]

In: what is taken already, and a source of new ids.  Out: what to use; ApiError says what stands in the way.

- A subnet is the first /26 of the host's block that meets neither a network nor a route of the host (docs/state.md, "Addresses").
- A default route, or half of one as VPNs set them (0.0.0.0/1), claims nothing: it leads wherever nothing else does.
- A subnet that somebody asks for by `ipam` may lie inside a wide route by a gateway, since a longer prefix wins; but not in a network
  that is directly connected, and not around a route, whose hosts containers could then not reach.
- The gateway has the first address. A freed address is used again as late as can be, so that who still knows it meets nobody.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Callable

from gitopsd.dockerapi.errors import ApiError

DEFAULT_BLOCK = "10.192.0.0/21"
_SUBNET_PREFIX = 26
_WIDEST_ROUTE = 8
"""Shorter prefixes are default routes in disguise."""
_LONGEST_PREFIX = 29
"""A network has room for a gateway and some containers."""
INSTANCE = re.compile(r"[a-z2-7]{5}")
ID_LENGTH = 64


@dataclass(frozen=True)
class Claim:
    """Somebody has these addresses. `owner` says who, for people: `network shop`, `route by eth0`."""

    subnet: str
    owner: str
    is_direct: bool = True


def bridge_name(instance: str, network: str) -> str:
    return f"{bridge_prefix(instance)}{network[:6]}"


def veth_name(instance: str, endpoint: str) -> str:
    return f"{veth_prefix(instance)}{endpoint[:6]}"


def bridge_prefix(instance: str) -> str:
    return f"gb{instance}-"


def veth_prefix(instance: str) -> str:
    return f"gv{instance}-"


def table_name(instance: str) -> str:
    """Of our nftables table; also the comment of our rules in chains of others."""
    return f"gitopsd-{instance}"


def mac_of(address: str) -> str:
    """A locally administered address that follows from the IPv4 address, so that neighbours' caches stay right."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(address).packed)


def new_id(make: Callable[[], str], taken: Iterable[str], length: int) -> str:
    """A random id of which the first `length` characters, all that a kernel name has room for, are nobody else's."""
    prefixes = {other[:length] for other in taken}
    for _ in range(1000):
        made = make()
        if made[:length] not in prefixes:
            return made
    raise ApiError(500, f"make an id: all of 1000 began with the same {length} characters as others")


def choose_subnet(what: str, block: str, networks: Sequence[Claim], routes: Sequence[Claim]) -> str:
    whole = ipaddress.IPv4Network(block)
    claims = [(claim, ipaddress.IPv4Network(claim.subnet)) for claim in (*networks, *_real(routes))]
    in_the_way: dict[str, str] = {}
    for candidate in whole.subnets(new_prefix=max(_SUBNET_PREFIX, whole.prefixlen)):
        meets = next((claim for claim, subnet in claims if subnet.overlaps(candidate)), None)
        if meets is None:
            return str(candidate)
        in_the_way.setdefault(meets.owner, meets.subnet)
    listed = ", ".join(f"{owner} ({subnet})" for owner, subnet in list(in_the_way.items())[:3])
    more = f" and {len(in_the_way) - 3} more" if len(in_the_way) > 3 else ""
    raise ApiError(409, f"{what}: no free subnet in this host's block {block}, taken by {listed}{more}; ask for one by ipam")


def check_subnet(what: str, asked: str, networks: Sequence[Claim], routes: Sequence[Claim]) -> str:
    """The subnet that was asked for, if it can be had."""
    try:
        subnet = ipaddress.IPv4Network(asked, strict=False)
        exact = "/" in asked and ipaddress.IPv4Interface(asked).ip == subnet.network_address
    except ValueError as error:
        raise ApiError(400, f"{what}: subnet {asked!r} is not an IPv4 subnet: {error}") from None
    if not exact:
        raise ApiError(400, f"{what}: subnet {asked!r} has bits of a host, expected {subnet}")
    if subnet.prefixlen > _LONGEST_PREFIX or subnet.prefixlen < _WIDEST_ROUTE:
        raise ApiError(400, f"{what}: subnet {asked} must have a prefix from /{_WIDEST_ROUTE} to /{_LONGEST_PREFIX}")
    if subnet.is_loopback or subnet.is_multicast or subnet.is_reserved or subnet.is_link_local:
        raise ApiError(400, f"{what}: subnet {asked} is reserved for other uses")
    for claim in networks:
        if ipaddress.IPv4Network(claim.subnet).overlaps(subnet):
            raise ApiError(403, f"{what}: subnet {asked} overlaps with {claim.owner} ({claim.subnet})")
    for claim in _real(routes):
        other = ipaddress.IPv4Network(claim.subnet)
        if other.subnet_of(subnet) or (claim.is_direct and subnet.subnet_of(other)):
            raise ApiError(403, f"{what}: subnet {asked} overlaps with the host's {claim.owner} ({claim.subnet})")
    return str(subnet)


def meets(subnet: str, claim: Claim) -> bool:
    """Whether a route of the host claims some of a subnet."""
    return bool(_real([claim])) and ipaddress.IPv4Network(claim.subnet).overlaps(ipaddress.IPv4Network(subnet))


def choose_gateway(what: str, subnet: str, asked: str) -> str:
    whole = ipaddress.IPv4Network(subnet)
    if not asked:
        return str(whole.network_address + 1)
    return _host_in(what, "gateway", whole, asked)


def choose_address(what: str, subnet: str, taken: Collection[str], after: str) -> str:
    """The next free address behind `after`, from the start again at the end. `taken` has the gateway."""
    whole = ipaddress.IPv4Network(subnet)
    first, count = int(whole.network_address) + 1, whole.num_addresses - 2
    start = int(ipaddress.IPv4Address(after)) - first + 1 if after else 0
    for step in range(count):
        candidate = str(ipaddress.IPv4Address(first + (start + step) % count))
        if candidate not in taken:
            return candidate
    raise ApiError(409, f"{what}: no free address in {subnet}, all {count} are in use")


def check_address(what: str, subnet: str, taken: Collection[str], asked: str) -> str:
    """The address that was asked for, if it can be had."""
    found = _host_in(what, "address", ipaddress.IPv4Network(subnet), asked)
    if found in taken:
        raise ApiError(403, f"{what}: address {asked} is in use already")
    return found


def _host_in(what: str, noun: str, subnet: ipaddress.IPv4Network, asked: str) -> str:
    try:
        found = ipaddress.IPv4Address(asked)
    except ValueError:
        raise ApiError(400, f"{what}: {noun} {asked!r} is not an IPv4 address") from None
    if found not in subnet or found in (subnet.network_address, subnet.broadcast_address):
        raise ApiError(400, f"{what}: {noun} {asked} is not an address for hosts in {subnet}")
    return str(found)


def _real(routes: Iterable[Claim]) -> list[Claim]:
    return [claim for claim in routes if int(claim.subnet.rpartition("/")[2]) >= _WIDEST_ROUTE]
