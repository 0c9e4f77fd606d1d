"""Builds the engine's parts and joins them; the only place that knows them all."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import grp
import json
import logging
import os
import pwd
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from typing import Any, Optional, cast

from gitopsd import __version__
from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.api import build as build_api
from gitopsd.engine.api import buildkit as buildkit_api
from gitopsd.engine.api import buildrun
from gitopsd.engine.api import containers as containers_api
from gitopsd.engine.api import events as events_api
from gitopsd.engine.api import gitopsd as gitopsd_api
from gitopsd.engine.api import images as images_api
from gitopsd.engine.api import networks as networks_api
from gitopsd.engine.api import system as system_api
from gitopsd.engine.api import volumes as volumes_api
from gitopsd.engine.api.engine import Engine
from gitopsd.engine.api.router import Route, Router
from gitopsd.engine.builder.build import Builder
from gitopsd.engine.daemon import adopt
from gitopsd.engine.daemon.connections import Connections
from gitopsd.engine.daemon.container import Container
from gitopsd.engine.daemon.containers import Containers
from gitopsd.engine.daemon.execs import Execs
from gitopsd.engine.daemon.healthcheck import HealthChecks
from gitopsd.engine.daemon.identity import Identity
from gitopsd.engine.daemon.leases import Leases
from gitopsd.engine.daemon.lifecycle import Lifecycle
from gitopsd.engine.daemon.logs import LogWatch
from gitopsd.engine.daemon.mounts import Mounts
from gitopsd.engine.daemon.store import ContainerStore
from gitopsd.engine.daemon.times import rfc3339
from gitopsd.engine.daemon.transition import finish_broken_off
from gitopsd.engine.events.changes import Changes
from gitopsd.engine.http.server import serve_connection
from gitopsd.engine.images.images import Images, Use
from gitopsd.engine.images.registries import Registries
from gitopsd.engine.networks.allocate import DEFAULT_BLOCK
from gitopsd.engine.networks.dns import Resolver
from gitopsd.engine.networks.networks import Networks
from gitopsd.engine.paths.records import Unreadable, read_record, write_record
from gitopsd.engine.registry.server import serve as serve_registry
from gitopsd.engine.runtime import messages
from gitopsd.engine.runtime.cgroups import open_cgroups
from gitopsd.engine.runtime.launcher import Launcher
from gitopsd.engine.volumes.volumes import Volumes

LAYOUT = 1
DATA_ROOT, EXEC_ROOT = "/var/lib/gitopsd-engine", "/run/gitopsd-engine"
_COLLECT_EVERY_S = 3600.0
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"

ROUTES: list[Route] = [
    *system_api.ROUTES,
    *containers_api.ROUTES,
    *images_api.ROUTES,
    *build_api.ROUTES,
    *buildkit_api.ROUTES,
    *events_api.ROUTES,
    *networks_api.ROUTES,
    *volumes_api.ROUTES,
    *gitopsd_api.ROUTES,
]

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
        version = self._read_version()
        if version is None:
            version = {"layout": LAYOUT, "instance": "".join(secrets.choice(_LETTERS) for _ in range(5))}
            write_record(os.path.join(path, "VERSION"), version)
        self.instance = str(version["instance"])

    def _read_version(self) -> Any:
        """VERSION, None when the root is new; what this engine does not know it does not touch."""
        path = os.path.join(self.path, "VERSION")
        try:
            version = read_record(path)
        except Unreadable as error:
            raise SystemExit(f"error: data-root-version\n  {error}") from None
        if version is None:
            return None
        found = cast("dict[str, Any]", version if isinstance(version, dict) else {})
        if found.get("layout") != LAYOUT:
            raise SystemExit(
                f"error: data-root-version\n  {path}: layout {found.get('layout')!r}, this engine knows {LAYOUT}\n"
                "  hint: it was written by another version of the engine; start that one"
            )
        if not re.fullmatch("[a-z2-7]{5}", str(found.get("instance"))):
            raise SystemExit(f"error: data-root-version\n  {path}: {found.get('instance')!r} is not the id of an instance")
        return found


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


def _folder(path: str) -> str:
    return os.path.abspath(path)


def _add_roots(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-root", type=_folder, default=DATA_ROOT, help="what survives a reboot (default: %(default)s)")
    parser.add_argument("--exec-root", type=_folder, default=EXEC_ROOT, help="what does not (default: %(default)s)")


def _add_daemon_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address-block", default=DEFAULT_BLOCK, help="where networks take their addresses (default: %(default)s)"
    )
    parser.add_argument("--registry-mirror", action="append", default=[], metavar="REGISTRY=ADDRESS",
                        help="who answers for a registry: docker.io=127.0.0.1:5000")  # fmt: skip
    parser.add_argument("--insecure-registry", action="append", default=[], metavar="ADDRESS", help="spoken to in http")


def daemon(arguments: list[str]) -> int:
    """`gitopsd-engine daemon …`; returns when it is told to end."""
    parser = argparse.ArgumentParser(
        prog="gitopsd-engine daemon",
        description="Run containers, images, networks and volumes behind the Docker Engine API.",
        epilog="Example: gitopsd-engine daemon --data-root /var/lib/gitopsd-engine --host unix:///run/gitopsd-engine/engine.sock",
    )
    _add_roots(parser)
    parser.add_argument("--host", help="where the API listens, unix://PATH (default: engine.sock in the exec root)")
    parser.add_argument("--socket-user", help="the user that may use the API beside root, by name or number")
    parser.add_argument("--socket-group", help="the group that may use the API beside root, by name or number")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    _add_daemon_options(parser)
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    _run(_serve(options))
    return 0


def registry(arguments: list[str]) -> int:
    """`gitopsd-engine registry …`; returns when it is told to end."""
    parser = argparse.ArgumentParser(
        prog="gitopsd-engine registry",
        description="Keep images for others, by the OCI distribution specification. May share its data root with a daemon.",
        epilog="Example: gitopsd-engine registry --data-root /var/lib/gitopsd-engine --listen 127.0.0.1:5000",
    )
    parser.add_argument("--data-root", type=_folder, default=DATA_ROOT, help="(default: %(default)s)")
    parser.add_argument("--listen", default="127.0.0.1:5000", help="address and port (default: %(default)s)")
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(_serve_registry(options))
    except ApiError as error:
        raise SystemExit(f"error: {error.message}") from None
    return 0


async def _serve_registry(options: argparse.Namespace) -> None:
    serving = asyncio.ensure_future(
        serve_registry(
            options.data_root,
            options.listen,
            ready=lambda address: _log.info("registry on %s", address),
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def _serve(options: argparse.Namespace) -> None:
    root = DataRoot(options.data_root)
    exec_root: str = options.exec_root
    prepare_exec_root(exec_root)
    launcher = Launcher()
    launcher.start()
    engine = build(root, exec_root, launcher, options)
    await take_over(engine)
    router = Router(engine, ROUTES)
    server = await _listen(router, options.host or f"unix://{exec_root}/engine.sock", options.socket_user, options.socket_group)
    await adopt.start_wanted(engine.lifecycle, engine.containers.all())
    _log.info("gitopsd-engine %s, instance %s, data root %s", __version__, root.instance, root.path)
    notify("READY=1")
    collecting = asyncio.ensure_future(_collect(engine))
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    await ending.wait()
    collecting.cancel()
    server.close()
    engine.images.close()
    engine.networks.close()
    launcher.close()


async def _collect(engine: Engine) -> None:
    """Every hour: remove the blobs and layers that nobody needs, of the registry and the builder on this data root too."""
    while True:
        await asyncio.sleep(_COLLECT_EVERY_S)
        try:
            collected = await asyncio.to_thread(engine.images.collect, [engine.builder.cache])
            if collected.removed:
                _log.info("collected %d blobs, %d bytes", len(collected.removed), collected.freed_bytes)
        except Exception:  # noqa: BLE001  the next hour tries again
            _log.exception("collect blobs")


async def take_over(engine: Engine) -> None:
    """Read what is on disk, adopt what runs, and finish what the last daemon had begun."""
    records, broken = engine.store.load()
    for name in broken:
        _log.error("the record of container %s cannot be read; it is left alone", name)
    for record in records:
        engine.containers.add(Container(record))
    await adopt.adopt(engine.lifecycle, engine.store, engine.cgroups, engine.exec_root, engine.containers.all())
    await engine.connections.start()
    await finish_broken_off(engine.containers, engine.lifecycle, engine.connections)
    await buildrun.remove_leftovers(engine.containers)


def prepare_exec_root(path: str) -> None:
    for folder, mode in ((path, 0o711), (os.path.join(path, "m"), 0o700), (os.path.join(path, "c"), 0o700)):
        os.makedirs(folder, mode, exist_ok=True)
    with open(os.path.join(path, "engine.pid"), "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")


def build(root: DataRoot, exec_root: str, launcher: Launcher, options: argparse.Namespace) -> Engine:
    """The parts of the daemon, joined. Needs a running event loop."""
    data_root, changes = root.path, Changes()
    cgroups = open_cgroups(root.instance)
    identity = Identity(data_root)
    run_worker = worker_runner(launcher)
    store = ContainerStore(data_root)
    execs = Execs(launcher, cgroups)
    networks = Networks(root.instance, os.path.join(data_root, "networks"), _now, identity.block or options.address_block)
    resolver = Resolver(lambda: networks.names)

    def find(identity: str) -> Optional[Container]:
        return containers.by_id(identity)

    def users_of_volume(name: str) -> list[str]:
        return containers.users_of_volume(name)

    def images_used() -> list[Use]:
        return containers.images_used()

    def health_changed(container: Container) -> None:
        lifecycle.keep(container)
        changes.bump()

    volumes = Volumes(data_root, users_of_volume)
    images = Images(data_root, run_worker, images_used, changes.bump, registries_of(options))
    connections = Connections(networks, resolver, find)
    mounts = Mounts(data_root, volumes, run_worker)
    health = HealthChecks(execs, health_changed)
    lifecycle = Lifecycle(data_root, exec_root, store, launcher, cgroups, connections, mounts, health, changes)
    containers = Containers(store, lifecycle, connections, images, volumes, execs, changes)
    logs = LogWatch()
    runner = buildrun.ContainerRunner(containers, lifecycle, store, logs)
    builder = Builder(os.path.join(data_root, "builder"), images, runner, run_worker, lambda: time.time_ns() // 1_000_000_000)
    return Engine(
        version=__version__,
        instance=root.instance,
        data_root=data_root,
        exec_root=exec_root,
        identity=identity,
        cgroups=cgroups,
        images=images,
        builder=builder,
        networks=networks,
        connections=connections,
        containers=containers,
        lifecycle=lifecycle,
        store=store,
        execs=execs,
        logs=logs,
        leases=Leases(data_root, changes),
        volumes=volumes,
        changes=changes,
    )


def registries_of(options: argparse.Namespace) -> Registries:
    mirrors: dict[str, str] = {}
    for text in options.registry_mirror:
        name, equals, address = text.partition("=")
        if not equals or not name or not address:
            raise SystemExit(f"error: bad-mirror\n  --registry-mirror {text}: expected REGISTRY=ADDRESS")
        mirrors[name] = address
    return Registries(mirrors, options.insecure_registry)


def _now() -> str:
    return rfc3339(time.time_ns())


def uninstall(arguments: list[str]) -> int:
    """`gitopsd-engine uninstall`: end all containers and take everything out of the kernel; files stay."""
    parser = argparse.ArgumentParser(
        prog="gitopsd-engine uninstall",
        description="Stop and remove all containers of a data root whose daemon has ended, and all that the kernel holds for it.",
        epilog="Example: gitopsd-engine uninstall --data-root /var/lib/gitopsd-engine",
    )
    _add_roots(parser)
    _add_daemon_options(parser)
    _run(_uninstall(parser.parse_args(arguments)))
    return 0


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    except Unreadable as error:
        raise SystemExit(
            f"error: record-unreadable\n  {error}\n  hint: bring the file back from a copy; nothing was changed, containers go on"
        ) from None


async def _uninstall(options: argparse.Namespace) -> None:
    root = DataRoot(options.data_root)
    prepare_exec_root(options.exec_root)
    launcher = Launcher()
    engine = build(root, options.exec_root, launcher, options)
    await take_over(engine)
    for container in engine.containers.all():
        await engine.containers.remove(container, force=True)
    await asyncio.to_thread(engine.networks.tear_down)
    engine.networks.close()
    engine.cgroups.remove_parent()
    launcher.close()


async def _listen(router: Router, host: str, user: Optional[str], group: Optional[str]) -> asyncio.AbstractServer:
    if not host.startswith("unix://"):
        raise SystemExit(f"error: bad-host\n  {host}: expected unix://PATH")
    path = host[len("unix://") :]
    return await asyncio.start_unix_server(
        lambda reader, writer: serve_connection(router.handle, reader, writer), sock=_bind(path, user, group), backlog=1024
    )


def _bind(path: str, user: Optional[str], group: Optional[str]) -> socket.socket:
    """A socket at `path` for root, the user and the group, in place of one that was left there."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    sock.bind(path)
    os.umask(mask)
    if group:
        os.chown(path, -1, int(group) if group.isdigit() else grp.getgrnam(group).gr_gid)
        os.chmod(path, 0o660)
    if user:
        os.chown(path, int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid, -1)
    return sock


def notify(message: str) -> None:
    """sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)
