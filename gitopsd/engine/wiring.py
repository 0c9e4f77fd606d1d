"""Builds the engine's parts and joins them; the only place that knows them all."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import grp
import json
import logging
import os
import secrets
import signal
import socket
import sys
from typing import Any, Optional

from gitopsd import __version__
from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.api import containers as containers_api
from gitopsd.engine.api import system as system_api
from gitopsd.engine.api import volumes as volumes_api
from gitopsd.engine.api.engine import Engine
from gitopsd.engine.api.router import Router
from gitopsd.engine.daemon import adopt
from gitopsd.engine.daemon.connections import Connections
from gitopsd.engine.daemon.container import Container
from gitopsd.engine.daemon.containers import Containers
from gitopsd.engine.daemon.execs import Execs
from gitopsd.engine.daemon.healthcheck import HealthChecks
from gitopsd.engine.daemon.leases import Leases
from gitopsd.engine.daemon.lifecycle import Lifecycle
from gitopsd.engine.daemon.logs import LogWatch
from gitopsd.engine.daemon.mounts import Mounts
from gitopsd.engine.daemon.store import ContainerStore
from gitopsd.engine.events.changes import Changes
from gitopsd.engine.http.server import serve_connection
from gitopsd.engine.paths.records import read_record, write_record
from gitopsd.engine.runtime import messages
from gitopsd.engine.runtime.cgroups import open_cgroups
from gitopsd.engine.runtime.launcher import Launcher
from gitopsd.engine.volumes.volumes import Volumes

LAYOUT = 1
DATA_ROOT, EXEC_ROOT = "/var/lib/gitopsd-engine", "/run/gitopsd-engine"
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"

_log = logging.getLogger(__name__)


class DataRoot:
    """The data root, locked for this process (docs/state.md)."""

    def __init__(self, path: str) -> None:
        self.path = path
        os.makedirs(path, 0o700, exist_ok=True)
        self._lock = os.open(os.path.join(path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"error: data-root-in-use\n  {path}: another daemon uses this data root") from None
        version = read_record(os.path.join(path, "VERSION"))
        if version is None:
            version = {"layout": LAYOUT, "instance": "".join(secrets.choice(_LETTERS) for _ in range(5))}
            write_record(os.path.join(path, "VERSION"), version)
        if version["layout"] != LAYOUT:
            raise SystemExit(
                f"error: data-root-version\n  {path}: layout {version['layout']}, this engine knows {LAYOUT}\n"
                "  hint: it was written by another version of the engine; start that one"
            )
        self.instance: str = version["instance"]


def worker_runner(launcher: Launcher) -> Any:
    """`run_worker(job, arguments, descriptors)`: blocks until the job is done; raises what it raised as an ApiError."""

    def run_worker(job: str, arguments: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        result = os.memfd_create("result", os.MFD_CLOEXEC)
        try:
            launcher.launch("worker", {"job": job, "arguments": arguments}, [theirs.fileno(), result, *descriptors])
            theirs.close()
            try:
                messages.receive(ours)
            except messages.Closed:
                raise ApiError(500, f"{job}: the worker was killed, by its limits or by somebody") from None
            with open(result, "rb", closefd=False) as file:
                file.seek(0)
                answer = json.loads(file.read())
        finally:
            ours.close()
            os.close(result)
        if "error" in answer:
            raise ApiError(answer["error"]["status"], answer["error"]["message"], answer["error"]["code"])
        return answer["result"]

    return run_worker


def daemon(arguments: list[str]) -> int:
    """`gitopsd-engine daemon …`; returns when it is told to end."""
    parser = argparse.ArgumentParser(
        prog="gitopsd-engine daemon",
        description="Run containers, images, networks and volumes behind the Docker Engine API.",
        epilog="Example: gitopsd-engine daemon --data-root /var/lib/gitopsd-engine --host unix:///run/gitopsd-engine/engine.sock",
    )
    parser.add_argument("--data-root", default=DATA_ROOT, help="what survives a reboot (default: %(default)s)")
    parser.add_argument("--exec-root", default=EXEC_ROOT, help="what does not (default: %(default)s)")
    parser.add_argument("--host", help="where the API listens, unix://PATH (default: engine.sock in the exec root)")
    parser.add_argument("--socket-group", help="the group that may use the API beside root")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_serve(options))
    return 0


async def _serve(options: argparse.Namespace) -> None:
    data_root, exec_root = os.path.abspath(options.data_root), os.path.abspath(options.exec_root)
    root = DataRoot(data_root)
    for path, mode in ((exec_root, 0o711), (os.path.join(exec_root, "m"), 0o700), (os.path.join(exec_root, "c"), 0o700)):
        os.makedirs(path, mode, exist_ok=True)
    with open(os.path.join(exec_root, "engine.pid"), "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    launcher = Launcher()
    launcher.start()
    engine = build(root, exec_root, launcher)
    records, broken = engine.store.load()
    for name in broken:
        _log.error("the record of container %s cannot be read; it is left alone", name)
    for record in records:
        engine.containers.add(Container(record))
    await adopt.adopt(engine.lifecycle, engine.store, engine.cgroups, exec_root, engine.containers.all())
    router = Router(engine, [*system_api.ROUTES, *containers_api.ROUTES, *volumes_api.ROUTES])
    server = await _listen(router, options.host or f"unix://{exec_root}/engine.sock", options.socket_group)
    await adopt.start_wanted(engine.lifecycle, engine.containers.all())
    _log.info("gitopsd-engine %s, instance %s, data root %s", __version__, root.instance, data_root)
    notify("READY=1")
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    await ending.wait()
    server.close()
    launcher.close()


def build(root: DataRoot, exec_root: str, launcher: Launcher) -> Engine:
    """The parts of the daemon, joined. Needs a running event loop."""
    data_root = root.path
    changes = Changes()
    cgroups = open_cgroups(root.instance)
    store = ContainerStore(data_root)
    execs = Execs(launcher, cgroups)
    volumes = Volumes(data_root, lambda name: containers.users_of_volume(name))
    connections = Connections()

    def health_changed(container: Container) -> None:
        lifecycle.keep(container)
        changes.bump()

    health = HealthChecks(execs, health_changed)
    mounts = Mounts(data_root, volumes, worker_runner(launcher))
    lifecycle = Lifecycle(data_root, exec_root, store, launcher, cgroups, connections, mounts, health, changes)
    containers = Containers(store, lifecycle, connections, images, volumes, execs, changes)
    return Engine(
        version=__version__,
        instance=root.instance,
        data_root=data_root,
        exec_root=exec_root,
        cgroups=cgroups,
        containers=containers,
        lifecycle=lifecycle,
        store=store,
        execs=execs,
        logs=LogWatch(),
        leases=Leases(data_root, changes),
        volumes=volumes,
        changes=changes,
    )


async def _listen(router: Router, host: str, group: Optional[str]) -> asyncio.AbstractServer:
    if not host.startswith("unix://"):
        raise SystemExit(f"error: bad-host\n  {host}: expected unix://PATH")
    path = host[len("unix://") :]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o117)
    sock.bind(path)
    os.umask(mask)
    if group:
        os.chown(path, 0, grp.getgrnam(group).gr_gid)
    return await asyncio.start_unix_server(
        lambda reader, writer: serve_connection(router.handle, reader, writer), sock=sock, backlog=1024
    )


def notify(message: str) -> None:
    """sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)
