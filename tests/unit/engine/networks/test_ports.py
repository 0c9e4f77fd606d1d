"""Ports as Docker writes them, and what a replacement inherits."""

from __future__ import annotations

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.networks import ports, ruleset
from gitopsd.engine.networks.ports import PortRequest
from gitopsd.engine.networks.ruleset import Port, Published


def test_bindings_are_read_as_docker_writes_them() -> None:
    bindings = {
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": ""}],
        "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}],
        "90": [{}],
        "91/tcp": None,
    }

    assert ports.read_bindings("start container web", bindings) == (
        PortRequest("tcp", 80, "0.0.0.0", 8080),
        PortRequest("tcp", 80, "127.0.0.1", 0),
        PortRequest("udp", 53, "0.0.0.0", 53),
        PortRequest("tcp", 90, "0.0.0.0", 0),
    )


@pytest.mark.parametrize(("address", "status"), [("::", 501), ("[::1]", 501), ("localhost", 400), ("10.0.0", 400)])
def test_an_address_that_is_none_or_not_there_yet_is_refused(address: str, status: int) -> None:
    with pytest.raises(ApiError, match="start container web: ") as caught:
        ports.read_bindings("start container web", {"80/tcp": [{"HostIp": address, "HostPort": "1"}]})
    assert caught.value.status == status


def test_what_is_shown_is_read_back() -> None:
    published = (Port("tcp", "0.0.0.0", 8080, 80), Port("tcp", "127.0.0.1", 8080, 80), Port("udp", "0.0.0.0", 53, 53))

    shown = ports.show(published)

    assert shown == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}],
    }
    assert ports.read_shown(shown) == published


def test_a_replacement_inherits_ports_by_number_and_ephemeral_ones_by_what_they_lead_to() -> None:
    old = [Port("tcp", "0.0.0.0", 8080, 80), Port("tcp", "0.0.0.0", 40000, 81), Port("udp", "0.0.0.0", 8080, 80)]

    inherited = ports.inherit(
        "t", old, [PortRequest("tcp", 81), PortRequest("tcp", 8000, host_port=8080), PortRequest("udp", 80)]
    )

    assert inherited == (
        Port("tcp", "0.0.0.0", 40000, 81),
        Port("tcp", "0.0.0.0", 8080, 8000),
        Port("udp", "0.0.0.0", 8080, 80),
    )


@pytest.mark.parametrize(
    "port", [Port("tcp", "0.0.0.0", 65535, 1), Port("udp", "192.0.2.1", 53, 5353), Port("tcp", "127.0.0.1", 1, 65535)]
)
def test_a_port_is_read_back_from_its_element(port: Port) -> None:
    item = Published(port, "10.192.0.2")

    assert ruleset.read_port(ruleset.port_key(port), ruleset.port_data(item)) == item


def test_the_reservation_has_the_name_that_the_monitors_protocol_gives_it() -> None:
    assert Port("tcp", "10.0.0.5", 443, 80).reservation == "port/tcp/10.0.0.5/443"
