"""The client of the engine's API against an HTTP server on a unix socket that answers as scripted."""

from __future__ import annotations

import http.server
import itertools
import json
import resource
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gitopsd.hosts.engineapi import EngineApi
from gitopsd.hosts.enginehttp import EngineError, EngineHttp, Request, Upload
from gitopsd.hosts.local import LocalLink
from gitopsd.model.errors import GitopsdError

Handler = http.server.BaseHTTPRequestHandler


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers with what a test put under `METHOD path`: a status and JSON, or a function of the request's handler."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        self.path = path
        self.script: dict[str, tuple[int, Any] | Callable[[Handler], None]] = {}
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.connections: list[socket.socket] = []
        super().__init__(path, _Answering)

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that a test broke are no errors."""

    def hang_up(self) -> None:
        for connection in self.connections:
            connection.shutdown(socket.SHUT_RDWR)


class _Answering(Handler):
    protocol_version = "HTTP/1.1"
    server: Engine

    def setup(self) -> None:
        super().setup()
        self.server.connections.append(self.connection)

    def answer(self) -> None:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        elif "Content-Length" in self.headers and not self.path.startswith("/early"):
            body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers, body))
        planned = self.server.script[f"{self.command} {self.path.partition('?')[0]}"]
        if callable(planned):
            planned(self)
        else:
            reply(self, *planned)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  http.server's names

    def log_message(self, *arguments: object) -> None:
        pass


def reply(handler: Handler, status: int, body: Any, **headers: str) -> None:
    data = b"" if body is None else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    if status != 304:
        handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def chunked(handler: Handler, *pieces: bytes, kind: str = "application/json") -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for piece in pieces:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def engine() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as folder, Engine(str(Path(folder) / "s")) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def api(engine: Engine) -> Iterator[EngineApi]:
    client = EngineApi(LocalLink("a"), engine.path, timeout_s=5)
    yield client
    client.close()


@pytest.fixture
def plain(engine: Engine) -> Iterator[EngineHttp]:
    client = EngineHttp(LocalLink("a"), engine.path, timeout_s=5)
    yield client
    client.close()


def test_the_state_comes_with_its_etag_and_not_at_all_when_it_is_the_same(engine: Engine, api: EngineApi) -> None:
    def answer(handler: Handler) -> None:
        if handler.headers.get("If-None-Match") == '"7"':
            reply(handler, 304, None)
        else:
            reply(handler, 200, {"version": 1}, ETag='"7"')

    engine.script["GET /gitopsd/v1/state"] = answer
    state = api.state()
    assert state is not None
    assert (state.etag, state.value) == ('"7"', {"version": 1})
    assert api.state('"7"') is None


def test_a_connection_is_kept_for_the_next_call(engine: Engine, api: EngineApi) -> None:
    engine.script["GET /_ping"] = (200, None)
    for _ in range(3):
        api.ping()
    assert len(engine.connections) == 1


def test_a_kept_connection_that_the_engine_closed_is_not_used_again(engine: Engine, api: EngineApi) -> None:
    engine.script |= {"GET /_ping": (200, None), "POST /v1.44/containers/x/start": (204, None)}
    api.ping()
    engine.hang_up()
    api.start("x")
    assert len(engine.connections) == 2


def test_a_question_is_asked_again_when_a_kept_connection_breaks_and_a_command_is_not(engine: Engine, plain: EngineHttp) -> None:
    """The engine dies after it has the request, before it answers: it may have done it."""

    def die_once(handler: Handler) -> None:
        handler.close_connection = True
        engine.script[f"{handler.command} {handler.path}"] = (200, "second")

    engine.script |= {"GET /_ping": (200, None), "GET /x": die_once, "POST /x": die_once}
    plain.call(Request("GET", "/_ping"))
    assert plain.call(Request("GET", "/x")).json == "second"
    with pytest.raises(GitopsdError) as caught:
        plain.call(Request("POST", "/x"))
    assert (caught.value.code, caught.value.next, caught.value.where.host) == ("engine-interrupted", "retry", "a")
    assert [request[0] for request in engine.requests].count("POST") == 1


def test_a_no_has_the_engines_words_code_fields_and_the_host(engine: Engine, api: EngineApi) -> None:
    body = {"message": "start container web: port 443 is taken", "code": "generation-changed", "generation": 5}
    engine.script["POST /v1.44/containers/web/start"] = (412, body)
    with pytest.raises(EngineError) as caught:
        api.start("web", generation=4)
    error = caught.value
    assert (error.code, error.status, error.fields, error.next) == ("generation-changed", 412, {"generation": 5}, "retry")
    assert str(error.where) == "host a  web"
    assert engine.requests[0][2]["x-gitopsd-if-generation"] == "4"


def test_dockers_own_errors_have_a_code_by_their_status(engine: Engine, api: EngineApi) -> None:
    engine.script["DELETE /v1.44/networks/n"] = (404, {"message": "network n not found"})
    with pytest.raises(EngineError, match="network n not found") as caught:
        api.remove_network("n")
    assert (caught.value.code, caught.value.next) == ("engine-not-found", "stall")


def test_an_answer_that_is_no_json_is_shown_as_it_is(engine: Engine, api: EngineApi) -> None:
    def answer(handler: Handler) -> None:
        handler.send_response(500)
        handler.send_header("Content-Length", "5")
        handler.end_headers()
        handler.wfile.write(b"oops\n")

    engine.script["GET /v1.44/info"] = answer
    with pytest.raises(EngineError, match="oops") as caught:
        api.info()
    assert (caught.value.code, caught.value.next) == ("engine-failed", "retry")


def test_an_engine_that_says_nothing_is_given_up(engine: Engine) -> None:
    released = threading.Event()
    engine.script["GET /_ping"] = lambda handler: reply(handler, 200, released.wait(5))
    client = EngineApi(LocalLink("a"), engine.path)
    with pytest.raises(GitopsdError) as caught:
        client.ping(timeout_s=0.05)
    released.set()
    assert (caught.value.code, caught.value.next) == ("engine-timeout", "retry")


def test_a_no_before_the_whole_body_was_sent_is_heard(engine: Engine, plain: EngineHttp) -> None:
    def refuse(handler: Handler) -> None:
        handler.close_connection = True
        reply(handler, 400, {"message": "the digest is another", "code": "digest-mismatch"})

    engine.script["PUT /early"] = refuse
    upload = Upload((bytes(1 << 20) for _ in range(64)), 64 << 20)
    with pytest.raises(EngineError) as caught:
        plain.call(Request("PUT", "/early", body=upload))
    assert caught.value.code == "digest-mismatch"


def test_lines_are_given_as_they_come(engine: Engine, api: EngineApi) -> None:
    def answer(handler: Handler) -> None:
        chunked(handler, b'{"stream": "Step 1', b'"}\r\n{"aux": {"ID": "sha256:x"}}\n')

    engine.script["POST /v1.44/build"] = answer
    lines = list(api.build([b"tar", b"ball"], {"t": "shop/web:1", "buildargs": '{"A": "b c"}'}))
    assert lines == [{"stream": "Step 1"}, {"aux": {"ID": "sha256:x"}}]
    method, path, headers, body = engine.requests[0]
    assert (method, path) == ("POST", "/v1.44/build?t=shop%2Fweb%3A1&buildargs=%7B%22A%22%3A+%22b+c%22%7D")
    assert (headers["content-type"], body) == ("application/x-tar", b"tarball")


def test_an_error_among_the_lines_is_raised(engine: Engine, api: EngineApi) -> None:
    engine.script["POST /v1.44/images/127.0.0.1:5000/shop/web/push"] = lambda handler: chunked(
        handler, b'{"status": "Preparing"}\n', b'{"error": "denied"}\n'
    )
    with pytest.raises(GitopsdError, match="denied") as caught:
        list(api.push("127.0.0.1:5000/shop/web:key-1"))
    assert (caught.value.code, caught.value.where.object) == ("image-push-failed", "127.0.0.1:5000/shop/web:key-1")
    assert engine.requests[0][1].endswith("?tag=key-1")


def broken_off(header: str, value: str, body: bytes) -> Callable[[Handler], None]:
    """An answer that ends before its head says that it does."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header(header, value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return answer


def test_a_stream_that_breaks_off_is_an_error_and_not_an_end(engine: Engine, api: EngineApi) -> None:
    engine.script["POST /v1.44/build"] = broken_off("Transfer-Encoding", "chunked", b'e\r\n{"stream": 1}\n\r\n')
    with pytest.raises(GitopsdError) as caught:
        list(api.build([], {}))
    assert caught.value.code == "engine-interrupted"


def test_a_lease_lasts_as_long_as_its_connection(engine: Engine, api: EngineApi) -> None:
    ended = threading.Event()

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b'e\r\n{"token": 17}\n\r\n')
        handler.rfile.read(1)
        ended.set()
        handler.close_connection = True

    engine.script |= {"POST /gitopsd/v1/lease": answer, "POST /v1.44/containers/x/stop": (204, None)}
    with api.lease("shop", "a test") as held:
        assert held.token == 17
        assert held.is_held
        api.stop("x", 3, held)
        assert engine.requests[-1][2]["x-gitopsd-lease"] == "shop=17"
        assert not ended.is_set()
    assert ended.wait(5)
    with api.lease("shop", "a test") as held:
        engine.connections[-1].shutdown(socket.SHUT_RDWR)
        assert not held.is_held


def test_a_lease_that_another_holds_says_who(engine: Engine, api: EngineApi) -> None:
    engine.script["POST /gitopsd/v1/lease"] = (409, {"message": "m", "code": "lease-held", "holder": "b", "token": 3})
    with pytest.raises(EngineError) as caught, api.lease("shop", "a"):
        pass
    assert (caught.value.code, caught.value.fields["holder"]) == ("lease-held", "b")


def test_output_and_errors_of_a_command_are_kept_apart(engine: Engine, api: EngineApi) -> None:
    def start(handler: Handler) -> None:
        assert handler.headers["Upgrade"] == "tcp"
        handler.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        handler.wfile.write(b"\x01\0\0\0\0\0\0\x05out 1\x02\0\0\0\0\0\0\x03err")
        handler.wfile.write(b"\x01\0\0\0\0\0\0\x0b 2")
        handler.wfile.write(b" and more")
        handler.close_connection = True

    engine.script |= {
        "POST /v1.44/containers/web/exec": (201, {"Id": "e1"}),
        "POST /v1.44/exec/e1/start": start,
        "GET /v1.44/exec/e1/json": (200, {"ExitCode": 3}),
    }
    assert api.execute("web", ["sh"]) == (3, b"out 1 2 and more", b"err")


def test_logs_are_read_frame_by_frame(engine: Engine, api: EngineApi) -> None:
    kind = "application/vnd.docker.multiplexed-stream"
    engine.script["GET /v1.44/containers/web/logs"] = lambda handler: chunked(handler, b"\x02\0\0\0\0\0\0\x02h", b"i", kind=kind)
    assert list(api.logs("web", tail=1)) == [(2, b"hi")]
    assert "tail=1" in engine.requests[0][1]


def test_a_blob_is_sent_from_where_the_last_try_broke_off(engine: Engine, api: EngineApi) -> None:
    blob = bytes(range(200))
    there = bytearray()

    def missing(handler: Handler) -> None:
        whole = len(there) == len(blob)
        reply(handler, 200, {"missing": [] if whole else ["sha256:x"], "partial": {"sha256:x": len(there)} if there else {}})

    def put(handler: Handler) -> None:
        there.extend(engine.requests[-1][3][: 120 if not there else None])
        if len(there) < len(blob):
            handler.close_connection = True
        else:
            reply(handler, 201, None)

    engine.script |= {"POST /gitopsd/v1/blobs/missing": missing, "PUT /gitopsd/v1/blobs/sha256:x": put}
    assert api.send_blob("sha256:x", 200, lambda offset: [blob[offset:]])
    assert bytes(there) == blob
    ranges = [request[2].get("content-range") for request in engine.requests if request[0] == "PUT"]
    assert ranges == [None, "bytes 120-199/200"]
    assert not api.send_blob("sha256:x", 200, lambda offset: [blob[offset:]])


def test_a_blob_that_gets_no_further_is_given_up(engine: Engine, api: EngineApi) -> None:
    engine.script["POST /gitopsd/v1/blobs/missing"] = (200, {"missing": ["sha256:x"], "partial": {}})

    def put(handler: Handler) -> None:
        handler.close_connection = True

    engine.script["PUT /gitopsd/v1/blobs/sha256:x"] = put
    with pytest.raises(GitopsdError) as caught:
        api.send_blob("sha256:x", 4, lambda offset: [b"blob"])
    assert caught.value.code == "engine-interrupted"
    assert [request[0] for request in engine.requests].count("PUT") == 2


def test_intent_is_put_only_over_what_was_read(engine: Engine, api: EngineApi) -> None:
    engine.script["GET /gitopsd/v1/intent"] = lambda handler: reply(handler, 200, {"version": 1}, ETag='"3"')
    engine.script["PUT /gitopsd/v1/intent"] = lambda handler: reply(handler, 200, None, ETag='"4"')
    etag, value = api.intent()
    assert api.put_intent(value, etag) == '"4"'
    assert engine.requests[1][2]["if-match"] == '"3"'


MIB = bytes(1 << 20)


def endless(first: bytes = b"") -> Callable[[Handler], None]:
    """An answer that goes on until the client hangs up, and never ends a line."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in itertools.chain([first] if first else [], itertools.repeat(MIB)):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    return answer


@pytest.mark.parametrize(
    ("call", "ask"),
    [
        ("GET /gitopsd/v1/state", lambda api: api.state()),
        ("POST /v1.44/build", lambda api: list(api.build([], {"t": "a"}))),
        ("GET /v1.44/containers/a/logs", lambda api: list(api.logs("a"))),
    ],
    ids=["an answer", "a line", "a frame"],
)
def test_a_host_that_does_not_stop_talking_is_not_listened_to(engine: Engine, api: EngineApi, call: str, ask: Any) -> None:
    engine.script[call] = endless(b"\1\0\0\0\xff\xff\xff\xff" if "logs" in call else b"")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(GitopsdError) as caught:
        ask(api)
    assert (caught.value.code, caught.value.where.host) == ("answer-too-long", "a")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10


def test_an_answer_that_breaks_off_before_its_length_is_no_answer(engine: Engine, api: EngineApi) -> None:
    engine.script["GET /v1.44/info"] = broken_off("Content-Length", "50", b'{"a": 1}')
    with pytest.raises(GitopsdError) as caught:
        api.info()
    assert caught.value.code == "engine-interrupted"
