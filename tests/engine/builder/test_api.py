"""POST /build over a real socket, with the real builder behind it."""

import asyncio
import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.api import build as api
from gitopsd.engine.api.router import Router
from gitopsd.engine.http.server import serve_connection
from tests.engine.builder.calls import call, connect
from tests.engine.builder.rig import Rig, tar

pytestmark = pytest.mark.host


class Api:
    def __init__(self, path: Path, rig: Rig) -> None:
        self.path = str(path / "s")
        self.rig = rig
        self.loop = asyncio.new_event_loop()
        self.started = threading.Event()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()
        assert self.started.wait(5)

    def _serve(self) -> None:
        router = Router(SimpleNamespace(builder=self.rig.builder, version="0"), api.ROUTES)  # type: ignore[arg-type]

        async def main() -> None:
            self.stop = asyncio.Event()
            server = await asyncio.start_unix_server(
                lambda reader, writer: serve_connection(router.handle, reader, writer), self.path
            )
            self.started.set()
            await self.stop.wait()
            server.close()

        self.loop.run_until_complete(main())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def close(self) -> None:
        for thread in threading.enumerate():
            if thread.name == "stream":  # a build that was left alone ends a moment later
                thread.join(20)
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join()

    def build(self, text: str, **query: Any) -> tuple[int, list[Any]]:
        return call(self.path, "POST", "/build", tar({"Dockerfile": text}), **query)


@pytest.fixture
def engine(tmp_path: Path, rig: Rig) -> Iterator[Api]:
    made = Api(tmp_path, rig)
    yield made
    made.close()


def test_a_build_streams_and_ends_with_the_id(engine: Api) -> None:
    status, lines = engine.build("FROM busybox:stable\nRUN echo hello\n", t="a:1", version="1", rm="1")
    assert status == 200
    assert {"stream": "hello\n"} in lines
    assert lines[-1] == {"stream": "Successfully tagged a:1\n"}
    (identity,) = [line["aux"]["ID"] for line in lines if "aux" in line]
    assert identity.startswith("sha256:")


def test_what_is_wrong_before_the_first_step_is_an_answer_of_its_own(engine: Api) -> None:
    assert engine.build("FROM busybox:stable\nADD a b\n") == (400, [{"message": "Dockerfile:2: ADD is not there yet"}])
    assert engine.build("FROM busybox:stable\n", memory="5")[0] == 501
    assert engine.build("FROM busybox:stable\n", dockerfile="x")[1] == [{"message": "x: no such file in the build context"}]


def test_what_fails_later_ends_the_stream(engine: Api) -> None:
    status, lines = engine.build("FROM busybox:stable\nRUN exit 4\n")
    assert status == 200
    assert lines[-1]["errorDetail"]["code"] == 4
    assert lines[-1]["error"] == lines[-1]["errorDetail"]["message"]


def test_a_client_that_goes_away_ends_its_build(engine: Api) -> None:
    connection = connect(engine.path, "POST", "/build", tar({"Dockerfile": "FROM busybox:stable\nRUN sleep 50\n"}))
    response = connection.getresponse()
    deadline = time.monotonic() + 20
    while not engine.rig.runner.running:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    response.close()
    connection.close()
    while engine.rig.runner.running:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_context_that_breaks_off_is_no_build(engine: Api) -> None:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(engine.path)
    connection.sendall(b"POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc")
    connection.close()
    assert engine.build("FROM busybox:stable\nRUN true\n")[0] == 200
    assert len(engine.rig.runner.commands) == 1


def test_credentials_come_by_registry() -> None:
    given = {"https://index.docker.io/v1/": {"username": "u", "password": "p"}, "localhost:5000": {"identitytoken": "t"}}
    header = base64.urlsafe_b64encode(json.dumps(given).encode()).decode().rstrip("=")
    request: Any = SimpleNamespace(headers={"x-registry-config": header})
    found = api.credentials_by_registry(request)
    assert (found["docker.io"].username, found["docker.io"].password, found["localhost:5000"].identity_token) == ("u", "p", "t")
    assert api.credentials_by_registry(SimpleNamespace(headers={})) == {}  # type: ignore[arg-type]
    for wrong in ("bm90anNvbg", "W10", "eyJhIjogMX0"):
        with pytest.raises(ApiError, match="X-Registry-Config"):
            api.credentials_by_registry(SimpleNamespace(headers={"x-registry-config": wrong}))  # type: ignore[arg-type]
