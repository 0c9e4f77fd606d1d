"""The host's loopback, kept from containers by more than our table.

`route_localnet` lets the host answer by a bridge what it sent from 127.0.0.1, which is how it reaches published ports there. It also takes any frame
for 127/8 that comes off the bridge (CVE-2020-8558). Rule 1 of ruleset.py drops those, until somebody flushes nf_tables while no daemon
mends it; so a program on the host's end of each veth drops them before anything else looks, and goes only with the interface. On the bridge it
would be too late: where the bridge calls netfilter, answers are for 127.0.0.1 again by then.

Rule 1: without the program, no `route_localnet`: published ports are then not reached at the host's own 127.0.0.1.
Rule 2: frames with VLAN tags go nowhere, since the kernel takes a tag off after the program has looked.
"""

from __future__ import annotations

import errno

from gitopsd.engine.kernel.netlink import traffic
from gitopsd.engine.kernel.netlink.connection import Netlink
from gitopsd.engine.kernel.netlink.messages import NetlinkError

_LOAD_HALF, _LOAD_BYTE, _IF_EQUAL, _RETURN = 0x28, 0x30, 0x15, 0x06
_PROTOCOL, _SOURCE, _DESTINATION = 12, 26, 30  # from the beginning of the Ethernet frame
_IPV4, _VLAN, _VLANS = 0x0800, 0x8100, 0x88A8
PROGRAM: tuple[traffic.Instruction, ...] = (
    (_LOAD_HALF, 0, 0, _PROTOCOL),
    (_IF_EQUAL, 7, 0, _VLAN),
    (_IF_EQUAL, 6, 0, _VLANS),
    (_IF_EQUAL, 0, 4, _IPV4),
    (_LOAD_BYTE, 0, 0, _DESTINATION),
    (_IF_EQUAL, 3, 0, 127),
    (_LOAD_BYTE, 0, 0, _SOURCE),
    (_IF_EQUAL, 1, 0, 127),
    (_RETURN, 0, 0, traffic.PASS),
    (_RETURN, 0, 0, traffic.DROP),
)


def assert_guard(route: Netlink, index: int) -> bool:
    """Have the program on a container's interface; whether it had to be put there. NetlinkError when this kernel cannot."""
    if any(traffic.has_program(message, PROGRAM) for message in route.dump(traffic.list_programs(index))):
        return False
    try:
        route.ask(traffic.make_room(index))
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
    route.ask(traffic.put_program(index, PROGRAM))
    return True
