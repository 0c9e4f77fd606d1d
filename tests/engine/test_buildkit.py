"""What clients of BuildKit are told. They are docker buildx, by gRPC, and the docker CLI before 23, by a session and a build."""

from __future__ import annotations

import socket
import time

import pytest

from tests.engine.running import Engine

pytestmark = pytest.mark.host

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, ACKNOWLEDGED = b"\0\0\0\4\0\0\0\0\0", b"\0\0\0\4\1\0\0\0\0"


def upgraded(engine: Engine, path: str) -> socket.socket:
    return engine.take_over(path, 101, "Connection: Upgrade\r\nUpgrade: h2c\r\n")


def test_every_grpc_call_is_refused_with_what_to_do(engine: Engine) -> None:
    with upgraded(engine, "/v1.44/grpc") as sock:
        sock.sendall(PREFACE + SETTINGS)
        answer = sock.makefile("rb")
        assert answer.read(18) == SETTINGS + ACKNOWLEDGED
        sock.sendall(b"\0\0\x08\6\0\0\0\0\0" + b"pingpong")
        assert answer.read(17) == b"\0\0\x08\6\1\0\0\0\0" + b"pingpong"
        for number in (1, 3):
            for part in (b"\0\0\1\1\0\0\0\0" + bytes([number, 0x83]), b"\0\0\1\x09\4\0\0\0" + bytes([number, 0x86])):
                sock.sendall(part[:5])
                sock.sendall(part[5:])
            head = answer.read(9)
            assert head[3:] == b"\1\5\0\0\0" + bytes([number]), "headers, and the end of the stream"
            refusal = answer.read(int.from_bytes(head[:3], "big"))
            assert b"\x0bgrpc-status\x0212" in refusal
            assert b"with DOCKER_BUILDKIT=0 the client builds the classic way" in refusal
        answer.close()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", PREFACE + b"\xff" * 9, PREFACE[:5]])
def test_what_is_no_http2_ends_the_connection(engine: Engine, data: bytes) -> None:
    with upgraded(engine, "/grpc") as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert sock.makefile("rb").read() == SETTINGS


def test_a_session_ends_by_itself_and_its_build_is_refused_with_what_to_do(engine: Engine) -> None:
    with upgraded(engine, "/session") as sock:
        began = time.monotonic()
        answer = engine.call("POST", "/build?version=2&session=abc&remote=client-session")
        assert answer.status == 501
        assert "DOCKER_BUILDKIT=0" in answer.body["message"]
        sock.sendall(b"anything")
        assert sock.recv(10) == b""
        assert time.monotonic() - began < 8
