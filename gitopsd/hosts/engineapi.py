"""What the controller says to an engine: the Docker Engine API and /gitopsd/v1/, a method a call.

In: a link and the path of the engine's socket.  Out: JSON as the engine gives it; what it means is read in `observe/`.

Every call that changes something takes `lease` (refused with `lease-lost` if it is not held any more) and, for one object,
`generation` (refused with `generation-changed` if somebody else was there first). docs/engine-api.md has the words.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from gitopsd.dockerapi.frames import FrameReader
from gitopsd.hosts.enginehttp import EngineHttp, Json, OpenAnswer, Request, Upload
from gitopsd.hosts.link import Link
from gitopsd.model.errors import GitopsdError, Where

SOCKET = "/run/gitopsd-engine/engine.sock"
_DOCKER = "/v1.44"
_OWN = "/gitopsd/v1"
_IN_NAMES = "/:@"
_LONGEST_OUTPUT = 16 << 20
_OTHERS_S, _LOOK_AGAIN_S = 60.0, 0.2
"""How long somebody else may take who sends the same blob to the same host."""


@dataclass(frozen=True)
class State:
    """Everything on a host, in one answer."""

    etag: str
    value: Json


@dataclass(frozen=True)
class Held:
    """A lease on a stack, as long as its connection lives."""

    stack: str
    token: int
    answer: OpenAnswer

    @property
    def is_held(self) -> bool:
        """False as soon as the engine or the connection has ended it."""
        return not self.answer.stream.is_stale()


@dataclass(frozen=True)
class Missing:
    digests: tuple[str, ...]
    partial: Mapping[str, int]
    """Bytes of a missing blob that are there already."""


class EngineApi:
    def __init__(self, link: Link, socket_path: str = SOCKET, timeout_s: float = 60) -> None:
        self.host = link.name
        self._http = EngineHttp(link, socket_path, timeout_s)

    def close(self) -> None:
        self._http.close()

    # system

    def ping(self, timeout_s: float = 5) -> None:
        self._http.call(Request("GET", "/_ping"), timeout_s=timeout_s)

    def version(self) -> Json:
        return self._http.call(Request("GET", f"{_DOCKER}/version")).json

    def info(self) -> Json:
        return self._http.call(Request("GET", f"{_DOCKER}/info")).json

    # /gitopsd/v1/

    def state(self, etag: str | None = None) -> State | None:
        """The state, or None if it is still the one with this ETag."""
        answer = self._http.call(Request("GET", f"{_OWN}/state", headers={"If-None-Match": etag} if etag else None))
        return None if answer.status == 304 else State(answer.headers["etag"], answer.json)

    def put_host(self, fleet: str, host: str, number: int, block: str, spans: str) -> None:
        body: Json = {"fleet": fleet, "host": host, "number": number, "block": block, "spans": spans}
        self._http.call(Request("PUT", f"{_OWN}/host", body=body))

    @contextlib.contextmanager
    def lease(self, stack: str, holder: str) -> Generator[Held]:
        """Hold a stack on this host; `lease-held` if another controller does. `holder` is who, for people."""
        request = Request("POST", f"{_OWN}/lease", body={"stack": stack, "holder": holder}, object=stack)
        with self._http.open(request) as answer:
            first = next(answer.lines(), None)
            if first is None:
                raise GitopsdError(
                    "engine-interrupted", "the lease ended at once", Where(host=self.host, object=stack), next="retry"
                )
            yield Held(stack, int(first["token"]), answer)

    def transition(self, old: str, new: str, generations: Mapping[str, int], lease: Held | None = None) -> Json:
        body: Json = {"old": old, "new": new, "generations": dict(generations)}
        return self._http.call(Request("POST", f"{_OWN}/transition", body=body, headers=_guards(lease), object=new)).json

    def blobs_missing(self, digests: Sequence[str]) -> Missing:
        said = self._http.call(Request("POST", f"{_OWN}/blobs/missing", body={"digests": list(digests)})).json
        return Missing(tuple(said["missing"]), said.get("partial") or {})

    def put_blob(
        self, digest: str, size: int, open_at: Callable[[int], Iterable[bytes]], offset: int = 0, lease: Held | None = None
    ) -> None:
        """Send a blob from `offset` on; `open_at(offset)` gives its bytes from there."""
        headers = _guards(lease)
        if offset:
            headers["Content-Range"] = f"bytes {offset}-{size - 1}/{size}"
        upload = Upload(open_at(offset), size - offset)
        request = Request("PUT", f"{_OWN}/blobs/{digest}", body=upload, headers=headers, object=digest)
        self._http.call(request, bulk=True, timeout_s=120)

    def send_blob(self, digest: str, size: int, open_at: Callable[[int], Iterable[bytes]], lease: Held | None = None) -> bool:
        """Send a blob if it is not there, going on where a broken connection left off. Whether anything was sent."""
        reached = -1
        deadline = time.monotonic() + _OTHERS_S
        while True:
            missing = self.blobs_missing([digest])
            if digest not in missing.digests:
                return reached >= 0
            offset = missing.partial.get(digest, 0)
            offset = 0 if offset >= size else offset
            try:
                self.put_blob(digest, size, open_at, offset, lease)
            except GitopsdError as error:
                if error.code == "offset-differs" and time.monotonic() < deadline:  # another is sending it, too
                    time.sleep(_LOOK_AGAIN_S)
                    continue
                if error.next != "retry" or offset <= reached:  # it must get further each time
                    raise
                reached = offset
            else:
                return True

    def put_image(self, manifest: str, references: Sequence[str], lease: Held | None = None) -> str:
        """Make an image of blobs that are there; its id."""
        body: Json = {"manifest": manifest, "references": list(references)}
        request = Request(
            "PUT", f"{_OWN}/images", body=body, headers=_guards(lease), object=references[0] if references else manifest
        )
        return self._http.call(request, timeout_s=600).json["id"]

    def intent(self) -> tuple[str, Json]:
        """ETag (`"0"` when nothing was ever put) and value."""
        answer = self._http.call(Request("GET", f"{_OWN}/intent"))
        return answer.headers["etag"], answer.json or {}

    def put_intent(self, value: Json, etag: str) -> str:
        """Store it if it is still the one with this ETag; the new ETag."""
        answer = self._http.call(Request("PUT", f"{_OWN}/intent", body=value, headers={"If-Match": etag}))
        return answer.headers["etag"]

    # containers

    def containers(self, filters: Mapping[str, Sequence[str]] | None = None) -> list[Json]:
        return self._http.call(Request("GET", f"{_DOCKER}/containers/json", query={"all": "1", **_filters(filters)})).json

    def container(self, container: str) -> Json:
        return self._http.call(Request("GET", f"{_DOCKER}/containers/{quote(container)}/json", object=container)).json

    def create_container(self, name: str, body: Json, lease: Held | None = None) -> str:
        """The id of the new container."""
        request = Request("POST", f"{_DOCKER}/containers/create", {"name": name}, body, _guards(lease), name)
        return self._http.call(request).json["Id"]

    def start(self, container: str, lease: Held | None = None, generation: int | None = None) -> None:
        self._act(container, "start", {}, lease, generation)

    def stop(
        self, container: str, timeout_s: int | None = None, lease: Held | None = None, generation: int | None = None
    ) -> None:
        """`timeout_s` before it is killed; None: what the container was created with."""
        query = {} if timeout_s is None else {"t": str(timeout_s)}
        self._act(container, "stop", query, lease, generation, wait_s=None if timeout_s is None else timeout_s + 30)

    def restart(
        self, container: str, timeout_s: int | None = None, lease: Held | None = None, generation: int | None = None
    ) -> None:
        query = {} if timeout_s is None else {"t": str(timeout_s)}
        self._act(container, "restart", query, lease, generation, wait_s=None if timeout_s is None else timeout_s + 30)

    def kill(self, container: str, signal: str = "SIGKILL", lease: Held | None = None, generation: int | None = None) -> None:
        self._act(container, "kill", {"signal": signal}, lease, generation)

    def rename(self, container: str, name: str, lease: Held | None = None, generation: int | None = None) -> None:
        self._act(container, "rename", {"name": name}, lease, generation)

    def update(self, container: str, body: Json, lease: Held | None = None, generation: int | None = None) -> Json:
        """Memory, cpus, restart policy, as Docker's update has them."""
        request = Request(
            "POST", f"{_DOCKER}/containers/{quote(container)}/update", None, body, _guards(lease, generation), container
        )
        return self._http.call(request).json

    def remove(
        self,
        container: str,
        force: bool = False,
        volumes: bool = False,
        lease: Held | None = None,
        generation: int | None = None,
    ) -> None:
        query = {"force": str(int(force)), "v": str(int(volumes))}
        self._http.call(
            Request(
                "DELETE", f"{_DOCKER}/containers/{quote(container)}", query, headers=_guards(lease, generation), object=container
            )
        )

    def wait(self, container: str) -> int:
        """Until it does not run; its exit code."""
        with self._http.open(Request("POST", f"{_DOCKER}/containers/{quote(container)}/wait", object=container)) as answer:
            return int(next(answer.lines())["StatusCode"])

    def logs(
        self,
        container: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: str = "",
        timestamps: bool = False,
    ) -> Iterator[tuple[int, bytes]]:
        """Pieces of output with their stream, 1 or 2. Closing the iterator closes the connection."""
        query = {"stdout": "1", "stderr": "1", "follow": str(int(follow)), "timestamps": str(int(timestamps))}
        query |= ({} if tail is None else {"tail": str(tail)}) | ({"since": since} if since else {})
        with self._http.open(Request("GET", f"{_DOCKER}/containers/{quote(container)}/logs", query, object=container)) as answer:
            yield from _frames(answer)

    def execute(
        self, container: str, argv: Sequence[str], *, user: str = "", env: Sequence[str] = ()
    ) -> tuple[int, bytes, bytes]:
        """Run a command in a container: exit code, output, errors."""
        body: Json = {"Cmd": list(argv), "AttachStdout": True, "AttachStderr": True, "User": user, "Env": list(env)}
        made = self._http.call(
            Request("POST", f"{_DOCKER}/containers/{quote(container)}/exec", body=body, object=container)
        ).json["Id"]
        output = {1: bytearray(), 2: bytearray()}
        with self.upgraded(f"{_DOCKER}/exec/{made}/start", {"Detach": False, "Tty": False}, about=container) as answer:
            for stream, data in _frames(answer):
                output[stream] += data
                if len(output[stream]) > _LONGEST_OUTPUT:
                    raise answer.too_long()
        code = self._http.call(Request("GET", f"{_DOCKER}/exec/{made}/json", object=container)).json["ExitCode"]
        return int(code), bytes(output[1]), bytes(output[2])

    def upgraded(
        self,
        path: str,
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
        about: str = "",
    ) -> contextlib.AbstractContextManager[OpenAnswer]:
        """A call whose connection becomes a raw one: attach, exec start. Write to `.stream`, read with `.read`."""
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        return self._http.open(Request("POST", path, query, body, headers, about))

    # networks and volumes

    def networks(self) -> list[Json]:
        return self._http.call(Request("GET", f"{_DOCKER}/networks")).json

    def create_network(self, body: Json, lease: Held | None = None) -> str:
        request = Request("POST", f"{_DOCKER}/networks/create", body=body, headers=_guards(lease), object=body.get("Name"))
        return self._http.call(request).json["Id"]

    def remove_network(self, network: str, lease: Held | None = None, generation: int | None = None) -> None:
        self._http.call(
            Request("DELETE", f"{_DOCKER}/networks/{quote(network)}", headers=_guards(lease, generation), object=network)
        )

    def connect(
        self, network: str, container: str, endpoint: Json | None = None, lease: Held | None = None, generation: int | None = None
    ) -> None:
        body: Json = {"Container": container, "EndpointConfig": endpoint or {}}
        path = f"{_DOCKER}/networks/{quote(network)}/connect"
        self._http.call(Request("POST", path, None, body, _guards(lease, generation), container))

    def disconnect(
        self, network: str, container: str, force: bool = False, lease: Held | None = None, generation: int | None = None
    ) -> None:
        path = f"{_DOCKER}/networks/{quote(network)}/disconnect"
        self._http.call(
            Request("POST", path, None, {"Container": container, "Force": force}, _guards(lease, generation), container)
        )

    def volumes(self) -> list[Json]:
        return self._http.call(Request("GET", f"{_DOCKER}/volumes")).json["Volumes"] or []

    def create_volume(self, body: Json, lease: Held | None = None) -> Json:
        request = Request("POST", f"{_DOCKER}/volumes/create", body=body, headers=_guards(lease), object=body.get("Name"))
        return self._http.call(request).json

    def remove_volume(self, name: str, force: bool = False, lease: Held | None = None, generation: int | None = None) -> None:
        path, query = f"{_DOCKER}/volumes/{quote(name)}", {"force": str(int(force))}
        self._http.call(Request("DELETE", path, query, headers=_guards(lease, generation), object=name))

    # images

    def images(self) -> list[Json]:
        return self._http.call(Request("GET", f"{_DOCKER}/images/json")).json

    def image(self, name: str) -> Json:
        return self._http.call(Request("GET", f"{_DOCKER}/images/{quote(name, _IN_NAMES)}/json", object=name)).json

    def tag(self, name: str, repository: str, tag: str) -> None:
        self._http.call(
            Request("POST", f"{_DOCKER}/images/{quote(name, _IN_NAMES)}/tag", {"repo": repository, "tag": tag}, object=name)
        )

    def remove_image(self, name: str, force: bool = False) -> list[Json]:
        return self._http.call(
            Request("DELETE", f"{_DOCKER}/images/{quote(name, _IN_NAMES)}", {"force": str(int(force))}, object=name)
        ).json

    def load(self, archive: Iterable[bytes]) -> Iterator[Json]:
        upload = Upload(archive, kind="application/x-tar")
        yield from self._progress(Request("POST", f"{_DOCKER}/images/load", body=upload), "image-load-failed")

    def pull(self, reference: str, auth: Json | None = None, platform: str = "") -> Iterator[Json]:
        """Progress, line by line; raises `image-pull-failed` with the engine's words."""
        name, tag = _split_tag(reference)
        query = {"fromImage": name, **({"tag": tag} if tag else {}), **({"platform": platform} if platform else {})}
        request = Request("POST", f"{_DOCKER}/images/create", query, headers=_auth(auth), object=reference)
        yield from self._progress(request, "image-pull-failed")

    def push(self, reference: str, auth: Json | None = None) -> Iterator[Json]:
        name, tag = _split_tag(reference)
        path = f"{_DOCKER}/images/{quote(name, _IN_NAMES)}/push"
        yield from self._progress(Request("POST", path, {"tag": tag}, headers=_auth(auth), object=reference), "image-push-failed")

    def build(
        self, context: Iterable[bytes], query: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Iterator[Json]:
        """Build from a tar archive; `query` is Docker's (`t`, `dockerfile`, `buildargs`, `target`, `platform`, `labels` …)."""
        upload = Upload(context, kind="application/x-tar")
        request = Request("POST", f"{_DOCKER}/build", query, upload, headers, query.get("t"))
        yield from self._progress(request, "build-failed")

    def _act(
        self,
        container: str,
        verb: str,
        query: Mapping[str, str],
        lease: Held | None,
        generation: int | None,
        wait_s: float | None = None,
    ) -> None:
        request = Request(
            "POST", f"{_DOCKER}/containers/{quote(container)}/{verb}", query, headers=_guards(lease, generation), object=container
        )
        self._http.call(request, timeout_s=wait_s or 600)  # stop waits for the container's own grace period

    def _progress(self, request: Request, code: str) -> Iterator[Json]:
        with self._http.open(request, bulk=isinstance(request.body, Upload)) as answer:
            for line in answer.lines():
                if "error" in line:
                    raise GitopsdError(code, str(line["error"]), Where(host=self.host, object=request.object))
                yield line


def _guards(lease: Held | None, generation: int | None = None) -> dict[str, str]:
    headers: dict[str, str] = {}
    if lease is not None:
        headers["X-Gitopsd-Lease"] = f"{lease.stack}={lease.token}"
    if generation is not None:
        headers["X-Gitopsd-If-Generation"] = str(generation)
    return headers


def _filters(filters: Mapping[str, Sequence[str]] | None) -> dict[str, str]:
    return {"filters": json.dumps({name: list(values) for name, values in filters.items()})} if filters else {}


def _auth(auth: Json | None) -> dict[str, str]:
    # Docker wants the header on a push even when there is nothing to say
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(auth or {}).encode()).decode()}


def _split_tag(reference: str) -> tuple[str, str]:
    """Docker's API has name and tag apart; a digest stays with the name."""
    name, colon, tag = reference.rpartition(":")
    return (name, tag) if colon and "/" not in tag and "@" not in reference else (reference, "")


def _frames(answer: OpenAnswer) -> Iterator[tuple[int, bytes]]:
    reader = FrameReader()
    while data := answer.read():
        try:
            yield from reader.feed(data)
        except ValueError:
            raise answer.too_long() from None
