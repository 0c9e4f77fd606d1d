"""What was asked for, on disk: `containers/<id>/config.json` (docs/state.md).

Rule: a container is there whole or not at all: its folder is made under another name and renamed, and renamed again before it is removed.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress

from gitopsd.dockerapi import imageconfig
from gitopsd.dockerapi.values import Json
from gitopsd.engine.paths.leftovers import remove_leftover
from gitopsd.engine.paths.records import read_record, sync_directory, write_record

_log = logging.getLogger(__name__)

_UNFINISHED = "."


def _settled(record: Json) -> Json:
    """A record of before images were read strictly: what nobody can run, show or stop is left out."""
    settings, wrong = imageconfig.tolerate(record["config"])
    if not wrong:
        return record
    _log.error("container %s is gone on with, without what its image said wrongly: %s", record["name"], "; ".join(wrong))
    return {**record, "config": settings}


class ContainerStore:
    def __init__(self, data_root: str, may_clean: bool = True) -> None:
        """`may_clean`: leftovers are removed; only who holds the data root's lock may."""
        self._may_clean = may_clean
        self.root = os.path.join(data_root, "containers")
        os.makedirs(self.root, 0o700, exist_ok=True)

    def path(self, container: str, *names: str) -> str:
        return os.path.join(self.root, container, *names)

    def load(self) -> tuple[list[Json], list[str]]:
        """All records, and the folders whose record cannot be read; leftovers of a crash are removed."""
        found: list[Json] = []
        broken: list[str] = []
        for name in os.listdir(self.root):
            if name.startswith(_UNFINISHED):
                if self._may_clean:
                    remove_leftover(os.path.join(self.root, name))
                continue
            try:
                record = read_record(self.path(name, "config.json"))
            except (ValueError, OSError):
                record = None
            if record is None:
                broken.append(name)
            else:
                found.append(_settled(record))
        return found, broken

    def create(self, record: Json) -> None:
        """Durable when it returns."""
        folder = os.path.join(self.root, _UNFINISHED + record["id"])
        os.mkdir(folder, 0o700)
        for name in ("upper", "work", "log", "bundle", "etc"):
            os.mkdir(os.path.join(folder, name), 0o755 if name == "upper" else 0o700)
        write_record(os.path.join(folder, "config.json"), record)
        os.rename(folder, self.path(record["id"]))
        sync_directory(self.root)

    def save(self, record: Json) -> None:
        """Durable when it returns."""
        write_record(self.path(record["id"], "config.json"), record)

    def remove(self, container: str) -> None:
        """Durable when it returns. What cannot be removed now goes when the daemon starts next."""
        folder = os.path.join(self.root, _UNFINISHED + container)
        with suppress(FileNotFoundError):  # an earlier attempt came this far
            os.rename(self.path(container), folder)
        sync_directory(self.root)
        remove_leftover(folder)
