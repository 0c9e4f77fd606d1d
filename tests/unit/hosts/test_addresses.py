"""Blocks of hosts, out of the fleet's pool."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitopsd.hosts.addresses import block_of, lowest_free, spans_of
from gitopsd.model.errors import GitopsdError

POOL = "10.192.0.0/11"


def test_the_blocks_are_those_that_the_page_on_state_says() -> None:
    assert [block_of(POOL, number) for number in (0, 1, 3, 511)] == [
        "10.192.0.0/21",
        "10.192.8.0/21",
        "10.192.24.0/21",
        "10.207.248.0/21",
    ]
    assert spans_of(POOL) == "10.208.0.0/12"


def test_a_number_beyond_the_pool_is_refused() -> None:
    with pytest.raises(GitopsdError, match="host number 512 is not among the 512 blocks") as caught:
        block_of(POOL, 512)
    assert caught.value.code == "pool-full"


@pytest.mark.parametrize("pool", ["10.0.0.0/21", "10.0.0.0/33", "10.0.0.1/11", "ten"])
def test_a_pool_that_cannot_hold_a_host_is_refused_by_name(pool: str) -> None:
    with pytest.raises(GitopsdError, match="pool"):
        block_of(pool, 0)


@given(st.integers(0, 20), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=1))
def test_blocks_do_not_meet_each_other_or_the_spans_and_lie_in_the_pool(prefix: int, start: list[int]) -> None:
    pool = ipaddress.ip_network((start[0], prefix), strict=False)
    count = min(2 ** (20 - prefix), 40)
    blocks = [ipaddress.ip_network(block_of(str(pool), number)) for number in range(count)]
    for one, other in itertools.combinations([*blocks, ipaddress.ip_network(spans_of(str(pool)))], 2):
        assert not one.overlaps(other)
    assert all(block.subnet_of(pool) for block in blocks)


@given(st.sets(st.integers(0, 30)))
def test_a_new_host_gets_the_lowest_number_that_is_free(used: set[int]) -> None:
    number = lowest_free(used)
    assert number not in used
    assert set(range(number)) <= used
