"""Bodies of POST /networks/create, as clients send them."""

from __future__ import annotations

from typing import Any

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.networks import NetworkRequest, read_network

DOCKER_CLI = {
    "Name": "front", "Driver": "bridge", "Scope": "", "EnableIPv4": None, "EnableIPv6": False,
    "IPAM": {"Driver": "default", "Options": {}, "Config": []}, "Internal": False, "Attachable": False,
    "Ingress": False, "ConfigOnly": False, "ConfigFrom": None, "Options": {}, "Labels": {},
}  # fmt: skip
COMPOSE = {
    "Name": "shop_default", "CheckDuplicate": True, "Driver": "", "EnableIPv6": None, "IPAM": None, "Internal": True, "Attachable": True,
    "Options": None, "Labels": {"com.docker.compose.network": "default"},
}  # fmt: skip


def test_what_clients_send_by_default_asks_for_nothing() -> None:
    assert read_network(DOCKER_CLI) == NetworkRequest("front")
    assert read_network(COMPOSE) == NetworkRequest(
        "shop_default", is_internal=True, labels={"com.docker.compose.network": "default"}
    )


def test_a_subnet_a_gateway_and_an_mtu_are_read() -> None:
    body = {
        "Name": "x",
        "IPAM": {"Config": [{"Subnet": "10.1.0.0/24", "Gateway": "10.1.0.9"}]},
        "Options": {"com.docker.network.driver.mtu": "1400"},
    }

    assert read_network(body) == NetworkRequest("x", subnet="10.1.0.0/24", gateway="10.1.0.9", mtu=1400)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "create network None: invalid name"),
        ({"Name": "../x"}, 400, "invalid name"),
        ({"Name": "x" * 256}, 400, "invalid name"),
        ({"Driver": "macvlan"}, 501, "driver macvlan"),
        ({"Scope": "swarm"}, 501, "scope swarm"),
        ({"EnableIPv6": True}, 501, "EnableIPv6"),
        ({"EnableIPv4": False}, 501, "EnableIPv4 false"),
        ({"ConfigFrom": {"Network": "y"}}, 501, "ConfigFrom"),
        ({"Ingress": True}, 501, "Ingress"),
        ({"IPAM": {"Driver": "dhcp"}}, 501, "IPAM driver dhcp"),
        ({"IPAM": {"Config": [{"Subnet": "fd00::/64"}]}}, 501, "IPv6 subnet fd00::/64"),
        ({"IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "IPRange": "10.0.0.0/25"}]}}, 501, "IPAM.Config.IPRange"),
        ({"IPAM": {"Config": [{"Subnet": "10.0.0.0/24"}, {"Subnet": "10.0.1.0/24"}]}}, 501, "more than one IPAM.Config"),
        ({"IPAM": {"Config": [{"Gateway": "10.0.0.1"}]}}, 400, "gateway 10.0.0.1 without a subnet"),
        ({"IPAM": {"Config": {"Subnet": "10.0.0.0/24"}}}, 400, "IPAM.Config must be a list"),
        ({"IPAM": "default"}, 400, "IPAM must be an object"),
        ({"Options": {"com.docker.network.bridge.name": "br0"}}, 501, "option com.docker.network.bridge.name=br0"),
        ({"Options": {"com.docker.network.driver.mtu": "big"}}, 400, "mtu is 'big', expected 576 to 65535"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_or_not_there_yet_is_named(body: dict[str, Any], status: int, message: str) -> None:
    with pytest.raises(ApiError, match=message) as caught:
        read_network({"Name": "x", **body} if body else body)
    assert caught.value.status == status
    assert (caught.value.code == "not-there-yet") == (status == 501)
