"""Against a server that answers as it is told: tokens, redirects, lies."""

from __future__ import annotations

import base64
import http.server
import json
import threading

import pytest

from gitopsd.model.errors import GitopsdError
from gitopsd.model.secret import Redacted
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import OCI_CONFIG, OCI_MANIFEST, Descriptor, render_manifest
from gitopsd.oci.platform import Platform
from gitopsd.registries import DistributionRegistries

AMD64 = Platform("linux", "amd64")
MANIFEST = render_manifest(Descriptor(OCI_CONFIG, Digest.of(b"{}"), 2), [])
DIGEST = Digest.of(MANIFEST)


class Server(http.server.ThreadingHTTPServer):
    """`answer(handler)` decides; `seen` keeps method, path and Authorization of each request."""

    def __init__(self, answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.seen: list[tuple[str, str, str]] = []
        self.address = f"127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path, self.headers.get("Authorization", "")))
        status, headers, body = self.server.answer(self)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  the name that http.server looks for

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve():
    servers: list[Server] = []

    def start(answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def manifest(handler):
    return 200, {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": DIGEST}, MANIFEST


def with_token(handler, realm):
    """A registry that takes the token `t1` and a token server that gives it for ada's password, or to anybody without one."""
    authorization = handler.headers.get("Authorization", "")
    if handler.path.startswith("/token"):
        return 200, {}, json.dumps({"token": "t1", "expires_in": 300}).encode()
    if authorization != "Bearer t1":
        return 401, {"WWW-Authenticate": f'Bearer realm="{realm}/token",service="r"'}, b""
    return manifest(handler)


def test_a_token_is_fetched_once_and_used_again(serve):
    server = serve(lambda handler: with_token(handler, f"http://{server.address}"))
    registries = DistributionRegistries(credentials={server.address: ("ada", Redacted("pw"))})
    for _ in range(2):
        assert registries.resolve(f"{server.address}/a/b:1", AMD64).digest == DIGEST
    tokens = [(path, authorization) for _, path, authorization in server.seen if path.startswith("/token")]
    basic = "Basic " + base64.b64encode(b"ada:pw").decode()
    assert tokens == [("/token?service=r&scope=repository:a/b:pull&account=ada", basic)]
    assert [authorization for _, path, authorization in server.seen if "/manifests/" in path] == ["", "Bearer t1", "Bearer t1"]


def test_a_password_is_not_given_to_a_token_server_elsewhere_without_tls(serve):
    other = serve(lambda handler: with_token(handler, ""))
    server = serve(lambda handler: with_token(handler, f"http://localhost:{other.server_port}"))
    DistributionRegistries(credentials={server.address: ("ada", Redacted("pw"))}).resolve(f"{server.address}/a/b:1", AMD64)
    assert [authorization for _, path, authorization in other.seen if path.startswith("/token")] == [""]


def test_a_redirect_to_another_host_is_followed_without_credentials(serve):
    blob = b"data" * 100
    storage = serve(lambda handler: (200, {}, blob))
    server = serve(
        lambda handler: (
            (307, {"Location": f"http://127.0.0.1:{storage.server_port}/x?sig=1"}, b"")
            if handler.headers.get("Authorization")
            else (401, {"WWW-Authenticate": 'Basic realm="r"'}, b"")
        )
    )
    registries = DistributionRegistries(credentials={server.address: ("ada", Redacted("pw"))})
    with registries.blob(f"{server.address}/a/b", Digest.of(blob)) as reader:
        assert reader.read() == blob
    assert storage.seen == [("GET", "/x?sig=1", "")]


def test_a_redirect_out_of_tls_or_without_end_is_refused(serve):
    server = serve(lambda handler: (302, {"Location": handler.path}, b""))
    with pytest.raises(GitopsdError, match="without end"):
        DistributionRegistries().resolve(f"{server.address}/a/b", AMD64)
    server = serve(lambda handler: (302, {"Location": "ftp://127.0.0.1/x"}, b""))
    with pytest.raises(GitopsdError, match="without TLS"):
        DistributionRegistries().resolve(f"{server.address}/a/b", AMD64)


def test_other_bytes_than_were_asked_for_are_not_taken(serve):
    server = serve(lambda handler: (200, {"Content-Type": OCI_MANIFEST}, MANIFEST))
    registries = DistributionRegistries()
    location = f"{server.address}/a/b"
    wrong = Digest.of(b"something else")
    with pytest.raises(GitopsdError) as caught:
        registries.manifest(location, wrong)
    assert caught.value.code == "digest-mismatch"
    with registries.blob(location, wrong) as reader, pytest.raises(GitopsdError, match="other bytes"):
        reader.read()
    with registries.blob(location, wrong) as reader, pytest.raises(GitopsdError, match="other bytes"):
        list(iter(lambda: reader.read(10), b""))
    with pytest.raises(GitopsdError, match="other bytes"):
        registries.resolve(f"{location}@{wrong}", AMD64)


def test_a_registry_that_names_no_digest_is_read(serve):
    server = serve(lambda handler: (200, {"Content-Type": OCI_MANIFEST}, MANIFEST))
    assert DistributionRegistries().resolve(f"{server.address}/a/b", AMD64).digest == DIGEST


def test_what_is_no_manifest_is_refused(serve):
    server = serve(lambda handler: (200, {"Content-Type": "text/html"}, b"<html>sign in here</html>"))
    with pytest.raises(GitopsdError) as caught:
        DistributionRegistries().resolve(f"{server.address}/a/b", AMD64)
    assert caught.value.code == "bad-manifest"


def test_what_a_registry_says_is_passed_on_and_busy_is_waited_for(serve):
    body = json.dumps({"errors": [{"code": "DENIED", "message": "no \x1b[2J entry"}]}).encode()
    server = serve(lambda handler: (403, {}, body))
    with pytest.raises(GitopsdError, match=r"answers 403: DENIED: no  \[2J entry"):
        DistributionRegistries().manifest(f"{server.address}/a/b", DIGEST)
    server = serve(lambda handler: (429, {"Retry-After": "7"}, b""))
    with pytest.raises(GitopsdError) as caught:
        DistributionRegistries().resolve(f"{server.address}/a/b", AMD64)
    assert (caught.value.code, caught.value.next, caught.value.wait_s) == ("registry-busy", "wait", 7.0)


def test_a_way_to_connect_may_be_given(serve):
    server = serve(manifest)
    dialled: list[tuple[str, int]] = []

    def dial(host, port):
        import socket

        dialled.append((host, port))
        return socket.create_connection(("127.0.0.1", server.server_port))

    registries = DistributionRegistries(insecure=("registry.internal:5000",), dial=dial)
    assert registries.resolve("registry.internal:5000/a/b", AMD64).digest == DIGEST
    assert dialled == [("registry.internal", 5000)]


def test_only_loopback_and_what_is_called_insecure_goes_without_tls():
    registries = DistributionRegistries(insecure=("10.0.0.1:5000",))
    plain = {
        name: registries._endpoint(name).url
        for name in ("127.0.0.1:5000", "localhost:5000", "[::1]:5000", "10.0.0.1:5000", "10.0.0.1", "docker.io")
    }
    assert plain == {
        "127.0.0.1:5000": "http://127.0.0.1:5000",
        "localhost:5000": "http://localhost:5000",
        "[::1]:5000": "http://[::1]:5000",
        "10.0.0.1:5000": "http://10.0.0.1:5000",
        "10.0.0.1": "https://10.0.0.1:443",
        "docker.io": "https://registry-1.docker.io:443",
    }


def a_certificate(folder):
    """A key and a certificate for 127.0.0.1 that nobody signed but itself."""
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "registry")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36500))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("registry.internal"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            False,
        )
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
    return folder / "cert.pem", folder / "key.pem"


def test_a_certificate_is_checked(serve, tmp_path, monkeypatch):
    import socket
    import ssl

    cert, key = a_certificate(tmp_path)
    server = serve(manifest)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)

    def dial(host, port):
        return socket.create_connection(("127.0.0.1", server.server_port))

    with pytest.raises(GitopsdError, match="certificate verify failed"):
        DistributionRegistries(dial=dial).resolve("registry.internal/a/b", AMD64)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    assert DistributionRegistries(dial=dial).resolve("registry.internal/a/b", AMD64).digest == DIGEST
    with pytest.raises(GitopsdError, match="certificate verify failed"):
        DistributionRegistries(dial=dial).resolve("other.internal/a/b", AMD64)
