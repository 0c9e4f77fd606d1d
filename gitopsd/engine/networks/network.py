"""A network: its record, and what the API shows of it.  [pure]

In: the record in `networks/<id>.json` (docs/state.md).  Out: a frozen value, and the same record with what we do not know kept.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gitopsd.dockerapi.values import Json, mapping
from gitopsd.engine.networks.endpoint import Endpoint

RECORD_VERSION = 1
PREDEFINED: Mapping[str, Literal["bridge", "host", "null"]] = {"bridge": "bridge", "host": "host", "none": "null"}


@dataclass(frozen=True)
class Network:
    """`subnet` and `gateway` are empty where there is no bridge. `record` is all of it, as it is on disk."""

    id: str
    name: str
    driver: str
    created: str
    """RFC 3339."""
    subnet: str = ""
    gateway: str = ""
    is_internal: bool = False
    mtu: int = 0
    """0: that of the host's default route."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    generation: int = 1
    create: Json = field(default_factory=dict[str, object])
    """The body it was created with; empty for a predefined one."""
    record: Json = field(default_factory=dict[str, object], compare=False)

    @property
    def is_bridge(self) -> bool:
        return self.driver == "bridge"

    @property
    def is_predefined(self) -> bool:
        return self.name in PREDEFINED

    @property
    def has_names(self) -> bool:
        """Containers find each other by name in networks that somebody made, not in the predefined ones."""
        return self.is_bridge and not self.is_predefined

    @property
    def prefix(self) -> int:
        return ipaddress.IPv4Network(self.subnet).prefixlen


def from_record(record: Json) -> Network:
    """Raises KeyError, TypeError or ValueError for a record of another form."""
    if record["version"] != RECORD_VERSION:
        raise ValueError(f"version {record['version']}, expected {RECORD_VERSION}")
    return Network(
        id=record["id"],
        name=record["name"],
        driver=record["driver"],
        created=record["created"],
        subnet=record["subnet"],
        gateway=record["gateway"],
        is_internal=record["internal"],
        mtu=record["mtu"],
        labels=mapping(record, "labels"),
        generation=record["generation"],
        create=mapping(record, "create"),
        record=record,
    )


def to_record(network: Network) -> Json:
    return {
        **network.record,
        "version": RECORD_VERSION,
        "id": network.id,
        "name": network.name,
        "driver": network.driver,
        "created": network.created,
        "subnet": network.subnet,
        "gateway": network.gateway,
        "internal": network.is_internal,
        "mtu": network.mtu,
        "labels": dict(network.labels),
        "generation": network.generation,
        "create": network.create,
    }


def inspect(network: Network, members: Iterable[tuple[Endpoint, str]] = ()) -> Json:
    """`GET /networks/{id}`; `members` are the endpoints in it, each with its container's name."""
    config = [{"Subnet": network.subnet, "Gateway": network.gateway}] if network.is_bridge else []
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": mapping(mapping(network.create, "IPAM"), "Options"), "Config": config},
        "Internal": network.is_internal,
        "Attachable": bool(network.create.get("Attachable")),
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {
            endpoint.container: {
                "Name": name,
                "EndpointID": endpoint.id,
                "MacAddress": endpoint.mac,
                "IPv4Address": f"{endpoint.address}/{endpoint.prefix}",
                "IPv6Address": "",
            }
            for endpoint, name in members
        },
        "Options": mapping(network.create, "Options"),
        "Labels": dict(network.labels),
    }
