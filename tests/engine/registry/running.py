"""Registries to test with: ours in a thread, Debian's docker-registry as a process, and plain requests."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitopsd.engine.registry.server import serve
from gitopsd.oci.digest import Digest


@contextmanager
def our_registry(data_root: Path) -> Generator[str, None, None]:
    """Its address."""
    loop = asyncio.new_event_loop()
    address: list[str] = []
    started = threading.Event()

    def ready(where: str) -> None:
        address.append(where)
        started.set()

    task = loop.create_task(serve(str(data_root), "127.0.0.1:0", ready=ready))

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@contextmanager
def debians_registry(folder: Path) -> Iterator[str]:  # pyright: ignore[reportDeprecated]
    """docker-registry from Debian's package."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["errors"][0]["code"]


def ask(address: str, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def push_blob(address: str, repository: str, data: bytes) -> Digest:
    digest = Digest.of(data)
    location = ask(address, "POST", f"/v2/{repository}/blobs/uploads/").headers["location"]
    assert ask(address, "PUT", f"{location}?digest={digest}", data).status == 201
    return digest
