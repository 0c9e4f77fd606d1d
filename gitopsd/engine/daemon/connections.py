"""Containers and networks: who belongs where, with which addresses, names and published ports."""

from __future__ import annotations

import os

from gitopsd.dockerapi.values import Json
from gitopsd.engine.daemon.container import Container


class Connections:
    def plan(self, host: Json, endpoints: dict[str, Json]) -> dict[str, Json]:
        return {}

    async def allocate(self, container: Container) -> dict[str, Json]:
        return {}

    def write_etc(self, container: Container, folder: str, endpoints: dict[str, Json]) -> dict[str, str]:
        """Write hosts, hostname and resolv.conf; file name to its path."""
        written: dict[str, str] = {}
        for name, text in (
            ("hosts", "127.0.0.1\tlocalhost\n"),
            ("hostname", container.config["Hostname"] + "\n"),
            ("resolv.conf", ""),
        ):
            path = os.path.join(folder, "etc", name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            written[name] = path
        return written

    async def attach(self, container: Container, sockets: dict[str, int]) -> None:
        for descriptor in sockets.values():
            os.close(descriptor)

    async def publish(self, container: Container) -> None: ...

    async def release(self, container: Container) -> None: ...

    async def adopt(self, container: Container) -> None: ...

    def renamed(self, container: Container) -> None: ...
