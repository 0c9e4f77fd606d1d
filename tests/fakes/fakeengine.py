"""An engine in memory, behind real HTTP on a unix socket, for tests of the controller.

It keeps to docs/engine-api.md as far as the controller goes, and passes tests/contract/test_engine_contract.py like the real one. What a
container does once it is started is up to the test (`behaves`), and so is when the engine falls over (`crash`).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]


class NoError(Exception):
    """The engine says no."""

    def __init__(self, status: int, message: str, code: str = "", **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, **({"code": code} if code else {}), **more}


class CrashError(BaseException):
    """Raised by a test's hook: the connection ends without an answer."""


@dataclass
class Behaviour:
    """What a container does: its health, whether it ends at once and with which code, what it prints."""

    health: str = "healthy"
    exits: int | None = None
    output: bytes = b""


@dataclass
class Container:
    id: str
    name: str
    create: Json
    generation: int = 1
    status: str = "created"
    exit_code: int = 0
    started: str = "0001-01-01T00:00:00Z"
    health: str = ""
    replaces: str | None = None
    networks: Json = field(default_factory=dict)
    limits: Json = field(default_factory=dict)
    image: str = ""
    behaviour: Behaviour = field(default_factory=Behaviour)

    @property
    def published(self) -> set[tuple[str, str]]:
        bindings = (self.create.get("HostConfig") or {}).get("PortBindings") or {}
        return {(port, entry["HostPort"]) for port, entries in bindings.items() for entry in entries if entry.get("HostPort")}


class FakeEngine:
    def __init__(self, folder: Path, name: str = "a") -> None:
        self.name = name
        self.socket = folder / f"{name}.sock"
        self.lock = threading.RLock()
        self.containers: dict[str, Container] = {}
        self.networks: dict[str, Json] = {}
        self.volumes: dict[str, Json] = {}
        self.blobs: dict[str, bytes] = {}
        self.images: dict[str, Json] = {}
        self.intent: Json = {}
        self.intent_version = 0
        self.host: Json = {"fleet": None, "host": None, "number": None}
        self.leases: dict[str, tuple[str, int]] = {}
        self.behaves: Callable[[Container], Behaviour] = lambda container: Behaviour()
        self.hook: Callable[[str, str], None] = lambda method, path: None
        """Called before each request is carried out, with its method and path."""
        self.after: Callable[[str, str], None] = lambda method, path: None
        """Called when it is carried out and not yet answered."""
        self.builds: list[tuple[dict[str, str], bytes]] = []
        """What was asked to be built: the query and the context."""
        self.builds_as: Callable[[dict[str, str]], list[Json]] = lambda query: [{"stream": "Step 1/1 : FROM busybox\n"}]
        self.push_to: Callable[[str, bytes], str] = lambda name, context: "sha256:" + hashlib.sha256(context).hexdigest()
        """Where pushes go: gives the digest."""
        self.pushed: dict[str, str] = {}
        self.changing: list[tuple[str, str]] = []
        """Every request that asks for a change."""
        self._tokens = itertools.count(1)
        self._ids = itertools.count(1)
        self._version = 0
        self._server: socketserver.BaseServer | None = None
        self.come_back()

    def come_back(self) -> None:
        self.socket.unlink(missing_ok=True)
        self._server = _Server(str(self.socket), self)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self._version += 1_000_000

    def crash(self) -> None:
        """As if killed: no answers, all connections gone, and with them the leases."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.hang_up()  # type: ignore[attr-defined]
        self.socket.unlink(missing_ok=True)
        self.leases.clear()

    close = crash

    @property
    def etag(self) -> str:
        return f'"{self._version}"'

    def changed(self) -> None:
        self._version += 1

    def find(self, name: str) -> Container:
        found = [c for c in self.containers.values() if name in (c.id, c.name) or (len(name) >= 12 and c.id.startswith(name))]
        if not found:
            raise NoError(404, f"No such container: {name}")
        return found[0]

    def named(self, name: str) -> Container | None:
        return next((container for container in self.containers.values() if container.name == name), None)

    def add_image(self, manifest: bytes, blobs: dict[str, bytes], references: list[str]) -> str:
        """An image that is there already; its digest."""
        self.blobs |= blobs
        digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        self.blobs[digest] = manifest
        self._register(digest, references)
        return digest

    # what requests do

    def state(self) -> Json:
        return {
            "version": 1,
            "engine": {"version": "0.1.0", "api": "1.44", "instance": "fake0"},
            "host": {**self.host, "block": "10.192.0.0/21", "kernel": "6.1.0", "architecture": "x86_64", "os": "Fake", "cpus": 2,
                     "memory_bytes": 1 << 30, "free_bytes": 1 << 30, "boot": "1"},
            "containers": [
                {"generation": c.generation, "create": c.create, "inspect": self.inspect(c), "replaces": c.replaces}
                for c in self.containers.values()
            ],
            "networks": [
                {"generation": 1, "create": n["create"], "inspect": self.show_network(n)} for n in self.networks.values()
            ],
            "volumes": [{"generation": 1, "create": v, "inspect": v} for v in self.volumes.values()],
            "images": list(self.images.values()),
            "leases": [{"stack": stack, "holder": holder, "token": token} for stack, (holder, token) in self.leases.items()],
            "intent": {"etag": str(self.intent_version), "value": self.intent},
        }  # fmt: skip

    def show_network(self, network: Json) -> Json:
        return {"Id": network["Id"], "Name": network["create"]["Name"], "Labels": network["create"].get("Labels") or {}}

    def inspect(self, container: Container) -> Json:
        state: Json = {
            "Status": container.status,
            "Running": container.status == "running",
            "ExitCode": container.exit_code,
            "OOMKilled": False,
            "Error": "",
            "StartedAt": container.started,
        }
        if container.health:
            state["Health"] = {"Status": container.health, "FailingStreak": 0}
        return {
            "Id": container.id,
            "Name": f"/{container.name}",
            "Image": container.image,
            "RestartCount": 0,
            "State": state,
            "Config": {"Labels": container.create.get("Labels") or {}, "Image": container.create["Image"]},
            "HostConfig": {**(container.create.get("HostConfig") or {}), **container.limits},
            "NetworkSettings": {"Networks": {n: {"Aliases": e.get("Aliases") or None} for n, e in container.networks.items()}},
        }

    def create(self, name: str, body: Json) -> Container:
        if self.named(name):
            raise NoError(409, f'Conflict. The container name "/{name}" is already in use')
        digest = body["Image"].partition("@")[2]
        named = (image["digest"] for image in self.images.values() if body["Image"] in image["references"])
        digest = digest or next(named, "")
        if digest not in self.images:
            raise NoError(404, f"No such image: {body['Image']}")
        endpoints = dict((body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {})
        for network in endpoints:
            if not any(n["create"]["Name"] == network for n in self.networks.values()):
                raise NoError(400, f"create container: network {network} not found", "no-such-network")
        for mount in (body.get("HostConfig") or {}).get("Mounts") or ():
            if mount["Type"] == "volume":
                self.volumes.setdefault(mount["Source"], {"Name": mount["Source"]})
        identity = hashlib.sha256(f"{self.name}{next(self._ids)}".encode()).hexdigest()
        replaces = (body.get("Gitopsd") or {}).get("Replaces")
        made = Container(identity, name, body, replaces=replaces, networks=endpoints, image=self.images[digest]["id"])
        self.containers[identity] = made
        return made

    def start(self, container: Container) -> int:
        if container.status == "running":
            return 304
        replaced = self.containers.get(container.replaces or "")
        waits = replaced is not None and replaced.status == "running"
        if not waits:
            for other in self.containers.values():
                if (
                    other is not container
                    and other.status == "running"
                    and not other.replaces
                    and other.published & container.published
                ):
                    raise NoError(500, f"start container {container.name}: its port is taken by container {other.name}")
            container.replaces = None
        container.behaviour = self.behaves(container)
        container.generation += 1
        container.started = f"2026-11-24T12:00:{next(self._ids):02d}Z"
        container.exit_code = container.behaviour.exits or 0
        container.status = "running" if container.behaviour.exits is None else "exited"
        check = container.create.get("Healthcheck") or {}
        has_check = bool(check.get("Test")) and check["Test"] != ["NONE"] and container.status == "running"
        container.health = container.behaviour.health if has_check else ""
        return 204

    def stop(self, container: Container) -> int:
        if container.status != "running":
            return 304
        container.status, container.exit_code, container.health = "exited", 137, ""
        container.generation += 1
        return 204

    def transition(self, old: Container, new: Container) -> Json:
        if new.replaces is None and old.name == f"{new.name}.old":
            return {"ports": 0, "names": 0, "conntrack_deleted": 0}
        if old.status != "running" or new.status != "running":
            raise NoError(409, "transition: a container is not running", "not-running")
        if old.published != new.published:
            raise NoError(409, "transition: the ports differ", "ports-differ")
        name = old.name
        old.name, new.name, new.replaces = f"{name}.old", name, None
        old.generation += 1
        new.generation += 1
        return {"ports": len(new.published), "names": len(new.networks), "conntrack_deleted": 0}

    def _register(self, manifest: str, references: list[str]) -> Json:
        if manifest not in self.blobs:
            raise NoError(409, "blobs are missing", "blobs-missing", missing=[manifest])
        read = json.loads(self.blobs[manifest])
        named = [read["config"]["digest"], *(layer["digest"] for layer in read["layers"])]
        missing = [digest for digest in named if digest not in self.blobs]
        if missing:
            raise NoError(409, "blobs are missing", "blobs-missing", missing=missing)
        size = sum(len(self.blobs[digest]) for digest in named)
        known = self.images.setdefault(
            manifest,
            {"digest": manifest, "id": read["config"]["digest"], "references": [], "size_bytes": size, "platform": "linux/amd64"},
        )
        known["references"] = sorted({*known["references"], *references})
        return known


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str, engine: FakeEngine) -> None:
        self.engine = engine
        self.connections: set[socket.socket] = set()
        super().__init__(path, _Handler)

    def hang_up(self) -> None:
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def __getattr__(self, name: str) -> Any:
        if name in ("do_GET", "do_POST", "do_PUT", "do_DELETE"):
            return self._handle
        raise AttributeError(name)

    def _handle(self) -> None:
        engine = self.server.engine
        parts = urlsplit(self.path)
        path = re.sub(r"^/v1\.\d+", "", unquote(parts.path))
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        data = self._body()
        try:
            engine.hook(self.command, path)
            if path == "/gitopsd/v1/lease":
                self._lease(json.loads(data))
                return
            with engine.lock:
                if self.command != "GET":
                    engine.changing.append((self.command, path))
                    self._check_lease(engine)
                status, body, headers = self._route(engine, path, query, data)
                if self.command != "GET" and "missing" not in path:
                    engine.changed()
            engine.after(self.command, path)
        except NoError as error:
            status, body, headers = error.status, error.body, {}
        except CrashError:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(status, body, headers)

    def _answer(self, status: int, body: Any, headers: dict[str, str]) -> None:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if status not in (204, 304):
            self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = b""
            while size := int(self.rfile.readline(), 16):
                pieces += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return pieces
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _check_lease(self, engine: FakeEngine) -> None:
        text = self.headers.get("X-Gitopsd-Lease")
        if text is not None:
            stack, _, token = text.rpartition("=")
            if str(engine.leases.get(stack, ("", 0))[1]) != token:
                raise NoError(412, f"the lease {text} is not held", "lease-lost")

    def _lease(self, body: Json) -> None:
        engine = self.server.engine
        stack = body["stack"]
        with engine.lock:
            if stack in engine.leases:
                holder, token = engine.leases[stack]
                raise NoError(409, f"stack {stack} is managed by {holder}", "lease-held", holder=holder, token=token)
            token = next(engine._tokens)
            engine.leases[stack] = (body["holder"], token)
            engine.changed()
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(json.dumps({"token": token}).encode() + b"\n")
            self.wfile.flush()
            select.select([self.connection], [], [])
        with engine.lock:
            if engine.leases.get(stack) == (body["holder"], token):
                del engine.leases[stack]
                engine.changed()

    def _expected(self, generation: int, name: str) -> None:
        asked = self.headers.get("X-Gitopsd-If-Generation")
        if asked is not None and int(asked) != generation:
            raise NoError(412, f"{name} has changed", "generation-changed", generation=generation)

    def _route(self, engine: FakeEngine, path: str, query: dict[str, str], data: bytes) -> tuple[int, Any, dict[str, str]]:
        for method, pattern, handler in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                return handler(self, engine, match.groupdict(), query, data)
        raise NoError(501, f"{self.command} {path} is not there yet in this engine", "not-there-yet")


Answer = tuple[int, Any, dict[str, str]]
Names = dict[str, str]


def _ping(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    return 200, b"OK", {}


def _state(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    if request.headers.get("If-None-Match") == engine.etag:
        return 304, None, {"ETag": engine.etag}
    return 200, engine.state(), {"ETag": engine.etag}


def _put_host(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    engine.host = json.loads(data)
    return 200, {}, {}


def _transition(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    body = json.loads(data)
    for name, generation in (body.get("generations") or {}).items():
        if engine.find(name).generation != generation:
            raise NoError(412, f"{name} has changed", "generation-changed", generation=engine.find(name).generation)
    return 200, engine.transition(engine.find(body["old"]), engine.find(body["new"])), {}


def _blobs_missing(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    return 200, {"missing": [d for d in json.loads(data)["digests"] if d not in engine.blobs], "partial": {}}, {}


def _put_blob(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    digest = names["name"]
    if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
        raise NoError(400, f"the bytes are not those of {digest}", "digest-mismatch")
    engine.blobs[digest] = data
    return 201, {}, {}


def _put_image(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    body = json.loads(data)
    return 201, {"id": engine._register(body["manifest"], body["references"])["id"]}, {}


def _get_intent(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    return 200, engine.intent, {"ETag": str(engine.intent_version)}


def _put_intent(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    if request.headers.get("If-Match") != str(engine.intent_version):
        raise NoError(412, "the intent has changed", "intent-changed")
    engine.intent, engine.intent_version = json.loads(data), engine.intent_version + 1
    return 200, {}, {"ETag": str(engine.intent_version)}


def _create(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    return 201, {"Id": engine.create(query["name"], json.loads(data)).id, "Warnings": []}, {}


def _inspect(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    return 200, engine.inspect(engine.find(names["name"])), {}


def _start(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    container = engine.find(names["name"])
    request._expected(container.generation, container.name)
    return engine.start(container), None, {}


def _stop(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    container = engine.find(names["name"])
    request._expected(container.generation, container.name)
    return engine.stop(container), None, {}


def _rename(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    container = engine.find(names["name"])
    request._expected(container.generation, container.name)
    if engine.named(query["name"]):
        raise NoError(409, f"the name {query['name']} is in use")
    container.name = query["name"]
    container.generation += 1
    return 204, None, {}


def _update(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    container = engine.find(names["name"])
    request._expected(container.generation, container.name)
    container.limits |= {key: value for key, value in json.loads(data).items() if value}
    container.generation += 1
    return 200, {"Warnings": None}, {}


def _remove(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    container = engine.find(names["name"])
    request._expected(container.generation, container.name)
    if container.status == "running" and query.get("force") != "1":
        raise NoError(409, f"cannot remove container {container.name}: container is running")
    del engine.containers[container.id]
    return 204, None, {}


def _image(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    digest = names["image"].partition("@")[2]
    if digest not in engine.images:
        raise NoError(404, f"No such image: {names['image']}")
    return 200, {"Id": engine.images[digest]["id"]}, {}


def _logs(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    output = engine.find(names["name"]).behaviour.output
    framed = b"\x01\0\0\0" + len(output).to_bytes(4, "big") + output if output else b""
    return 200, framed, {"Content-Type": "application/vnd.docker.multiplexed-stream", "Connection": "close"}


def _create_network(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    body = json.loads(data)
    if any(network["create"]["Name"] == body["Name"] for network in engine.networks.values()):
        raise NoError(409, f"network with name {body['Name']} already exists")
    identity = hashlib.sha256(f"net{next(engine._ids)}".encode()).hexdigest()
    engine.networks[identity] = {"Id": identity, "create": body}
    return 201, {"Id": identity, "Warning": ""}, {}


def _network(engine: FakeEngine, name: str) -> Json:
    for network in engine.networks.values():
        if name in (network["Id"], network["create"]["Name"]):
            return network
    raise NoError(404, f"network {name} not found")


def _networks(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    return 200, [engine.show_network(network) for network in engine.networks.values()], {}


def _remove_network(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    network = _network(engine, names["name"])
    request._expected(1, names["name"])
    if any(network["create"]["Name"] in container.networks for container in engine.containers.values()):
        raise NoError(403, f"network {names['name']} has active endpoints")
    del engine.networks[network["Id"]]
    return 204, None, {}


def _connect(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    body = json.loads(data)
    container, network = engine.find(body["Container"]), _network(engine, names["name"])
    if network["create"]["Name"] in container.networks:
        raise NoError(403, f"endpoint with name {container.name} already exists in network {names['name']}")
    container.networks[network["create"]["Name"]] = body.get("EndpointConfig") or {}
    container.generation += 1
    return 200, {}, {}


def _disconnect(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    container = engine.find(json.loads(data)["Container"])
    if container.networks.pop(_network(engine, names["name"])["create"]["Name"], None) is None:
        raise NoError(403, f"container {container.name} is not connected to network {names['name']}")
    container.generation += 1
    return 200, {}, {}


def _create_volume(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    body = json.loads(data)
    return 201, engine.volumes.setdefault(body["Name"], body), {}


def _build(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    engine.builds.append((query, data))
    lines = engine.builds_as(query)
    return 200, b"".join(json.dumps(line).encode() + b"\r\n" for line in lines), {}


def _push(request: _Handler, engine: FakeEngine, names: Names, query: Names, data: bytes) -> Answer:
    name = f"{names['image']}:{query['tag']}"
    context = next(context for built, context in reversed(engine.builds) if built["t"] == name)
    digest = engine.push_to(name, context)
    engine.pushed[name] = digest
    return 200, json.dumps({"aux": {"Tag": query["tag"], "Digest": digest, "Size": 1}}).encode() + b"\r\n", {}


_NAME = r"(?P<name>[^/]+)"
_ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("GET", "/_ping", _ping),
    ("GET", "/gitopsd/v1/state", _state),
    ("PUT", "/gitopsd/v1/host", _put_host),
    ("POST", "/gitopsd/v1/transition", _transition),
    ("POST", "/gitopsd/v1/blobs/missing", _blobs_missing),
    ("PUT", f"/gitopsd/v1/blobs/{_NAME}", _put_blob),
    ("PUT", "/gitopsd/v1/images", _put_image),
    ("GET", "/gitopsd/v1/intent", _get_intent),
    ("PUT", "/gitopsd/v1/intent", _put_intent),
    ("POST", "/containers/create", _create),
    ("GET", f"/containers/{_NAME}/json", _inspect),
    ("GET", f"/containers/{_NAME}/logs", _logs),
    ("POST", f"/containers/{_NAME}/start", _start),
    ("POST", f"/containers/{_NAME}/stop", _stop),
    ("POST", f"/containers/{_NAME}/rename", _rename),
    ("POST", f"/containers/{_NAME}/update", _update),
    ("DELETE", f"/containers/{_NAME}", _remove),
    ("GET", "/networks", _networks),
    ("POST", "/networks/create", _create_network),
    ("DELETE", f"/networks/{_NAME}", _remove_network),
    ("POST", f"/networks/{_NAME}/connect", _connect),
    ("POST", f"/networks/{_NAME}/disconnect", _disconnect),
    ("POST", "/volumes/create", _create_volume),
    ("POST", "/build", _build),
    ("POST", "/images/(?P<image>.+)/push", _push),
    ("GET", "/images/(?P<image>.+)/json", _image),
]


def an_oci_image(word: str) -> tuple[bytes, dict[str, bytes]]:
    """A manifest, and the blobs that it names, by digest: small, and enough for an engine that unpacks nothing."""

    def named(data: bytes) -> str:
        return "sha256:" + hashlib.sha256(data).hexdigest()

    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {"Cmd": [word]}, "rootfs": {"type": "layers"}}
    ).encode()
    layer = f"layer of {word}".encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": named(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": named(layer), "size": len(layer)}],
        }
    ).encode()
    return manifest, {named(config): config, named(layer): layer}


class FakeImages:
    """A source of images for `apply`: every word is an image, made up when it is asked for by its digest."""

    def __init__(self, *words: str) -> None:
        self.known: dict[str, tuple[bytes, dict[str, bytes]]] = {}
        self.digests: dict[str, str] = {}
        for word in words:
            manifest, blobs = an_oci_image(word)
            self.digests[word] = "sha256:" + hashlib.sha256(manifest).hexdigest()
            self.known[self.digests[word]] = (manifest, blobs)

    def parts(self, image: Any, repository: str) -> Any:
        from gitopsd.apply import Blob, Parts
        from gitopsd.model.errors import GitopsdError

        if image.digest not in self.known:
            raise GitopsdError("no-such-image", f"nobody has {image.digest}")
        manifest, blobs = self.known[image.digest]
        everything = {**blobs, image.digest: manifest}

        def opened(digest: str, offset: int) -> Iterator[bytes]:
            yield everything[digest][offset:]

        return Parts(image.digest, tuple(Blob(digest, len(data)) for digest, data in everything.items()), opened)
