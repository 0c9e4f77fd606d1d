"""A container's place in a network, and how it is written on the host's end of its veth.  [pure]

Rule: the kernel holds the truth about endpoints. The alias of the host's end says whose it is and what it has, so a new daemon reads
all endpoints with one request, and nothing that a container can change is believed (docs/state.md, "Names in the kernel").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

_VERSION = "1"


@dataclass(frozen=True)
class Endpoint:
    """`network` is the network's id, `interface` the name inside the container, `prefix` that of the subnet."""

    id: str
    container: str
    network: str
    interface: str
    address: str
    prefix: int
    gateway: str
    mac: str


def render_alias(endpoint: Endpoint) -> str:
    return " ".join(
        (_VERSION, endpoint.container, endpoint.id, endpoint.network[:12], endpoint.interface, endpoint.address, endpoint.mac)
    )


def parse_alias(text: str) -> Optional[Endpoint]:
    """What an alias says: the network by 12 characters of its id, no prefix and no gateway. None for any other text."""
    words = text.split(" ")
    if len(words) != 7 or words[0] != _VERSION:
        return None
    _, container, identifier, network, interface, address, mac = words
    return Endpoint(identifier, container, network, interface, address, 0, "", mac)


@dataclass(frozen=True)
class Attachment:
    """A network that a container is to be connected to, by name or id. Empty `address` and `mac`: the engine chooses."""

    network: str
    aliases: tuple[str, ...] = ()
    address: str = ""
    mac: str = ""
