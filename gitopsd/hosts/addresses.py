"""Which addresses a host owns.  [pure]

In: the fleet's pool and a host's number.  Out: its block, and the part that is kept for networks that span hosts.

The lower half of the pool is cut into blocks of /21, one for each host number from 0, the upper half is for spans: docs/state.md,
"Addresses". A number never moves to another host while the host is in the fleet.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from gitopsd.model.errors import GitopsdError

BLOCK_PREFIX = 21


def block_of(pool: str, number: int) -> str:
    """The block of host `number`, `10.192.24.0/21`."""
    lower = _halves(pool)[0]
    count = 2 ** (BLOCK_PREFIX - lower.prefixlen)
    if not 0 <= number < count:
        raise GitopsdError("pool-full", f"host number {number} is not among the {count} blocks of /{BLOCK_PREFIX} in {pool}")
    first = int(lower.network_address) + number * 2 ** (32 - BLOCK_PREFIX)
    return f"{ipaddress.IPv4Address(first)}/{BLOCK_PREFIX}"


def spans_of(pool: str) -> str:
    """The part for networks that span hosts."""
    return str(_halves(pool)[1])


def lowest_free(used: Iterable[int]) -> int:
    """The number for a new host."""
    taken = set(used)
    return next(number for number in range(len(taken) + 1) if number not in taken)


def _halves(pool: str) -> tuple[ipaddress.IPv4Network, ipaddress.IPv4Network]:
    try:
        network = ipaddress.IPv4Network(pool)
    except ValueError as error:
        raise GitopsdError("pool-unreadable", f"pool {pool!r}: {error}") from error
    if network.prefixlen >= BLOCK_PREFIX:
        raise GitopsdError("pool-small", f"pool {pool} has no room for a host: it needs at least a /{BLOCK_PREFIX - 1}")
    lower, upper = network.subnets(prefixlen_diff=1)
    return lower, upper
