"""Endpoints: a veth from the bridge into a container, and what the container has at its end.

The container's end is set up through the `route` socket that the container's first process opened and handed over; nobody enters its
namespace. An endpoint is whole when its alias is written, which is last: one without an alias is the rest of a crash.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterable
from typing import Callable, Optional

from gitopsd.engine.kernel.netlink import addressing, links, nftables_reading
from gitopsd.engine.kernel.netlink.connection import Netlink, namespace_of
from gitopsd.engine.kernel.netlink.links import Link
from gitopsd.engine.kernel.netlink.messages import NetlinkError
from gitopsd.engine.networks.allocate import veth_name, veth_prefix
from gitopsd.engine.networks.endpoint import Endpoint, parse_alias, render_alias
from gitopsd.engine.networks.ruleset import resolver_table

_NOTICE_TRIES, _NOTICE_S = 100, 0.001


def create(
    host: Netlink, inside: Netlink, instance: str, endpoint: Endpoint, bridge: Link, guard: Callable[[int], object]
) -> None:
    """Connect a container. On an error nothing of it is left. `guard` gets the index of the host's end before anything can pass it."""
    name = veth_name(instance, endpoint.id)
    netns = namespace_of(inside.socket)
    try:
        host.ask(links.create_veth(name, bridge.index, endpoint.interface, endpoint.mac, netns, bridge.mtu))
    finally:
        os.close(netns)
    try:
        guard(links.read(host.get(links.get(name))).index)
        host.ask(links.without_ipv6(name), links.set_up(name))
        inside.ask(links.without_ipv6(endpoint.interface), links.set_up(endpoint.interface))
        index = links.read(inside.get(links.get(endpoint.interface))).index
        inside.ask(addressing.add_address(index, endpoint.address, endpoint.prefix))
        host.ask(
            links.describe_port(name, render_alias(endpoint)),
            # who had the address before, or that nobody answered for it, is forgotten
            addressing.set_neighbour(bridge.index, endpoint.address, endpoint.mac),
        )
        for concerned in (name, bridge.name):
            _await_working(host, concerned)
    except OSError:
        delete(host, name)
        raise


def _await_working(host: Netlink, name: str) -> None:
    """The kernel notices that both ends are up a moment later, when told to look (since 6.8) or by itself. What is sent before is lost, and asked for
    again after a second: a container's first connection must not meet that.
    """
    for _ in range(_NOTICE_TRIES):
        if links.read(host.get(links.get(name))).is_working:
            return
        time.sleep(_NOTICE_S)


def delete(host: Netlink, name: str) -> None:
    """Delete an interface. No error when it is gone already, as a veth is once the container's namespace has ended."""
    try:
        host.ask(links.delete(name))
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise


def silence(inside: Netlink, endpoint: Endpoint) -> None:
    """Take the address away from the container's end."""
    index = links.read(inside.get(links.get(endpoint.interface))).index
    inside.ask(addressing.delete_address(index, endpoint.address, endpoint.prefix))


def set_default_route(inside: Netlink, endpoint: Optional[Endpoint]) -> None:
    """Lead the container out by this endpoint, or nowhere."""
    if endpoint is not None:
        index = links.read(inside.get(links.get(endpoint.interface))).index
        inside.ask(addressing.set_default_route(index, endpoint.gateway))
        return
    try:
        inside.ask(addressing.delete_default_route())
    except NetlinkError as error:
        if error.errno != errno.ESRCH:
            raise


def lead_lookups(netfilter: Netlink, instance: str, udp: socket.socket, tcp: socket.socket) -> None:
    """Lead what the container asks of 127.0.0.11 to these sockets, which are bound in it."""
    table = resolver_table(instance, udp.getsockname()[1], tcp.getsockname()[1])
    netfilter.batch(nftables_reading.build(table))


def read_all(instance: str, found: Iterable[Link]) -> list[Endpoint]:
    """The endpoints among the host's interfaces, in the order they were made."""
    ours = [link for link in found if link.name.startswith(veth_prefix(instance))]
    read = [parse_alias(link.alias) for link in sorted(ours, key=lambda link: link.index)]
    return [endpoint for endpoint in read if endpoint is not None]
