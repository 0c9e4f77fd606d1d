"""The links to all hosts of a fleet, each made once.

In: the fleet, and the controller's own key if it has one.  Out: a `Link` by a host's name.
"""

from __future__ import annotations

import threading
from pathlib import Path

import paramiko

from gitopsd.hosts import knownhosts, sshkeys
from gitopsd.hosts.ssh import CONNECT_S, SshLink
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.fleet import Fleet, Host


class Links:
    def __init__(self, fleet: Fleet, default_key: Path | None = None, connect_s: float = CONNECT_S) -> None:
        self._fleet = fleet
        self._default_key = default_key
        self._connect_s = connect_s
        self._lock = threading.Lock()
        self._links: dict[str, SshLink] = {}

    def link(self, name: str) -> SshLink:
        """The link to a host; it connects when it is first used."""
        with self._lock:
            return self._link(name, ())

    def close(self) -> None:
        with self._lock:
            for link in self._links.values():
                link.close()
            self._links.clear()

    def _link(self, name: str, through: tuple[str, ...]) -> SshLink:
        if name in self._links:
            return self._links[name]
        if name in through:
            raise GitopsdError("jump-circle", f"hosts jump in a circle: {' → '.join((*through, name))}", Where(host=name))
        host = next((host for host in self._fleet.hosts if host.name == name), None)
        if host is None:
            by = f", through which {through[-1]} is reached" if through else ""
            raise GitopsdError(
                "no-such-host", f"the fleet has no host {name}{by}", hint=f"it has {', '.join(h.name for h in self._fleet.hosts)}"
            )
        jump = self._link(host.jump, (*through, name)) if host.jump else None
        self._links[name] = SshLink(host, lambda: self._trust(host), lambda: self._keys(host), jump, self._connect_s)
        return self._links[name]

    def _trust(self, host: Host) -> knownhosts.Trust:
        if host.host_keys:
            return knownhosts.trust_from_fleet(host.host_keys, host.where)
        if self._fleet.known_hosts:
            paths = [Path(self._fleet.known_hosts).expanduser()]
        else:
            paths = [Path.home() / ".ssh/known_hosts", Path("/etc/ssh/ssh_known_hosts")]
        return knownhosts.read(paths, host.address, host.port)

    def _keys(self, host: Host) -> list[paramiko.PKey]:
        where = host.where.within(Where(host=host.name))
        if host.key:
            return sshkeys.load(Path(host.key), where)
        if self._default_key:
            return sshkeys.load(self._default_key, where)
        return sshkeys.usual(where)
