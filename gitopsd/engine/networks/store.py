"""The records of networks on disk: `networks/<id>.json` in the data root (docs/state.md)."""

from __future__ import annotations

import os

from gitopsd.engine.networks.network import Network, from_record, to_record
from gitopsd.engine.paths.records import Unreadable, read_record, remove_durably, write_record


class NetworkStore:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        os.makedirs(folder, 0o700, exist_ok=True)

    def load(self) -> list[Network]:
        """All of them. Raises Unreadable, which names the file, for one that cannot be read: it is not ours to guess what it said."""
        found: list[Network] = []
        for name in sorted(os.listdir(self._folder)):
            if not name.endswith(".json"):
                continue  # the rest of a write that a crash broke off
            path = os.path.join(self._folder, name)
            try:
                found.append(from_record(read_record(path)))
            except (ValueError, KeyError, TypeError) as error:
                raise Unreadable(f"{path}: not a network's record: {type(error).__name__}: {error}") from error
        return found

    def save(self, network: Network) -> None:
        """Durable when it returns."""
        write_record(self._path(network), to_record(network))

    def remove(self, network: Network) -> None:
        """Durable when it returns."""
        remove_durably(self._path(network))

    def _path(self, network: Network) -> str:
        return os.path.join(self._folder, f"{network.id}.json")
