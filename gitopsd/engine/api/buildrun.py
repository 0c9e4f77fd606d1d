"""RUN, in a container like any other: `docker ps` shows it, and its network is the default one.

In: a builder's command.  Out: its exit code; what it wrote is moved into the folder that the builder named.

The builder waits in a thread; the container lives on the daemon's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.needs import Command, Ended
from gitopsd.engine.daemon import logs
from gitopsd.engine.daemon.container import Container
from gitopsd.engine.daemon.containers import Containers
from gitopsd.engine.daemon.lifecycle import Lifecycle
from gitopsd.engine.daemon.logs import LogWatch
from gitopsd.engine.daemon.store import ContainerStore

_log = logging.getLogger(__name__)

_LOOK_S = 0.1


async def remove_leftovers(containers: Containers) -> None:
    """Remove the containers of builds that ended with an earlier daemon."""
    for container in containers.all():
        if container.record.get("build"):  # our own word: labels are the image's and the user's
            try:
                await containers.remove(container, force=True, with_volumes=True)
            except ApiError as error:
                _log.error("a container of a build that ended stays: %s", error.message)


class ContainerRunner:
    """Runs a build's commands. Made on the daemon's loop, called in other threads."""

    def __init__(self, containers: Containers, lifecycle: Lifecycle, store: ContainerStore, watch: LogWatch) -> None:
        self._containers, self._lifecycle, self._store, self._watch = containers, lifecycle, store, watch
        self._loop = asyncio.get_running_loop()

    def run(self, command: Command, output: Callable[[bytes], None], cancelled: threading.Event) -> Ended:
        return asyncio.run_coroutine_threadsafe(self._run(command, output, cancelled), self._loop).result()

    async def _run(self, command: Command, output: Callable[[bytes], None], cancelled: threading.Event) -> Ended:
        body: dict[str, Any] = {
            "Image": "build",
            "Labels": {"gitopsd.build": "step"},
            "Cmd": list(command.arguments),
            "Env": list(command.environment),
            "WorkingDir": command.directory,
            "User": command.user,
            "HostConfig": {"NetworkMode": command.network, "ExtraHosts": list(command.extra_hosts)},
        }
        container, _ = await self._containers.create(body, "", list(command.lower))
        try:
            await self._lifecycle.start(container)
            ending = asyncio.ensure_future(self._end_when(cancelled, container))
            try:
                folder = self._store.path(container.id, "log")
                async for records in logs.follow(self._watch, folder, logs.beginning(folder), container.ended):
                    output(b"".join(data for _, _, data in records))
            finally:
                ending.cancel()
            if cancelled.is_set():
                raise BuildError("the build was cancelled")
            return await asyncio.to_thread(self._taken, container, command)
        finally:
            await self._containers.remove(container, force=True, with_volumes=True)

    async def _end_when(self, cancelled: threading.Event, container: Container) -> None:
        while not cancelled.is_set():  # noqa: ASYNC110  it is set in a thread
            await asyncio.sleep(_LOOK_S)
        with contextlib.suppress(ApiError):
            await self._lifecycle.stop(container, 0)

    def _taken(self, container: Container, command: Command) -> Ended:
        """What the command wrote becomes the builder's, and with it the list of what was mounted over it."""
        with open(self._store.path(container.id, "bundle", "config.json"), encoding="utf-8", errors="surrogateescape") as file:
            mounted = tuple(mount["destination"] for mount in json.load(file)["mounts"])
        if container.exit_code == 0:
            os.rmdir(command.upper)
            os.rename(self._store.path(container.id, "upper"), command.upper)
        return Ended(container.exit_code, mounted)
