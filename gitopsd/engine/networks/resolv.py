"""resolv.conf: what the host's says, and what a container gets (resolv.conf(5)).  [pure]"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from gitopsd.engine.networks.ruleset import RESOLVER

_DEFAULT_SERVER = "127.0.0.1"  # what the C library asks when nothing is said


def read_servers(text: str) -> tuple[str, ...]:
    """The addresses of the name servers, an IPv6 one with its interface if it has one."""
    found: list[str] = []
    for words in _lines(text):
        if words[0] == "nameserver" and len(words) > 1:
            address, _, _ = words[1].partition("%")
            try:
                ipaddress.ip_address(address)
            except ValueError:
                continue
            found.append(words[1])
    return tuple(found) or (_DEFAULT_SERVER,)


def render(host: str, search: Sequence[str] = (), options: Sequence[str] = ()) -> str:
    """A container's resolv.conf: our resolver, and the host's search list and options where the container has none of its own.

    A search list of `.` is none at all, as Docker has it.
    """
    for words in _lines(host):
        if words[0] in ("search", "domain") and not search:
            found = words[1:]
        elif words[0] == "options" and not options:
            options = words[1:]
            continue
        else:
            continue
        search = found
    kept = [option for option in options if not option.startswith("ndots:")]
    dots = next((option for option in options if option.startswith("ndots:")), "ndots:0")
    lines = [f"nameserver {RESOLVER}"]
    if search and list(search) != ["."]:
        lines.append("search " + " ".join(search))
    return "\n".join([*lines, "options " + " ".join([*kept, dots]), ""])


def _lines(text: str) -> list[list[str]]:
    """The words of each line that says something."""
    return [words for line in text.splitlines() if (words := line.split("#")[0].split(";")[0].split())]
