"""Repositories behind a real sshd and behind TLS, as a controller reaches them."""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import http.server
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gitopsd.model.errors import GitopsdError
from gitopsd.source import Repository, Ssh

pytestmark = pytest.mark.interop


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    return subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def bare(tmp_path):
    """A bare repository with one commit, and how to add another."""
    work, path = tmp_path / "work", tmp_path / "shop.git"
    work.mkdir()
    git(work, "init", "--quiet", "--initial-branch=main")

    def commit(text: str) -> str:
        (work / "a").write_text(text)
        git(work, "add", "a")
        git(work, "commit", "--quiet", "--message", text)
        if not path.exists():
            git(tmp_path, "clone", "--quiet", "--bare", str(work), str(path))
        git(work, "push", "--quiet", str(path), "main")
        git(path, "update-server-info")
        return git(work, "rev-parse", "HEAD")

    commit("one")
    return path, commit


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def keygen(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_suffix(".pub").read_text()


@pytest.fixture
def sshd(tmp_path):
    """An sshd of our own: its port, a key that it takes, and the line that knows it."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program or os.geteuid() != 0:
        pytest.skip("needs root and sshd")
    host_key = keygen(tmp_path / "host_key")
    (tmp_path / "authorized").write_text(keygen(tmp_path / "key"))
    port = free_port()
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host_key\nAuthorizedKeysFile {tmp_path}/authorized\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nPidFile none\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([program, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=subprocess.DEVNULL)
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.05)
    yield port, tmp_path / "key", f"[127.0.0.1]:{port} {host_key}"
    process.kill()
    process.wait()


def test_a_repository_is_fetched_over_ssh_with_the_key_that_was_named(bare, sshd, tmp_path, monkeypatch):
    path, commit = bare
    port, key, known = sshd
    (tmp_path / "known_hosts").write_text(known)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    address = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{path}"
    with Repository(address, tmp_path / "mirrors", Ssh(str(key), str(tmp_path / "known_hosts"))) as repository:
        assert repository.fetch() is True
        assert repository.revision("main").tree.read("a") == b"one"
        expected = commit("two")
        assert repository.has_moved() is True
        assert repository.fetch() is True
        assert repository.revision().commit == expected


def test_a_host_that_is_not_known_or_another_is_a_stop(bare, sshd, tmp_path):
    path, _ = bare
    port, key, known = sshd
    stranger = keygen(tmp_path / "other")
    for text in ("", f"[127.0.0.1]:{port} {stranger}"):
        (tmp_path / "known_hosts").write_text(text)
        address = f"ssh://root@127.0.0.1:{port}{path}"
        with (
            Repository(address, tmp_path / "mirrors", Ssh(str(key), str(tmp_path / "known_hosts"))) as repository,
            pytest.raises(GitopsdError) as caught,
        ):
            repository.fetch()
        assert caught.value.code == "repository-unreachable"
        assert "ost key verification failed" in caught.value.message
    assert known not in (tmp_path / "known_hosts").read_text(), "a key that was met is not written down by itself"


def a_certificate(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(start).not_valid_after(start + dt.timedelta(days=36500))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    (folder / "cert.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_repository_is_fetched_over_https_if_the_certificate_is_right(bare, tmp_path, monkeypatch):
    path, commit = bare
    context = a_certificate(tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Quiet(*given, directory=str(tmp_path)))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    address = f"https://localhost:{server.server_port}/{path.name}"
    try:
        with Repository(address, tmp_path / "mirrors") as repository, pytest.raises(GitopsdError, match="certificate"):
            repository.fetch()
        monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "cert.pem"))
        with Repository(address, tmp_path / "mirrors") as repository:
            assert repository.fetch() is True
            expected = commit("two")
            assert repository.fetch() is True
            assert repository.revision("main").commit == expected
            assert repository.revision("main").tree.read("a") == b"two"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
