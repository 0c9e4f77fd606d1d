"""A container's volumes and binds: from the words of a create body to mounts.

At creation volumes are made and everything is checked (`plan_mounts`); at each start sources are looked at again (`Mounts.prepare`).
`-v /path:/x` makes a missing source folder, as Docker does; a `bind` in Mounts does not.

Rule: a fresh volume is filled by one start at a time, and marked before anybody may write into it.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from typing import Any, Callable

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json, mapping
from gitopsd.engine.daemon.container import Container
from gitopsd.engine.daemon.times import rfc3339
from gitopsd.engine.volumes.volumes import Volumes

RunWorker = Callable[[str, Json, "list[int]"], Any]
_MODES = {"", "rw", "ro", "z", "Z", "nocopy", "rprivate", "private", "delegated", "cached", "consistent"}


def parse_bind(text: str) -> Json:
    """`source:target[:mode]` of HostConfig.Binds.  [pure]"""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not parts[1].startswith("/"):
        raise ApiError(400, f"invalid volume specification: '{text}', expected source:/target[:mode]")
    source, target, options = parts[0], parts[1], (parts[2] if len(parts) == 3 else "").split(",")
    for option in options:
        if option not in _MODES:
            raise ApiError(400, f"invalid mode: {option!r} in '{text}'")
    if not source.startswith("/") and "/" in source:
        raise ApiError(
            400, f"invalid volume specification: '{text}': {source!r} includes invalid characters for a local volume name"
        )
    kind = "bind" if source.startswith("/") else "volume"
    return {"Type": kind, "Source": os.path.normpath(source) if kind == "bind" else source, "Destination": os.path.normpath(target),
            "RW": "ro" not in options, "NoCopy": "nocopy" in options, "Make": kind == "bind"}  # fmt: skip


def parse_mount(entry: Json) -> Json:
    """An entry of HostConfig.Mounts.  [pure]"""
    options = mapping(entry, "VolumeOptions") if entry["Type"] == "volume" else mapping(entry, "BindOptions")
    return {"Type": entry["Type"], "Source": entry.get("Source") or "", "Destination": os.path.normpath(entry["Target"]),
            "RW": not entry.get("ReadOnly"), "NoCopy": bool(options.get("NoCopy")), "Make": bool(options.get("CreateMountpoint")),
            "Labels": mapping(options, "Labels")}  # fmt: skip


def plan_mounts(container: str, config: Json, host: Json, volumes: Volumes) -> list[Json]:
    """What a container mounts, as inspect shows it; makes the volumes that are missing, and holds all until the caller releases them.
    Raises ApiError, with nothing made."""
    wanted = [parse_bind(text) for text in host["Binds"]] + [
        parse_mount(entry) for entry in host["Mounts"] if entry["Type"] != "tmpfs"
    ]
    places = [mount["Destination"] for mount in wanted] + [os.path.normpath(path) for path in host["Tmpfs"]]
    places += [os.path.normpath(entry["Target"]) for entry in host["Mounts"] if entry["Type"] == "tmpfs"]
    for place in places:
        if places.count(place) > 1:
            raise ApiError(400, f"Duplicate mount point: {place}")
        _check_place(place)
    wanted += [
        {"Type": "volume", "Source": "", "Destination": os.path.normpath(path), "RW": True, "NoCopy": False, "Make": False}
        for path in config["Volumes"]
        if os.path.normpath(path) not in places
    ]
    shown: list[Json] = []
    for mount in wanted:
        _check_place(mount["Destination"])
    for mount in wanted:
        entry: Json = {"Type": mount["Type"], "Source": mount["Source"], "Destination": mount["Destination"], "Mode": "",
                       "RW": mount["RW"], "Propagation": "rprivate" if mount["Type"] == "bind" else ""}  # fmt: skip
        if mount["Type"] == "volume":
            body = {"Name": mount["Source"], "Labels": mount.get("Labels", {})} if mount["Source"] else {}
            made = volumes.create(body, rfc3339(time.time_ns()), container)
            entry.update({"Name": made["Name"], "Source": made["Mountpoint"], "Driver": "local"})
            entry["Copy"] = not mount["NoCopy"]
        entry["Make"] = mount["Make"]
        shown.append(entry)
    return shown


def _check_place(place: str) -> None:
    if not place.startswith("/"):
        raise ApiError(400, f"invalid mount path: {place!r}, a mount path must be absolute")
    if not place.strip("/") or place.lstrip("/").split("/")[0] == "proc":
        raise ApiError(400, f"invalid mount: nothing may be mounted on {place}")


class Mounts:
    """`run_worker` runs a job on a stranger's bytes (runtime/worker.py)."""

    def __init__(self, data_root: str, volumes: Volumes, run_worker: RunWorker) -> None:
        self._data_root, self._volumes, self._run_worker = data_root, volumes, run_worker
        self._filling: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def prepare(self, container: Container) -> list[Json]:
        """OCI mounts for a start; seeds fresh volumes from the image. Raises ApiError for a source that is not there."""
        for mount in container.record["mounts"]:
            if mount["Type"] == "volume" and not self._volumes.is_seeded(mount["Name"]):
                async with self._filling.setdefault(mount["Name"], asyncio.Lock()):
                    await asyncio.to_thread(self._fill, container, mount)
        return await asyncio.to_thread(self._prepare, container)

    def _fill(self, container: Container, mount: Json) -> None:
        if self._volumes.record(mount["Name"])["seeded"]:
            return
        self._check_volume(container, mount)
        if mount.get("Copy"):
            self._seed(container, mount)
        self._volumes.mark_seeded(mount["Name"])

    def _check_volume(self, container: Container, mount: Json) -> str:
        source = self._volumes.data(mount["Name"])
        if not os.path.isdir(source):
            raise ApiError(500, f"start container {container.name}: the data of volume {mount['Name']} is not there")
        return source

    def _prepare(self, container: Container) -> list[Json]:
        mounts: list[Json] = []
        for mount in container.record["mounts"]:
            if mount["Type"] == "volume":
                source = self._check_volume(container, mount)
            else:
                source = mount["Source"]
                if not os.path.lexists(source):
                    if not mount.get("Make"):
                        raise ApiError(400, f'invalid mount config for type "bind": bind source path does not exist: {source}')
                    os.makedirs(source, 0o755, exist_ok=True)
            options = ["rbind", *([] if mount["RW"] else ["ro"])]
            mounts.append({"destination": mount["Destination"], "type": "bind", "source": source, "options": options})
        return mounts

    def _seed(self, container: Container, mount: Json) -> None:
        job = {"layers": os.path.join(self._data_root, "layers"), "lower": container.record["layers"],
               "path": mount["Destination"], "volume": os.path.dirname(self._volumes.data(mount["Name"]))}  # fmt: skip
        self._run_worker("gitopsd.engine.volumes.seed:seed", job, [])
