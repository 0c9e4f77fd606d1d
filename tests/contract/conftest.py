"""The distribution project's registry, from Debian's package docker-registry, on a port of its own."""

from __future__ import annotations

import base64
import http.client
import shutil
import socket
import subprocess
import time

import bcrypt
import pytest

from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import INDEX_TYPES, OCI_MANIFEST, parse_manifest

USER, PASSWORD = "ada", "s3cret"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RealRegistry:
    def __init__(self, folder, is_closed: bool) -> None:
        program = shutil.which("docker-registry")
        if not program:
            pytest.skip("docker-registry is not installed")
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.headers = {"Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()} if is_closed else {}
        auth = f"auth:\n  htpasswd: {{realm: test, path: {folder}/htpasswd}}\n" if is_closed else ""
        (folder / "htpasswd").write_bytes(USER.encode() + b":" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)) + b"\n")
        (folder / "config.yml").write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
            f"http: {{addr: {self.address}}}\n{auth}"
        )
        self.process = subprocess.Popen(
            [program, "serve", folder / "config.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            try:
                self._call("GET", "/v2/")
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("docker-registry does not start")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def put_blob(self, repository: str, data: bytes) -> str:
        digest = Digest.of(data)
        _, headers = self._call("POST", f"/v2/{repository}/blobs/uploads/")
        place = headers["Location"].split(self.address, 1)[-1]
        self._call("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", data, "application/octet-stream")
        return digest

    def put_manifest(self, repository: str, data: bytes, tag: str) -> str:
        kind = parse_manifest(data).media_type
        assert kind in (OCI_MANIFEST, *INDEX_TYPES)
        self._call("PUT", f"/v2/{repository}/manifests/{tag}", data, kind)
        return Digest.of(data)

    def _call(self, method, path, body=None, kind=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {**self.headers, **({"Content-Type": kind} if kind else {})}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 300, (answer.status, text)
            return answer.status, answer.headers
        finally:
            connection.close()


@pytest.fixture(scope="session")
def real_registry(tmp_path_factory):
    registry = RealRegistry(tmp_path_factory.mktemp("registry"), is_closed=False)
    yield registry
    registry.stop()


@pytest.fixture(scope="session")
def closed_registry(tmp_path_factory):
    registry = RealRegistry(tmp_path_factory.mktemp("closed-registry"), is_closed=True)
    yield registry
    registry.stop()
