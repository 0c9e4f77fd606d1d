"""What a client may send: every member of every body as something that it is not, bytes that are no HTTP, and connections that go nowhere."""

from __future__ import annotations

import copy
import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.running import Engine, until

pytestmark = pytest.mark.host

_ODD: list[Any] = [7, -1, 1.5, 10**30, True, "", "x", "\u202e../..\n", [], [7], [None], [[]], ["x"], {}, {"a": 7}, {"": []}, None]

_CREATE: dict[str, Any] = {
    "Image": "busybox", "Cmd": ["true"], "Entrypoint": ["sh"], "Hostname": "h", "Domainname": "d", "User": "root",
    "Env": ["A=b"], "Labels": {"a": "b"},
    "WorkingDir": "/", "StopSignal": "TERM", "StopTimeout": 3, "Volumes": {"/v": {}}, "ExposedPorts": {"80/tcp": {}}, "OpenStdin": False,
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000, "Retries": 1},
    "NetworkingConfig": {"EndpointsConfig": {"bridge": {"IPAMConfig": {}}}},
    "Gitopsd": {"Replaces": None},
    "HostConfig": {
        "Binds": ["vol:/b"], "Memory": 0, "MemorySwap": 0, "NanoCpus": 0, "CpuShares": 0, "CpuPeriod": 0, "CpuQuota": 0, "CpusetCpus": "",
        "PidsLimit": 9,
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": ""}]}, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "CapAdd": ["CHOWN"],
        "CapDrop": ["KILL"], "Dns": ["192.0.2.1"], "DnsOptions": [], "DnsSearch": ["x"], "ExtraHosts": ["a:192.0.2.1"], "Tmpfs": {"/t": "size=1m"},
        "Mounts": [{"Type": "tmpfs", "Target": "/m", "TmpfsOptions": {"SizeBytes": 1}}, {"Type": "volume", "Source": "vol2", "Target": "/n"}],
        "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "Sysctls": {"net.ipv4.ip_forward": "1"}, "ShmSize": 1 << 20, "OomScoreAdj": 5,
        "SecurityOpt": ["no-new-privileges"], "LogConfig": {"Type": "local", "Config": {}}, "MaskedPaths": ["/proc/acpi"], "ReadonlyPaths": [],
        "AutoRemove": False, "NetworkMode": "bridge", "PublishAllPorts": False, "ReadonlyRootfs": False,
    },
}  # fmt: skip
_BODIES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/containers/create", _CREATE),
    ("POST", "/containers/there/update", {"Memory": 1 << 30, "PidsLimit": 9, "CpusetCpus": "",
                                          "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}}),
    ("POST", "/containers/there/exec", {"Cmd": ["true"], "User": "root", "WorkingDir": "/", "Env": ["A=b"], "AttachStdout": True}),
    ("POST", "/networks/create", {"Name": "odd", "Driver": "bridge", "Internal": False, "Labels": {"a": "b"}, "Options": {"a": "b"},
                                  "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.99.0.0/24", "Gateway": "10.99.0.1"}]}}),
    ("POST", "/networks/bridge/connect", {"Container": "created", "EndpointConfig": {"Aliases": [], "IPAMConfig": {"IPv4Address": ""}}}),
    ("POST", "/networks/bridge/disconnect", {"Container": "there", "Force": False}),
    ("POST", "/volumes/create", {"Name": "odd", "Driver": "local", "DriverOpts": {}, "Labels": {"a": "b"}}),
    ("PUT", "/gitopsd/v1/host", {"fleet": "f", "host": "h", "number": 1, "block": "10.192.0.0/21", "spans": "10.208.0.0/12"}),
    ("POST", "/gitopsd/v1/transition", {"old": "there", "new": "created", "generations": {"there": 1}}),
    ("POST", "/gitopsd/v1/blobs/missing", {"digests": ["sha256:" + "a" * 64]}),
    ("PUT", "/gitopsd/v1/images", {"manifest": "sha256:" + "a" * 64, "references": ["a:b"]}),
]  # fmt: skip


def twisted(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all members."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield (*path, key)
        yield from twisted(member, (*path, key))


@pytest.mark.parametrize(("method", "path", "body"), _BODIES, ids=[f"{method} {path}" for method, path, _ in _BODIES])
def test_no_member_of_a_body_is_an_internal_error_whatever_it_is(
    engine: Engine, method: str, path: str, body: dict[str, Any]
) -> None:
    engine.run("sleep", "1000", name="there")
    engine.create("true", name="created")
    wrong = []
    for keys in twisted(body):
        for odd in _ODD:
            sent = copy.deepcopy(body)
            inner = sent
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = odd
            answer = engine.call(method, path, sent)
            if answer.status >= 500 and answer.status != 501:
                wrong.append((keys, odd, answer.body))
            if answer.status == 201 and "/containers/create" in path:
                engine.client.call("DELETE", f"/containers/{answer.body['Id']}", v=True)
    assert wrong == [], "\n".join(map(str, wrong))
    assert "Traceback" not in engine.log.read_text()[engine.mark :]


@pytest.mark.parametrize("query", [
    "/containers/json?limit=x", "/containers/json?filters=7", "/containers/json?filters={{", '/containers/json?filters={"label":7}',
    '/containers/json?filters={"before":["none"]}', "/containers/there/logs?stdout=1&tail=-9", "/containers/there/logs?stdout=1&since=9e99",
    "/containers/there/logs?stdout=1&until=99999999999999999999999", "/containers/%00/json", "/containers/..%2f..%2fx/json", "/containers/%ff/json",
    "/images/..%2f..%2fx/json", "/images/%00/json", "/volumes/..%2f..%2fx", "/networks/%00", '/networks?filters={"dangling":[]}',
    '/volumes?filters={"dangling":[]}', "/v99999999999999999999.1/version", "/v1.44/../version", "//version", "/containers/there/json?size=1",
    '/images/json?filters={"reference":[7]}', "/images/json?filters=[]",
])  # fmt: skip
def test_no_query_is_an_internal_error_whatever_it_says(engine: Engine, query: str) -> None:
    engine.run("true", name="there")
    answer = engine.call("GET", query)
    assert answer.status < 500 or answer.status == 501, answer
    assert "Traceback" not in engine.log.read_text()[engine.mark :]


@pytest.mark.parametrize("query", ["stop?t=x", "stop?t=1.5", "stop?signal=SIGRTMIN%2B", "kill?signal=%00", "kill?signal=SIGRTMIN-5", "kill?signal=0",
                                   "kill?signal=65", "kill?signal=RTMIN%2B99", "wait?condition=%00",
                                   "rename?name=", "rename?name=%00"])  # fmt: skip
def test_no_argument_of_a_change_is_an_internal_error(engine: Engine, query: str) -> None:
    made = engine.run("sleep", "1000")
    answer = engine.call("POST", f"/containers/{made}/{query}")
    assert answer.status < 500, answer
    assert engine.status(made)["Running"]
    assert "Traceback" not in engine.log.read_text()[engine.mark :]


@pytest.mark.parametrize("data", [
    b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"A" * 100_000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /version HTTP/1.1\r\n\r\n",
    b"POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
    b"POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    b"POST /containers/create HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", b"GET http://[::1/x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET //[x HTTP/1.1\r\nHost: a\r\n\r\n", b"GET \xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
])  # fmt: skip
def test_bytes_that_are_no_request_are_refused_and_hurt_nobody(engine: Engine, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(engine.socket))
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while part := sock.recv(65536):
                answer += part
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
    assert b" 200 " not in answer.split(b"\r\n")[0]
    assert engine.call("GET", "/version").status == 200
    assert "Traceback" not in engine.log.read_text()[engine.mark :]


def test_connections_that_say_nothing_or_break_off_cost_no_descriptor(engine: Engine) -> None:
    before = len(os.listdir(f"/proc/{engine.pid}/fd"))
    made = engine.run("sleep", "1000")
    socks = []
    for data in [b"", b"GET /ver", b"POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n{",
                 f"GET /containers/{made}/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
                 f"POST /containers/{made}/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
                 f"POST /containers/{made}/wait HTTP/1.1\r\nHost: a\r\n\r\n".encode()] * 15:  # fmt: skip
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(engine.socket))
        sock.sendall(data)
        socks.append(sock)
    assert engine.call("GET", "/version").status == 200
    for sock in socks:
        sock.close()
    engine.remove(made)
    until(lambda: len(os.listdir(f"/proc/{engine.pid}/fd")) <= before + 2, "all are closed")
    assert "Traceback" not in engine.log.read_text()[engine.mark :]


def test_a_body_that_never_ends_is_cut_off(engine: Engine) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(engine.socket))
        sock.sendall(b"POST /containers/create HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 64 << 20:
                sock.sendall(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
                sent += 0x100000
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert sent < 32 << 20
    assert json.loads(json.dumps(engine.call("GET", "/version").body))
