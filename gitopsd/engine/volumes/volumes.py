"""Named and anonymous volumes: folders under `volumes/` with a record each (docs/state.md). Local driver, no options yet."""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
from collections.abc import Sequence
from typing import Callable

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json, mapping, text
from gitopsd.engine.paths.leftovers import remove_leftover
from gitopsd.engine.paths.records import Unreadable, read_record, sync_directory, write_record
from gitopsd.engine.paths.root import MOVED_UP

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}")
_UNFINISHED = ".removing-"


class Volumes:
    """Thread-safe. `users(name)` gives the ids of containers that use a volume."""

    def __init__(self, data_root: str, users: Callable[[str], list[str]]) -> None:
        self.root = os.path.join(data_root, "volumes")
        self._users = users
        self._lock = threading.Lock()
        self._records: dict[str, Json] = {}
        self._held: set[tuple[str, str]] = set()
        """Volume and container: of containers that are being made, which `users` does not know yet."""
        os.makedirs(self.root, 0o700, exist_ok=True)
        for name in os.listdir(self.root):
            if name.startswith((_UNFINISHED, MOVED_UP)):
                remove_leftover(os.path.join(self.root, name))
                continue
            try:
                record = read_record(os.path.join(self.root, name, "volume.json"))
            except Unreadable as error:
                _log.error("a volume is left alone: %s", error)
                continue
            if record is not None:
                self._records[name] = record

    def create(self, body: Json, created: str, container: str = "") -> Json:
        """Make a volume, or give the one that has the name. Durable when it returns; in use by `container` until `release`."""
        name = text(body, "Name") or secrets.token_hex(32)
        if not _NAME.fullmatch(name):
            raise ApiError(
                400,
                f"create {name}: {name!r} includes invalid characters for a local volume name, expected [a-zA-Z0-9][a-zA-Z0-9_.-]",
            )
        if body.get("Driver") not in (None, "", "local"):
            raise ApiError(501, f"create volume {name}: the driver {body['Driver']!r} is not there yet", "not-there-yet")
        if body.get("DriverOpts"):
            raise ApiError(501, f"create volume {name}: DriverOpts are not there yet", "not-there-yet")
        with self._lock:
            if name not in self._records:
                record: Json = {"version": 1, "name": name, "created": created, "generation": 1, "create": body,
                                "labels": mapping(body, "Labels"), "anonymous": not body.get("Name"), "seeded": False}  # fmt: skip
                folder = os.path.join(self.root, name)
                os.makedirs(os.path.join(folder, "_data"), 0o755, exist_ok=True)
                os.chmod(folder, 0o701)
                write_record(os.path.join(folder, "volume.json"), record)
                sync_directory(self.root)
                self._records[name] = record
            if container:
                self._held.add((name, container))
            return self._shown(self._records[name])

    def release(self, container: str) -> None:
        """The container is recorded, or will never be: from now on `users` says what it uses."""
        with self._lock:
            self._held = {held for held in self._held if held[1] != container}

    def record(self, name: str) -> Json:
        """The record of a volume; ApiError 404 when there is none."""
        with self._lock:
            if name not in self._records:
                raise ApiError(404, f"get {name}: no such volume")
            return self._records[name]

    def inspect(self, name: str) -> Json:
        return self._shown(self.record(name))

    def list(self) -> list[Json]:
        with self._lock:
            return [self._shown(record) for _, record in sorted(self._records.items())]

    def summaries(self) -> Sequence[Json]:
        """For `/gitopsd/v1/state`: all as they are at one moment."""
        with self._lock:
            return [
                {"generation": record["generation"], "create": record["create"], "inspect": self._shown(record)}
                for record in self._records.values()
            ]

    def data(self, name: str) -> str:
        """The folder that containers see."""
        return os.path.join(self.root, name, "_data")

    def is_seeded(self, name: str) -> bool:
        """Whether a container has used it. Never waits."""
        return name in self._records and self._records[name]["seeded"]

    def mark_seeded(self, name: str) -> None:
        """The image's content has been copied in, or the volume is in use: it is never copied again."""
        with self._lock:
            record = self._records[name]
            if not record["seeded"]:
                record["seeded"] = True
                write_record(os.path.join(self.root, name, "volume.json"), record)

    def remove(self, name: str, force: bool = False) -> None:
        """Durable when it returns; ApiError 409 while a container uses it."""
        with self._lock:
            if name not in self._records:
                if force:
                    return
                raise ApiError(404, f"get {name}: no such volume")
            users = self._users(name) or [container for volume, container in self._held if volume == name]
            if users:
                raise ApiError(409, f"remove {name}: volume is in use - [{', '.join(users)}]")
            trash = os.path.join(self.root, _UNFINISHED + name)
            os.rename(os.path.join(self.root, name), trash)
            sync_directory(self.root)
            del self._records[name]
        remove_leftover(trash)

    def _shown(self, record: Json) -> Json:
        return {
            "CreatedAt": record["created"],
            "Driver": "local",
            "Labels": record["labels"] or None,
            "Mountpoint": self.data(record["name"]),
            "Name": record["name"],
            "Options": None,
            "Scope": "local",
        }
