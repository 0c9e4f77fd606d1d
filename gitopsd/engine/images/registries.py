"""Where images come from and go to: which registries answer for a name, and how they are spoken to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Optional

from gitopsd.engine.registry.client import Client, Credentials
from gitopsd.engine.registry.http import Pool, is_loopback
from gitopsd.oci.reference import Reference


class Registries:
    """`mirrors`: registry -> address asked first (`host:port`, or with http:// or https:// before it); `plain`: addresses that are
    spoken to in http though they are not loopback."""

    def __init__(self, mirrors: Optional[Mapping[str, str]] = None, plain: Collection[str] = ()) -> None:
        self.mirrors = mirrors or {}
        self._plain = plain
        self._pool = Pool()

    def clients(self, reference: Reference, credentials: Optional[Credentials]) -> list[Client]:
        """In the order they are asked; the registry itself last. Credentials are for it and not for a mirror."""
        clients: list[Client] = []
        mirror = self.mirrors.get(reference.registry)
        if mirror:
            scheme, _, address = mirror.rpartition("://")
            plain = scheme == "http" or (not scheme and self._is_plain(address))
            clients.append(Client(address, plain, None, f"{address} (mirror of {reference.registry})", self._pool))
        clients.append(
            Client(reference.registry, self._is_plain(reference.registry), credentials, reference.registry, self._pool)
        )
        return clients

    def close(self) -> None:
        """End the connections that wait for another request."""
        self._pool.close()

    def _is_plain(self, address: str) -> bool:
        return address in self._plain or is_loopback(address)
