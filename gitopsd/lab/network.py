"""The bridge that lab hosts share, and their ends on it.

Rule: host *n* of a lab has address 10 + *n* of its /24, the bridge 1. The first lab takes 10.97.0.0/24, another one at the same
time the next that meets no address and no route of this machine. Names carry the lab's id.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterable

from gitopsd.model.errors import GitopsdError

POOL = ipaddress.IPv4Network("10.97.0.0/16")


def bridge_name(lab_id: str) -> str:
    return f"gl{lab_id}"


def free_subnet(taken: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """The first /24 of the pool that meets none of `taken`."""
    known = [network for network in taken if network.prefixlen > 0]
    for subnet in POOL.subnets(new_prefix=24):
        if not any(subnet.overlaps(other) for other in known):
            return subnet
    raise GitopsdError("lab-no-subnet", f"no /24 of {POOL} is free on this machine", hint="take another lab down")


def address_of(subnet: ipaddress.IPv4Network, number: int) -> str:
    return str(subnet[10 + number])


def read_taken() -> list[ipaddress.IPv4Network]:
    """The networks that this machine has addresses in or routes to."""
    routes = [str(row["dst"]) for row in json.loads(_ip("-j", "-4", "route", "show", "table", "all") or "[]")]
    for link in json.loads(_ip("-j", "-4", "addr") or "[]"):
        routes += [f"{row['local']}/{row['prefixlen']}" for row in link.get("addr_info", [])]
    return [ipaddress.IPv4Network(route, strict=False) for route in routes if route != "default"]


def make_bridge(lab_id: str, subnet: ipaddress.IPv4Network) -> None:
    name = bridge_name(lab_id)
    if name not in links(lab_id):
        _ip("link", "add", name, "type", "bridge")
    _ip("addr", "replace", f"{subnet[1]}/{subnet.prefixlen}", "dev", name)
    _ip("link", "set", name, "up")


def plug_in(lab_id: str, number: int, pid: int) -> None:
    """Give the network namespace of process `pid` a link `eth0` to the bridge; it configures it itself."""
    outside = f"{bridge_name(lab_id)}-{number}"
    _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    _ip("link", "set", outside, "master", bridge_name(lab_id), "up")


def links(lab_id: str) -> list[str]:
    """The links of a lab that this machine has."""
    name = bridge_name(lab_id)
    names = [str(row["ifname"]) for row in json.loads(_ip("-j", "link") or "[]")]
    return [found for found in names if found == name or found.startswith(f"{name}-")]


def unplug(lab_id: str, number: int) -> None:
    if f"{bridge_name(lab_id)}-{number}" in links(lab_id):
        _ip("link", "del", f"{bridge_name(lab_id)}-{number}", missing_ok=True)


def remove(lab_id: str) -> None:
    for name in sorted(links(lab_id), reverse=True):
        _ip("link", "del", name, missing_ok=True)  # a veth goes by itself when its host does


def _ip(*arguments: str, missing_ok: bool = False) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode and not missing_ok:
        raise GitopsdError("lab-network", f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
