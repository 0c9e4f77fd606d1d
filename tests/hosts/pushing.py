"""Push an image to a registry over plain HTTP, as any client of the distribution protocol does."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from tests.hosts.busybox import Image


def push(address: str, repository: str, tag: str, image: Image) -> None:
    for digest, data in image.blobs.items():
        if digest != image.manifest:
            upload = _ask(address, "POST", f"/v2/{repository}/blobs/uploads/", b"", 202)
            place = urlsplit(upload)
            _ask(address, "PUT", f"{place.path}?{place.query}{'&' if place.query else ''}digest={digest}", data, 201)
    manifest = image.blobs[image.manifest]
    _ask(address, "PUT", f"/v2/{repository}/manifests/{tag}", manifest, 201, "application/vnd.oci.image.manifest.v1+json")


def _ask(address: str, method: str, path: str, body: bytes, expected: int, kind: str = "application/octet-stream") -> str:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status == expected, f"{method} {path}: {answer.status} {said[:300]!r}"
        return answer.getheader("Location") or ""
    finally:
        connection.close()
