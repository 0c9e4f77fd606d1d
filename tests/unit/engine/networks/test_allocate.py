"""Which subnet, which address, which id."""

from __future__ import annotations

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.networks import allocate
from gitopsd.engine.networks.allocate import Claim

BLOCK = "10.192.0.0/21"


def a_network(subnet: str, name: str = "shop") -> Claim:
    return Claim(subnet, f"network {name}")


def a_route(subnet: str, interface: str = "eth0", is_direct: bool = False) -> Claim:
    return Claim(subnet, f"route by {interface}", is_direct)


@pytest.mark.parametrize(
    ("networks", "routes", "chosen"),
    [
        ([], [], "10.192.0.0/26"),
        ([a_network("10.192.0.0/26")], [], "10.192.0.64/26"),
        ([a_network("10.192.0.0/24")], [], "10.192.1.0/26"),
        ([], [a_route("10.192.0.64/32")], "10.192.0.0/26"),
        ([], [a_route("10.192.0.3/32"), a_route("10.192.0.64/27")], "10.192.0.128/26"),
        ([], [a_route("0.0.0.0/0"), a_route("0.0.0.0/1"), a_route("128.0.0.0/1")], "10.192.0.0/26"),
        ([], [a_route("192.168.0.0/16")], "10.192.0.0/26"),
    ],
    ids=[
        "nothing",
        "one network",
        "a wide one",
        "a host elsewhere",
        "hosts and networks",
        "default routes of a VPN",
        "the neighbourhood",
    ],
)
def test_the_first_free_subnet_is_chosen(networks: list[Claim], routes: list[Claim], chosen: str) -> None:
    assert allocate.choose_subnet("create network x", BLOCK, networks, routes) == chosen


def test_a_full_block_says_who_has_it_and_what_can_be_done() -> None:
    taken = [
        a_network("10.192.0.0/22", "a"),
        a_network("10.192.4.0/23", "b"),
        a_network("10.192.6.0/24", "c"),
        a_network("10.192.7.0/24", "d"),
    ]
    with pytest.raises(ApiError) as caught:
        allocate.choose_subnet("create network x", BLOCK, taken, [])
    assert caught.value.message == (
        "create network x: no free subnet in this host's block 10.192.0.0/21, taken by network a (10.192.0.0/22), "
        "network b (10.192.4.0/23), network c (10.192.6.0/24) and 1 more; ask for one by ipam"
    )
    with pytest.raises(ApiError, match=r"taken by route by tun0 \(10\.0\.0\.0/8\); ask for one by ipam"):
        allocate.choose_subnet("create network x", BLOCK, [], [a_route("10.0.0.0/8", "tun0")])


def test_a_block_smaller_than_a_subnet_is_one_subnet() -> None:
    assert allocate.choose_subnet("create network x", "10.0.0.0/28", [], []) == "10.0.0.0/28"


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ("10.1.0.0", 400, "bits of a host, expected 10.1.0.0/32"),
        ("10.1.0.1/24", 400, "bits of a host, expected 10.1.0.0/24"),
        ("shop", 400, "'shop' is not an IPv4 subnet"),
        ("10.1.0.0/30", 400, "must have a prefix from /8 to /29"),
        ("8.0.0.0/7", 400, "must have a prefix from /8 to /29"),
        ("127.1.0.0/16", 400, "reserved for other uses"),
        ("169.254.1.0/24", 400, "reserved for other uses"),
        ("224.0.1.0/24", 400, "reserved for other uses"),
        ("10.0.0.0/8", 403, r"overlaps with network shop \(10.192.0.0/26\)"),
        ("10.192.0.32/27", 403, r"overlaps with network shop \(10.192.0.0/26\)"),
        ("192.168.1.0/25", 403, r"overlaps with the host's route by eth0 \(192.168.1.0/24\)"),
        ("192.168.0.0/16", 403, r"overlaps with the host's route by eth0 \(192.168.1.0/24\)"),
        ("172.16.0.0/12", 403, r"overlaps with the host's route by tun0 \(172.20.0.0/16\)"),
    ],
)
def test_a_subnet_that_cannot_be_had_is_refused(asked: str, status: int, message: str) -> None:
    networks = [a_network("10.192.0.0/26")]
    routes = [a_route("192.168.1.0/24", is_direct=True), a_route("172.20.0.0/16", "tun0"), a_route("0.0.0.0/0")]
    with pytest.raises(ApiError, match=message) as caught:
        allocate.check_subnet("create network x", asked, networks, routes)
    assert caught.value.status == status


def test_a_subnet_inside_what_lies_behind_a_gateway_can_be_had() -> None:
    """10/8 by a VPN is no reason against 10.5.0.0/24 here: the longer prefix wins."""
    assert allocate.check_subnet("create network x", "10.5.0.0/24", [], [a_route("10.0.0.0/8", "tun0")]) == "10.5.0.0/24"


@pytest.mark.parametrize(("asked", "gateway"), [("", "10.0.0.1"), ("10.0.0.62", "10.0.0.62")])
def test_the_gateway_is_the_first_address_or_what_was_asked(asked: str, gateway: str) -> None:
    assert allocate.choose_gateway("create network x", "10.0.0.0/26", asked) == gateway


@pytest.mark.parametrize("asked", ["10.0.0.0", "10.0.0.63", "10.0.1.1", "one"])
def test_a_gateway_outside_its_subnet_is_refused(asked: str) -> None:
    with pytest.raises(ApiError, match="gateway"):
        allocate.choose_gateway("create network x", "10.0.0.0/26", asked)


@pytest.mark.parametrize(("asked", "status"), [("10.0.0.1", 403), ("10.0.0.64", 400), ("10.0.0.0", 400), ("x", 400)])
def test_an_address_that_cannot_be_had_is_refused(asked: str, status: int) -> None:
    with pytest.raises(ApiError) as caught:
        allocate.check_address("start container web", "10.0.0.0/26", {"10.0.0.1"}, asked)
    assert caught.value.status == status


def test_ids_whose_beginning_is_taken_are_not_used() -> None:
    made = iter(["abcdef1", "abcdef2", "abcdea3"])
    assert allocate.new_id(lambda: next(made), ["abcdef9"], 6) == "abcdea3"
    with pytest.raises(ApiError, match="all of 1000 began with the same 6 characters as others"):
        allocate.new_id(lambda: "abcdef0", ["abcdef9"], 6)


def test_names_in_the_kernel_have_the_instance_in_them_and_fit() -> None:
    """docs/state.md, "Names in the kernel"; an interface name has at most 15 characters."""
    identifier = "0123456789abcdef" * 4
    assert allocate.bridge_name("k7q2m", identifier) == "gbk7q2m-012345"
    assert allocate.veth_name("k7q2m", identifier) == "gvk7q2m-012345"
    assert allocate.table_name("k7q2m") == "gitopsd-k7q2m"
    assert len(allocate.bridge_name("k7q2m", identifier)) <= 15
    assert allocate.mac_of("10.192.0.2") == "02:42:0a:c0:00:02"
