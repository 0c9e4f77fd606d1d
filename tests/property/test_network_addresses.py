"""What holds for every choice of a subnet or an address."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.networks import allocate
from gitopsd.engine.networks.allocate import Claim

BLOCK = ipaddress.IPv4Network("10.192.0.0/21")
ADDRESSES = st.integers(int(BLOCK.network_address) - 600, int(BLOCK.broadcast_address) + 600)
SUBNETS = st.tuples(ADDRESSES, st.integers(8, 32)).map(lambda p: ipaddress.IPv4Network(p, strict=False))
CLAIMS = st.lists(st.tuples(SUBNETS, st.booleans()).map(lambda p: Claim(str(p[0]), "somebody", p[1])), max_size=12)


@given(CLAIMS, CLAIMS)
def test_a_chosen_subnet_is_in_the_block_and_meets_nobody(networks: list[Claim], routes: list[Claim]) -> None:
    try:
        chosen = ipaddress.IPv4Network(allocate.choose_subnet("create network x", str(BLOCK), networks, routes))
    except ApiError:
        free = [
            s
            for s in BLOCK.subnets(new_prefix=26)
            if not any(s.overlaps(ipaddress.IPv4Network(c.subnet)) for c in networks + routes)
        ]
        assert free == []
        return
    assert chosen.subnet_of(BLOCK)
    assert chosen.prefixlen == 26
    assert not any(chosen.overlaps(ipaddress.IPv4Network(claim.subnet)) for claim in (*networks, *routes))


@given(st.lists(st.just(None), max_size=40), CLAIMS)
def test_subnets_chosen_one_after_the_other_do_not_meet(count: list[None], routes: list[Claim]) -> None:
    chosen: list[Claim] = []
    for _ in count:
        try:
            chosen.append(Claim(allocate.choose_subnet("create network x", str(BLOCK), chosen, routes), "network"))
        except ApiError:
            break
    found = [ipaddress.IPv4Network(claim.subnet) for claim in chosen]
    assert not any(one.overlaps(other) for one in found for other in found if one is not other)


@given(SUBNETS, CLAIMS, CLAIMS)
def test_a_subnet_that_may_be_had_meets_no_network_and_steals_no_host(
    subnet: ipaddress.IPv4Network, networks: list[Claim], routes: list[Claim]
) -> None:
    try:
        found = allocate.check_subnet("create network x", str(subnet), networks, routes)
    except ApiError:
        return
    assert found == str(subnet)
    assert not any(subnet.overlaps(ipaddress.IPv4Network(claim.subnet)) for claim in networks)
    assert not any(ipaddress.IPv4Network(claim.subnet).subnet_of(subnet) for claim in routes)


@given(st.integers(24, 29), st.sets(st.integers(0, 255)), st.integers(0, 255))
def test_a_chosen_address_is_a_hosts_and_free_and_the_next_one(prefix: int, numbers: set[int], last: int) -> None:
    subnet = ipaddress.IPv4Network(f"10.9.9.0/{prefix}")
    hosts = [str(host) for host in subnet.hosts()]
    taken = {f"10.9.9.{number}" for number in numbers}
    after = hosts[last % len(hosts)]
    try:
        chosen = allocate.choose_address("start container web", str(subnet), taken, after)
    except ApiError:
        assert set(hosts) <= taken
        return
    assert chosen in hosts
    assert chosen not in taken
    turned = hosts[hosts.index(after) + 1 :] + hosts[: hosts.index(after) + 1]
    assert all(earlier in taken for earlier in turned[: turned.index(chosen)])
