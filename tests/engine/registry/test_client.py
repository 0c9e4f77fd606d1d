from __future__ import annotations

import base64
import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gitopsd.engine.content.blobs import Blobs
from gitopsd.engine.registry.client import Client, Credentials, NotFound, RegistryError
from gitopsd.engine.registry.http import Answer, BadAddress, Pool, is_loopback
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import OCI_MANIFEST

from .running import our_registry

DATA = os.urandom(400_000)
DIGEST = Digest.of(DATA)
ME = Credentials("me", "secret")
BASIC = "Basic " + base64.b64encode(b"me:secret").decode()


class Scripted:
    """A server that does what a test says; `seen` are the requests as (method, path, Authorization, Range)."""

    def __init__(self, behave: Callable[[Any, str], None]) -> None:
        self.seen: list[tuple[str, str, str | None, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def answer(self) -> None:
                outer.seen.append((self.command, self.path, self.headers["Authorization"], self.headers["Range"]))
                length = int(self.headers["Content-Length"] or 0)
                self.body = self.rfile.read(length)
                behave(self, self.path)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

            def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                if "Content_Length" not in headers:
                    headers["Content_Length"] = str(len(body))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def scripted() -> Iterator[Callable[[Callable[[Any, str], None]], Scripted]]:
    running: list[Scripted] = []

    def start(behave: Callable[[Any, str], None]) -> Scripted:
        running.append(Scripted(behave))
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path))


def a_client(address: str, credentials: Credentials | None = None, **more: Any) -> Client:
    return Client(address, credentials=credentials, pool=Pool(timeout_s=5), sleep=lambda _: None, **more)


def fetch(client: Client, blobs: Blobs) -> bytes:
    try:
        with blobs.ingest(DIGEST, len(DATA)) as ingest:
            client.download("a", DIGEST, ingest)
    finally:
        client.close()
    return blobs.read(DIGEST, 1 << 20)


def test_credentials_are_not_sent_to_where_a_blob_is_redirected__cve_2020_15157(scripted: Any, blobs: Blobs) -> None:
    elsewhere = scripted(lambda request, _: request.reply(200, DATA))

    def behave(request: Any, path: str) -> None:
        if request.headers["Authorization"] != BASIC:
            request.reply(401, WWW_Authenticate='Basic realm="x"')
        else:
            request.reply(307, Location=f"http://{elsewhere.address}/storage/blob")

    registry = scripted(behave)
    assert fetch(a_client(registry.address, ME), blobs) == DATA
    assert [authorization for _, _, authorization, _ in registry.seen] == [None, BASIC]
    assert [authorization for _, _, authorization, _ in elsewhere.seen] == [None]


def test_a_challenge_from_where_a_blob_is_redirected_is_not_answered__cve_2020_15157(scripted: Any, blobs: Blobs) -> None:
    thief = scripted(lambda request, _: request.reply(401, WWW_Authenticate='Basic realm="give"'))
    registry = scripted(lambda request, _: request.reply(307, Location=f"http://{thief.address}/blob"))
    with pytest.raises(RegistryError, match="HTTP status 401"):
        fetch(a_client(registry.address, ME), blobs)
    assert {authorization for _, _, authorization, _ in thief.seen + registry.seen} == {None}


def test_credentials_stay_home_when_an_upload_goes_on_elsewhere(scripted: Any) -> None:
    elsewhere = scripted(lambda request, path: request.reply(201 if "digest" in path else 202, Location="/up/2"))

    def behave(request: Any, path: str) -> None:
        if request.headers["Authorization"] != BASIC:
            request.reply(401, WWW_Authenticate='Basic realm="x"')
        elif request.command == "HEAD":
            request.reply(404)
        else:
            request.reply(202, Location=f"http://{elsewhere.address}/up")

    client = a_client(scripted(behave).address, ME)
    assert client.upload("a", DIGEST, len(DATA), lambda: io.BytesIO(DATA)) == "pushed"
    client.close()
    assert [(method, authorization) for method, _, authorization, _ in elsewhere.seen] == [("PATCH", None), ("PUT", None)]


@pytest.mark.parametrize("realm", ["http://127.0.0.1:1/token", "ftp://x/", "file:///etc/passwd", ""])
def test_a_token_server_that_is_not_https_gets_no_credentials(realm: str) -> None:
    client = Client("registry.example", plain=False, credentials=ME)
    pool = _OneAnswer(401, f'Bearer realm="{realm}",service="x"')
    client._pool = pool  # type: ignore[assignment]
    with pytest.raises(RegistryError, match=r"not https|token realm"):
        client.manifest("a", "latest")
    assert len(pool.asked) == 1


class _OneAnswer:
    def __init__(self, status: int, challenge: str) -> None:
        self.status, self.challenge, self.asked = status, challenge, list[str]()

    def request(self, method: str, url: str, *_: object, **__: object) -> Any:
        self.asked.append(url)
        outer = self

        class Fake(Answer):
            def __init__(self) -> None:
                self.url, self.status = url, outer.status

            def header(self, name: str) -> str:
                return outer.challenge if name == "WWW-Authenticate" else ""

            def read(self, most: int) -> bytes:
                return b""

            def close(self) -> None:
                pass

        return Fake()


def test_https_is_not_left_for_http() -> None:
    class Redirecting(Pool):
        def _once(self, method: str, url: str, *_: object) -> Any:
            answer = _OneAnswer(302, "").request(method, url)
            answer.header = lambda name: "http://registry.example/x" if name == "Location" else ""
            return answer

    with pytest.raises(BadAddress, match="from https to http"):
        Redirecting().request("GET", "https://registry.example/v2/", {})


def test_a_token_is_fetched_once_and_again_when_it_is_refused(scripted: Any) -> None:
    issued: list[str] = []

    def behave(request: Any, path: str) -> None:
        if path.startswith("/token"):
            issued.append(f"t{len(issued)}")
            request.reply(200, json.dumps({"token": issued[-1], "expires_in": 300}).encode())
        elif request.headers["Authorization"] == f"Bearer {issued[-1] if issued else 'x'}" and not (
            path.endswith("2") and len(issued) < 2
        ):
            request.reply(200, b"{}", Content_Type=OCI_MANIFEST)
        else:
            request.reply(
                401, WWW_Authenticate=f'Bearer realm="http://{server.address}/token",service="reg",scope="repository:a:pull"'
            )

    server = scripted(behave)
    client = a_client(server.address, ME)
    for tag in ("1", "1", "2"):
        client.manifest("a", tag)
    client.close()
    assert [(path.split("?")[0], authorization) for _, path, authorization, _ in server.seen] == [
        ("/v2/a/manifests/1", None), ("/token", BASIC), ("/v2/a/manifests/1", "Bearer t0"), ("/v2/a/manifests/1", "Bearer t0"),
        ("/v2/a/manifests/2", "Bearer t0"), ("/token", BASIC), ("/v2/a/manifests/2", "Bearer t1")]  # fmt: skip
    assert server.seen[1][1] == "/token?service=reg&scope=repository:a:pull&account=me"


def test_refused_credentials_are_said_once(scripted: Any) -> None:
    server = scripted(
        lambda request, _: request.reply(
            401, b'{"errors":[{"code":"DENIED","message":"go away"}]}', WWW_Authenticate="Basic realm=x"
        )
    )
    client = a_client(server.address, ME)
    with pytest.raises(RegistryError, match="go away") as caught:
        client.manifest("a", "latest")
    client.close()
    assert (caught.value.status, len(server.seen)) == (401, 2)


@pytest.mark.parametrize("honours_range", [True, False])
def test_a_download_goes_on_where_it_broke_off(scripted: Any, blobs: Blobs, honours_range: bool) -> None:
    def behave(request: Any, path: str) -> None:
        start = 0
        if request.headers["Range"] and honours_range:
            start = int(request.headers["Range"].split("=")[1].rstrip("-"))
        end = min(len(DATA), start + 150_000 if honours_range else len(server.seen) * 150_000)
        headers = {"Content_Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"} if start else {}
        request.reply(206 if start else 200, DATA[start:end], Content_Length=str(len(DATA) - start), **headers)
        request.close_connection = True

    server = scripted(behave)
    assert fetch(a_client(server.address), blobs) == DATA
    assert [asked for _, _, _, asked in server.seen] == [None, "bytes=150000-", "bytes=300000-"]


def test_a_partial_of_an_earlier_pull_is_gone_on_with(scripted: Any, blobs: Blobs) -> None:
    with blobs.ingest(DIGEST) as ingest:
        ingest.write(DATA[:1000])
    server = scripted(lambda request, _: request.reply(206, DATA[1000:], Content_Range=f"bytes 1000-{len(DATA) - 1}/{len(DATA)}"))
    assert fetch(a_client(server.address), blobs) == DATA
    assert [asked for _, _, _, asked in server.seen] == ["bytes=1000-"]


def test_another_range_than_was_asked_for_is_refused(scripted: Any, blobs: Blobs) -> None:
    with blobs.ingest(DIGEST) as ingest:
        ingest.write(DATA[:1000])
    server = scripted(lambda request, _: request.reply(206, DATA[:10], Content_Range=f"bytes 0-9/{len(DATA)}"))
    with pytest.raises(RegistryError, match="another range"):
        fetch(a_client(server.address), blobs)


@pytest.mark.parametrize("body", [b"x" * len(DATA), DATA + b"more"], ids=["other bytes", "more bytes"])
def test_bytes_that_do_not_match_are_refused_and_leave_nothing(scripted: Any, blobs: Blobs, body: bytes) -> None:
    server = scripted(lambda request, _: request.reply(200, body))
    with pytest.raises(RegistryError) as caught:
        fetch(a_client(server.address), blobs)
    assert caught.value.code == "digest-mismatch"
    assert (list(blobs), blobs.partials([DIGEST])) == ([], {})


def test_a_manifest_with_another_digest_or_size_is_refused(scripted: Any) -> None:
    server = scripted(lambda request, path: request.reply(200, b"{}" if "sha256" in path else b" " * (5 << 20)))
    client = a_client(server.address)
    with pytest.raises(RegistryError, match="has digest"):
        client.manifest("a", DIGEST)
    with pytest.raises(RegistryError, match="larger than"):
        client.manifest("a", "latest")
    client.close()


def test_it_tries_again_while_the_registry_is_busy_and_gives_up_in_the_end(scripted: Any) -> None:
    pauses: list[float] = []
    server = scripted(
        lambda request, _: request.reply(200, b"{}") if len(server.seen) > 2 else request.reply(503, Retry_After="3")
    )
    client = Client(server.address, sleep=pauses.append)
    client.manifest("a", "latest")
    client.close()
    assert pauses == [3, 3]
    busy = scripted(lambda request, _: request.reply(503))
    client = a_client(busy.address)
    with pytest.raises(RegistryError, match="HTTP status 503"):
        client.manifest("a", "latest")
    client.close()
    assert len(busy.seen) == 5


def test_a_registry_that_is_not_there_is_named() -> None:
    with pytest.raises(RegistryError, match=r"registry 127.0.0.1:1 cannot be reached: .*refused"):
        a_client("127.0.0.1:1").manifest("a", "latest")


def test_what_is_missing_is_not_found(scripted: Any) -> None:
    server = scripted(
        lambda request, _: request.reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
    )
    client = a_client(server.address)
    with pytest.raises(NotFound, match="manifest unknown") as caught:
        client.manifest("a", "latest")
    client.close()
    assert (caught.value.status, caught.value.code) == (404, "MANIFEST_UNKNOWN")


def test_redirects_end(scripted: Any) -> None:
    server = scripted(lambda request, _: request.reply(302, Location="/again"))
    client = a_client(server.address)
    with pytest.raises(RegistryError, match="more than 5 redirects"):
        client.manifest("a", "latest")
    client.close()


def test_http_is_for_loopback_alone_unless_said() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1:5000", "localhost", "[::1]:5000", "127.9.9.9")] == [True] * 4
    assert [is_loopback(host) for host in ("127.0.0.1.example.org", "10.0.0.1", "localhost.example.org", "example.org", "")] == [
        False
    ] * 5


def test_pushing_to_our_registry_and_back(tmp_path: Path, blobs: Blobs) -> None:
    with our_registry(tmp_path / "registry") as address:
        client = a_client(address)
        heard: list[int] = []
        assert client.upload("a", DIGEST, len(DATA), lambda: io.BytesIO(DATA), progress=heard.append) == "pushed"
        assert client.upload("a", DIGEST, len(DATA), lambda: io.BytesIO(DATA)) == "exists"
        assert client.upload("b", DIGEST, len(DATA), lambda: io.BytesIO(DATA), source="a") == "mounted"
        assert client.upload("c", Digest.of(b""), 0, lambda: io.BytesIO(b"")) == "pushed"
        assert heard[-1] == len(DATA)
        assert fetch(client, blobs) == DATA


@pytest.mark.parametrize("lost", ["the chunk", "the answer"])
def test_an_upload_goes_on_where_it_broke_off(scripted: Any, lost: str) -> None:
    received = bytearray()
    made: list[Digest] = []

    def behave(request: Any, path: str) -> None:
        if request.command == "HEAD":
            request.reply(200 if made else 404)
        elif request.command == "POST":
            request.reply(202, Location="/up/1")
        elif request.command == "GET":
            request.reply(204, Range=f"0-{len(received) - 1}", Location="/up/1")
        elif request.command == "PATCH":
            if not received:
                received.extend(request.body[:150_000] if lost == "the chunk" else request.body)
                request.close_connection = True
                return
            assert request.headers["Content-Range"] == f"150000-{len(DATA) - 1}"
            received.extend(request.body)
            request.reply(202, Location="/up/1")
        else:
            made.append(Digest.of(bytes(received)))
            request.reply(201)

    client = a_client(scripted(behave).address)
    assert client.upload("a", DIGEST, len(DATA), lambda: io.BytesIO(DATA)) == "pushed"
    client.close()
    assert made == [DIGEST]
