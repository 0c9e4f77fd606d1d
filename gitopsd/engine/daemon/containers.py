"""All containers of this engine: looked up, made, changed, removed. What runs is lifecycle.py's."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import time
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Optional, Protocol

from gitopsd.dockerapi import create, imageconfig
from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.signals import signal_number
from gitopsd.dockerapi.values import Json, mapping, number, text, texts
from gitopsd.engine.daemon import expect, naming, spec
from gitopsd.engine.daemon.connections import Connections
from gitopsd.engine.daemon.container import RECORD_VERSION, Container
from gitopsd.engine.daemon.execs import Execs
from gitopsd.engine.daemon.lifecycle import Lifecycle
from gitopsd.engine.daemon.mounts import plan_mounts
from gitopsd.engine.daemon.store import ContainerStore
from gitopsd.engine.events.changes import Changes
from gitopsd.engine.images.images import Use
from gitopsd.engine.runtime.capabilities import bounded
from gitopsd.engine.volumes.volumes import Volumes
from gitopsd.oci.platform import Platform, runs_on

_log = logging.getLogger(__name__)


class FoundImage(Protocol):
    """An image as a container needs it."""

    @property
    def id(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def config(self) -> Json: ...
    @property
    def platform(self) -> Platform: ...


class ImageSource(Protocol):
    def find(self, name: str) -> FoundImage:
        """By reference, digest or id; ApiError 404 with Docker's words when there is none."""
        ...

    def hold(self, digest: str, container: str) -> AbstractContextManager[list[str]]:
        """Short ids of an image's layers, top first. Meanwhile the image is in use, as it is when the container is recorded."""
        ...


class _NoImage:
    """What stands for the image of a container that is made of layers."""

    id = digest = ""
    platform = Platform("linux", "")

    def __init__(self) -> None:
        self.config: Json = {}


class Containers:
    def __init__(
        self,
        store: ContainerStore,
        lifecycle: Lifecycle,
        connections: Connections,
        images: ImageSource,
        volumes: Volumes,
        execs: Execs,
        changes: Changes,
    ) -> None:
        self._store, self._lifecycle, self._connections = store, lifecycle, connections
        self._images, self._volumes, self._execs, self._changes = images, volumes, execs, changes
        self._by_id: dict[str, Container] = {}
        self._names: dict[str, str] = {}
        lifecycle.forget = lambda container: lifecycle.spawn(container, self._forget(container))

    # looking up

    def all(self) -> list[Container]:
        """Newest first, as docker ps has them."""
        return sorted(self._by_id.values(), key=lambda container: -container.record["created"])

    def get(self, name: str) -> Container:
        """By id, name, or an unambiguous beginning of an id; ApiError 404 or 400."""
        name = name.lstrip("/")
        if name in self._by_id:
            return self._by_id[name]
        named = self._by_id.get(self._names.get(name, ""))  # a name is reserved before its container is there
        if named is not None:
            return named
        found = [identity for identity in self._by_id if name and identity.startswith(name)]
        if len(found) == 1:
            return self._by_id[found[0]]
        if found:
            raise ApiError(400, f"multiple IDs found with provided prefix: {name}")
        raise ApiError(404, f"No such container: {name}")

    def add(self, container: Container) -> None:
        """Take in a container that is on disk."""
        self._by_id[container.id] = container
        self._names[container.name] = container.id

    def by_id(self, identity: str) -> Optional[Container]:
        return self._by_id.get(identity)

    def images_used(self) -> list[Use]:
        return [
            Use(container.id, container.record["image"]["digest"], container.is_running)
            for container in list(self._by_id.values())
            if container.record["image"]["digest"]
        ]

    def users_of_volume(self, name: str) -> list[str]:
        return [
            container.id
            for container in self._by_id.values()
            if any(mount["Type"] == "volume" and mount["Name"] == name for mount in container.record["mounts"])
        ]

    def users_of_network(self, network: str) -> list[Container]:
        return [
            container
            for container in self._by_id.values()
            if any(asked["network"] == network for asked in container.record["networks"].values())
        ]

    # changing

    async def create(
        self, body: Json, name: str, layers: Optional[list[str]] = None, platform: Optional[Platform] = None
    ) -> tuple[Container, list[str]]:
        """Make a container; it and the warnings for the caller. Durable when it returns; ApiError leaves nothing behind but volumes.

        With `layers` it is made of these, and the image that the body names is looked up by nobody: a step of a build. `platform`: the
        only one that will do.
        """
        config, host, endpoints = create.read(body)
        self._lifecycle.warm()
        if name and not create.NAME.fullmatch(name.lstrip("/")):
            raise ApiError(400, f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        try:
            bounded(host["CapAdd"], host["CapDrop"])
        except ValueError as error:
            raise ApiError(400, f"invalid CapAdd or CapDrop: {error}") from None
        if config["StopSignal"]:
            signal_number(config["StopSignal"])
        image = self._images.find(config["Image"]) if layers is None else _NoImage()
        if platform is not None and runs_on(image.platform, platform) is None:
            mismatch = f"wanted {platform}, actual: {image.platform}"
            raise ApiError(
                404, f"image with reference {config['Image']} was found but does not match the specified platform: {mismatch}"
            )
        try:
            merged = spec.merge_config(config, imageconfig.read(image.config))
        except imageconfig.InvalidImage as error:
            raise ApiError(400, f"create container: image {config['Image']}: config.{error}") from None
        identity = self._new_id()
        merged["Hostname"] = config["Hostname"] or ("" if host["NetworkMode"] == "host" else identity[:12])
        spec.runtime_config(identity, merged, host, [], {}, "", "", is_v2=False)  # refuses what could not be run
        replaces = self._replaced(body)
        networks = self._connections.plan(host, endpoints)
        for port in host["PortBindings"]:
            merged["ExposedPorts"].setdefault(port, {})
        name = self._reserve_name(name.lstrip("/"), identity)
        held = ExitStack()
        held.callback(self._volumes.release, identity)
        try:
            if layers is None:
                layers = await asyncio.to_thread(held.enter_context, self._images.hold(image.digest, identity))
            record: Json = {
                "version": RECORD_VERSION,
                "id": identity,
                "name": name,
                "created": time.time_ns(),
                "generation": 1,
                "create": body,
                "image": {"id": image.id, "digest": image.digest, "reference": config["Image"]},
                "layers": layers,
                "config": merged,
                "host_config": host,
                "networks": networks,
                "mounts": await asyncio.to_thread(plan_mounts, identity, merged, host, self._volumes),
                "should_run": False,
                "replaces": replaces,
                **({"build": True} if isinstance(image, _NoImage) else {}),
            }
            await asyncio.to_thread(self._store.create, record)
            container = Container(record)
            self._by_id[identity] = container
        except BaseException:
            del self._names[name]
            raise
        finally:
            await asyncio.to_thread(held.close)
        self._changes.bump()
        return container, []

    async def remove(self, container: Container, force: bool = False, with_volumes: bool = False) -> None:
        """Remove it; ApiError 409 while it runs, unless forced. Durable when it returns."""
        if force:
            await self._lifecycle.end_at_once(container)
        while not await self._remove_idle(container):
            if not force:
                reason = f"container is {container.state}: stop the container before removing or force remove"
                raise ApiError(409, f'cannot remove container "{container.name}": {reason}')
            await self._lifecycle.stop(container, 0)
        if with_volumes:
            await asyncio.to_thread(self._remove_anonymous_volumes, container)
            self._changes.bump()
        container.removed.set()

    async def _remove_idle(self, container: Container) -> bool:
        """Remove one that does not run; False when it does. Under its lock, because another call may be starting it."""
        if container.state == "removing":
            raise ApiError(409, f"removal of container {container.name} is already in progress")
        async with container.lock:
            if container.state in ("running", "restarting"):
                return False
            if container.id not in self._by_id:
                return True
            expect.check(container.id, container.generation)
            container.state = "removing"
            try:
                await asyncio.to_thread(self._store.remove, container.id)
            except Exception:
                container.state = "dead"
                raise
            del self._by_id[container.id]
            if self._names.get(container.name) == container.id:
                del self._names[container.name]
            self._execs.forget(container)
            self._changes.bump()
            return True

    async def _forget(self, container: Container) -> None:
        """Nobody waits for this removal; somebody else may be about it."""
        try:
            await self.remove(container, force=True, with_volumes=True)
        except ApiError as error:
            _log.debug("auto-remove: %s", error.message)

    async def rename(self, container: Container, name: str) -> None:
        name = name.lstrip("/")
        if not create.NAME.fullmatch(name):
            raise ApiError(400, f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        if name == container.name:
            raise ApiError(400, "Renaming a container with the same name as its current name")
        async with container.lock:
            await self.take_name(container, name)

    def refuse_taken(self, name: str, *but: Container) -> None:
        """ApiError 409 when another container than these has the name."""
        if self._names.get(name) not in (None, *(container.id for container in but)):
            raise ApiError(409, f'Conflict. The container name "/{name}" is already in use by container "{self._names[name]}".')

    async def take_name(self, container: Container, name: str, **fields: Any) -> None:
        """Rename under the lock that the caller holds, with other changes of the record; durable when it returns."""
        old = container.name
        if name != old:
            self._reserve_name(name, container.id)
        try:
            await self._lifecycle.ask(container, name=name, **fields)
        except BaseException:
            if name != old:
                del self._names[name]
            raise
        if name != old:
            del self._names[old]
            self._connections.renamed(container)
            self._changes.bump()

    async def connect(self, container: Container, network: str, asked: Json) -> None:
        """Connect to a network, running or not. Durable when it returns."""
        async with container.lock:
            found = self._connections.networks.find(network)
            if found.name in container.record["networks"]:
                raise ApiError(403, f"endpoint with name {container.name} already exists in network {found.name}")
            if {"host", "none"} & set(container.record["networks"]):
                raise ApiError(400, f"connect container {container.name} to network {found.name}: it has no network of its own")
            entry = {"network": found.id, "aliases": texts(asked, "Aliases"), "ipam": mapping(asked, "IPAMConfig")}
            if entry["aliases"] and found.is_predefined:
                raise ApiError(400, "network-scoped alias is supported only for containers in user defined networks")
            before = container.record["networks"]
            await self._lifecycle.ask(container, networks={**before, found.name: entry})
            if container.is_running:
                try:
                    await self._connections.connect(container, found.name, entry)
                except BaseException:
                    await self._lifecycle.ask(container, networks=before)
                    raise
                self._lifecycle.keep(container)
                self._changes.bump()

    async def disconnect(self, container: Container, network: str) -> None:
        async with container.lock:
            found = self._connections.networks.find(network)
            if found.name not in container.record["networks"]:
                raise ApiError(403, f"container {container.id} is not connected to network {found.name}")
            before = container.record["networks"]
            left = {name: asked for name, asked in before.items() if name != found.name}
            await self._lifecycle.ask(container, networks=left)
            if container.is_running:
                try:
                    await self._connections.disconnect(container, found.id)
                except BaseException:
                    await self._lifecycle.ask(container, networks=before)
                    raise
                self._lifecycle.keep(container)
                self._changes.bump()

    async def update(self, container: Container, body: Json) -> None:
        """Change limits and the restart policy in place."""
        allowed = {
            "Memory",
            "MemorySwap",
            "NanoCpus",
            "CpuShares",
            "CpuPeriod",
            "CpuQuota",
            "CpusetCpus",
            "CpusetMems",
            "PidsLimit",
        }
        for key, value in body.items():
            if key not in allowed | {"RestartPolicy"} and value not in (None, 0, "", [], {}, False):
                raise ApiError(501, f"update container {container.name}: {key} is not there yet in this engine", "not-there-yet")
        async with container.lock:
            host = dict(container.host_config)
            given = {key: value for key, value in body.items() if key in allowed and value not in (None, "", 0)}
            if "Memory" in given and "MemorySwap" not in given and 0 < host["MemorySwap"] < given["Memory"]:
                raise ApiError(
                    409,
                    "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
                )
            if "NanoCpus" in given:
                host["CpuPeriod"] = host["CpuQuota"] = 0
            elif "CpuQuota" in given or "CpuPeriod" in given:
                host["NanoCpus"] = 0
            limits = {key: -1 if key == "MemorySwap" and value < 0 else value for key, value in given.items()}
            host.update(create.read_resources({**{key: host[key] for key in allowed}, **limits}))
            policy = mapping(body, "RestartPolicy")
            if policy.get("Name"):
                wanted = {"Name": text(policy, "Name"), "MaximumRetryCount": number(policy, "MaximumRetryCount")}
                create.check_restart_policy(wanted, host["AutoRemove"])
                host["RestartPolicy"] = wanted
            before = container.record
            await self._lifecycle.ask(container, host_config=host)
            try:
                await self._lifecycle.update_resources(container)
            except OSError as error:
                await self._lifecycle.ask(container, host_config=before["host_config"])
                status = 400 if error.errno in (errno.EINVAL, errno.ERANGE) else 500
                raise ApiError(status, f"update container {container.name}: {error.strerror}: {error.filename}") from error

    async def wait(self, container: Container, condition: str) -> int:
        """The exit code, when it is not running, at its next end, or when it has been removed."""
        if condition == "removed":
            await container.removed.wait()
        elif condition == "next-exit":
            await container.next_end.wait()
        elif condition in ("", "not-running"):
            await container.ended.wait()
        else:
            raise ApiError(400, f'invalid condition: "{condition}"')
        return container.exit_code

    def _new_id(self) -> str:
        while True:
            identity = secrets.token_hex(32)
            if not any(other.startswith(identity[:12]) for other in self._by_id):
                return identity

    def _reserve_name(self, name: str, identity: str) -> str:
        if not name:
            name = next(
                candidate
                for attempt in range(64)
                if (candidate := naming.generate(secrets.randbits(48), attempt)) not in self._names
            )
        if name in self._names:
            raise ApiError(
                409,
                f'Conflict. The container name "/{name}" is already in use by container "{self._names[name]}". '
                "You have to remove (or rename) that container to be able to reuse that name.",
            )
        self._names[name] = identity
        return name

    def _replaced(self, body: Json) -> Optional[str]:
        wanted = text(mapping(body, "Gitopsd"), "Replaces")
        return self.get(wanted).id if wanted else None

    def _remove_anonymous_volumes(self, container: Container) -> None:
        for mount in container.record["mounts"]:
            if mount["Type"] == "volume" and not self.users_of_volume(mount["Name"]):
                try:
                    if self._volumes.record(mount["Name"])["anonymous"]:
                        self._volumes.remove(mount["Name"])
                except ApiError:
                    continue
