"""The registry: the OCI distribution specification 1.1 over HTTP.

In: requests.  Out: what repositories.py has, and changes to it. `serve` runs it for `gitopsd-engine registry`.

Rule 1: an answer that says "created" is sent when what was created is durable.
Rule 2: file work runs in threads, never on the loop; a body is read as it comes and is nowhere whole in memory, manifests excepted.
Rule 3: what a request asks for is bounded before it is computed (CVE-2023-2253: `n` of the catalog).

It has no accounts yet: whoever reaches its address may read and write. So it listens on loopback unless told otherwise.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Callable, Optional
from urllib.parse import urlencode

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.content.blobs import BlobMissing, Blobs
from gitopsd.engine.content.gc import GRACE_S, PARTIAL_GRACE_S, collect
from gitopsd.engine.http.server import BodyTooLarge, PeerGone, Request, Response, serve_connection
from gitopsd.engine.paths.records import make_directories_durably
from gitopsd.engine.registry.repositories import Refused, Repositories
from gitopsd.engine.registry.uploads import Upload, Uploads
from gitopsd.oci import distribution as d
from gitopsd.oci.digest import Digest, InvalidDigest
from gitopsd.oci.manifest import LARGEST_MANIFEST, OCI_INDEX, InvalidManifest
from gitopsd.oci.reference import InvalidReference, check_repository

_log = logging.getLogger(__name__)
_PIECE = 1 << 20
_TAGS_PAGE, _CATALOG_PAGE = 10_000, 1000
_COLLECT_EVERY_S = 3600.0


class Registry:
    """Answers requests for the repositories of one data root."""

    def __init__(self, data_root: str, blobs: Optional[Blobs] = None) -> None:
        self._data_root = data_root
        self._blobs = blobs or Blobs(data_root)
        self.repositories = Repositories(data_root, self._blobs)
        self._uploads = Uploads(data_root, self._blobs)

    async def handle(self, request: Request) -> Optional[Response]:
        """One request; every error is answered in the specification's form."""
        try:
            return await self._answer(request)
        except Refused as error:
            return _refusal(error.status, error.code, error.message, error.headers)
        except InvalidReference as error:
            return _refusal(400, d.NAME_INVALID, str(error))
        except InvalidDigest as error:
            return _refusal(400, d.DIGEST_INVALID, str(error))
        except InvalidManifest as error:
            return _refusal(400, d.MANIFEST_INVALID, str(error))
        except BlobMissing as error:
            return _refusal(404, d.BLOB_UNKNOWN, str(error))
        except BodyTooLarge:
            return _refusal(413, d.SIZE_INVALID, f"a manifest may have {LARGEST_MANIFEST} bytes")
        except (PeerGone, ConnectionError):
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return _refusal(507, d.SIZE_INVALID, "no space left on the registry's disk")
            _log.exception("%s %s", request.method, request.path)
            return _refusal(500, "UNKNOWN", f"{request.method} {request.path}: internal error, see the registry's log")

    async def _answer(self, request: Request) -> Response:
        route = d.parse_path(request.path)
        if route is None:
            raise Refused(404, d.UNSUPPORTED, f"there is no {request.path[:200]}")
        call = self._calls().get((route.kind, "GET" if request.method == "HEAD" else request.method))
        if call is None:
            raise Refused(405, d.UNSUPPORTED, f"{request.method} is not possible on {route.kind}")
        return await call(request, route)

    def _calls(self) -> dict[tuple[str, str], Callable[[Request, d.Route], Any]]:
        return {
            ("base", "GET"): self._base,
            ("catalog", "GET"): self._catalog,
            ("blob", "GET"): self._get_blob,
            ("blob", "DELETE"): self._delete_blob,
            ("manifest", "GET"): self._get_manifest,
            ("manifest", "PUT"): self._put_manifest,
            ("manifest", "DELETE"): self._delete_manifest,
            ("tags", "GET"): self._tags,
            ("referrers", "GET"): self._referrers,
            ("uploads", "POST"): self._begin_upload,
            ("upload", "GET"): self._upload_state,
            ("upload", "PATCH"): self._patch_upload,
            ("upload", "PUT"): self._put_upload,
            ("upload", "DELETE"): self._cancel_upload,
        }

    async def _base(self, request: Request, route: d.Route) -> Response:
        return _json(b"{}")

    # content

    async def _get_blob(self, request: Request, route: d.Route) -> Response:
        digest = _digest_of(route)
        size = await asyncio.to_thread(self.repositories.blob_size, route.repository, digest)
        headers = {
            "Content-Type": "application/octet-stream", "Docker-Content-Digest": digest, "ETag": f'"{digest}"', "Accept-Ranges": "bytes",
            "Cache-Control": "max-age=31536000",
        }  # fmt: skip
        start, end, status = 0, size, 200
        if "range" in request.headers:
            try:
                part = d.parse_range(request.headers["range"], size)
            except d.BadProtocol as error:
                raise Refused(416, d.SIZE_INVALID, str(error), {"Content-Range": f"bytes */{size}"}) from None
            if part is not None:
                (start, end), status = part, 206
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        headers["Content-Length"] = str(end - start)
        body = None if request.method == "HEAD" else self._read(digest, start, end)
        return Response(status, body, headers)

    async def _read(self, digest: Digest, start: int, end: int) -> AsyncIterator[bytes]:
        file = await asyncio.to_thread(self._blobs.open, digest)
        try:
            file.seek(start)
            while start < end:
                piece = await asyncio.to_thread(file.read, min(_PIECE, end - start))
                if not piece:
                    raise ConnectionResetError(f"blob {digest} is shorter than it was")
                start += len(piece)
                yield piece
        finally:
            file.close()

    async def _delete_blob(self, request: Request, route: d.Route) -> Response:
        await asyncio.to_thread(self.repositories.delete_blob, route.repository, _digest_of(route))
        return Response(202)

    async def _get_manifest(self, request: Request, route: d.Route) -> Response:
        stored = await asyncio.to_thread(self.repositories.manifest, route.repository, route.digest, route.tag)
        headers = {"Content-Type": stored.media_type, "Docker-Content-Digest": stored.digest, "ETag": f'"{stored.digest}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(304, None, headers)
        headers["Content-Length"] = str(len(stored.data))
        return Response(200, None if request.method == "HEAD" else stored.data, headers)

    async def _put_manifest(self, request: Request, route: d.Route) -> Response:
        data = await request.read(LARGEST_MANIFEST)
        kind = request.headers.get("content-type", "")
        digest, subject = await asyncio.to_thread(
            self.repositories.put_manifest, route.repository, route.digest, route.tag, data, kind
        )
        headers = {"Location": d.manifest_path(route.repository, digest), "Docker-Content-Digest": str(digest)}
        if subject:
            headers["OCI-Subject"] = subject
        return Response(201, b"", headers)

    async def _delete_manifest(self, request: Request, route: d.Route) -> Response:
        await asyncio.to_thread(self.repositories.delete_manifest, route.repository, route.digest, route.tag)
        return Response(202)

    # lists

    async def _tags(self, request: Request, route: d.Route) -> Response:
        most, last = _page_asked(request, _TAGS_PAGE), request.argument("last")
        names, is_more = await asyncio.to_thread(self.repositories.tags, route.repository, most, last)
        return _page(json.dumps({"name": route.repository, "tags": names}), request, names, most, is_more)

    async def _catalog(self, request: Request, route: d.Route) -> Response:
        most, last = _page_asked(request, _CATALOG_PAGE), request.argument("last")
        names, is_more = await asyncio.to_thread(self.repositories.catalog, most, last)
        return _page(json.dumps({"repositories": names}), request, names, most, is_more)

    async def _referrers(self, request: Request, route: d.Route) -> Response:
        wanted = request.argument("artifactType")
        body = await asyncio.to_thread(self.repositories.referrers, route.repository, _digest_of(route), wanted)
        return Response(200, body, {"Content-Type": OCI_INDEX, **({"OCI-Filters-Applied": "artifactType"} if wanted else {})})

    # uploads

    async def _begin_upload(self, request: Request, route: d.Route) -> Response:
        if "mount" in request.query:
            digest = Digest(request.argument("mount"))
            source = request.argument("from")
            with suppress(InvalidReference):  # a mount that cannot be done becomes an upload, says the specification
                if source:
                    check_repository(source)
                if await asyncio.to_thread(self.repositories.mount, route.repository, digest, source):
                    return _created(route.repository, digest)
        wanted = Digest(request.argument("digest")) if "digest" in request.query else None
        upload = await asyncio.to_thread(self._uploads.begin, route.repository)
        if wanted is None:
            return Response(202, b"", self._session_headers(upload, 0))
        async with upload.lock:
            try:
                await self._receive(request, upload)
                return await self._finish(upload, wanted)
            except BaseException:
                self._uploads.end(upload)
                raise

    async def _upload_state(self, request: Request, route: d.Route) -> Response:
        upload = await asyncio.to_thread(self._uploads.find, route.session, route.repository)
        async with upload.lock:
            ingest = await asyncio.to_thread(self._uploads.open, upload)
            return Response(204, None, self._session_headers(upload, ingest.offset))

    async def _patch_upload(self, request: Request, route: d.Route) -> Response:
        upload = await asyncio.to_thread(self._uploads.find, route.session, route.repository)
        async with upload.lock:
            await self._receive(request, upload)
            return Response(202, b"", self._session_headers(upload, self._uploads.open(upload).offset))

    async def _put_upload(self, request: Request, route: d.Route) -> Response:
        upload = await asyncio.to_thread(self._uploads.find, route.session, route.repository)
        wanted = Digest(request.argument("digest"))
        async with upload.lock:
            await self._receive(request, upload)
            return await self._finish(upload, wanted)

    async def _cancel_upload(self, request: Request, route: d.Route) -> Response:
        upload = await asyncio.to_thread(self._uploads.find, route.session, route.repository)
        async with upload.lock:
            self._uploads.end(upload)
            return Response(204, None)

    async def _receive(self, request: Request, upload: Upload) -> None:
        """Append the body to the session; what came before a break stays."""
        ingest = await asyncio.to_thread(self._uploads.open, upload)
        if "content-range" in request.headers:
            try:
                start, _ = d.parse_chunk_range(request.headers["content-range"])
            except d.BadProtocol as error:
                raise Refused(416, d.BLOB_UPLOAD_INVALID, str(error), self._session_headers(upload, ingest.offset)) from None
            if start != ingest.offset:
                message = f"the upload has {ingest.offset} bytes, the chunk begins at {start}"
                raise Refused(416, d.BLOB_UPLOAD_INVALID, message, self._session_headers(upload, ingest.offset))
        waiting: list[bytes] = []
        size = 0
        try:
            async for piece in request.chunks():
                waiting.append(piece)
                size += len(piece)
                if size >= _PIECE:
                    await asyncio.to_thread(ingest.write, b"".join(waiting))
                    waiting, size = [], 0
        finally:
            if waiting:
                await asyncio.to_thread(ingest.write, b"".join(waiting))

    async def _finish(self, upload: Upload, wanted: Digest) -> Response:
        ingest = await asyncio.to_thread(self._uploads.open, upload)
        if ingest.digest != wanted:
            found = ingest.digest
            self._uploads.end(upload)
            raise Refused(400, d.DIGEST_INVALID, f"the bytes that came have digest {found}, not {wanted}")
        await asyncio.to_thread(ingest.commit)
        await asyncio.to_thread(self.repositories.link_blob, upload.repository, wanted)
        self._uploads.end(upload)
        return _created(upload.repository, wanted)

    def _session_headers(self, upload: Upload, received: int) -> dict[str, str]:
        location = d.uploads_path(upload.repository) + upload.session
        return {"Location": location, "Range": d.render_chunk_range(received), "Docker-Upload-UUID": upload.session}

    # housekeeping

    def collect(self, grace_s: float = GRACE_S) -> int:
        """Let go of uploads and blobs that nobody needs; returns the bytes freed.

        There is one collector for a store: where an engine has its images on the same data root, blobs are removed by that one,
        which knows what containers need (images/images.py).
        """
        self._uploads.prune(PARTIAL_GRACE_S)
        self.repositories.prune(grace_s)
        if os.path.exists(os.path.join(self._data_root, "images.json")):
            return 0
        return collect(self._blobs, [self.repositories], grace_s).freed_bytes

    def close(self) -> None:
        self._uploads.close()


async def serve(
    data_root: str,
    listen: str,
    tls: Optional[ssl.SSLContext] = None,
    ready: Optional[Callable[[str], None]] = None,
    collect_every_s: float = _COLLECT_EVERY_S,
) -> None:
    """Run the registry of `data_root` on `listen` (`host:port`; port 0 takes a free one) until cancelled.

    `ready` hears the address. A second registry on the same data root is refused with ApiError 409. An engine's daemon may run on it.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit():
        raise ApiError(400, f"listen on {listen!r}: expected host:port")
    make_directories_durably(os.path.join(data_root, "registry"))
    lock = os.open(os.path.join(data_root, "registry", "lock"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ApiError(409, f"start registry: another one runs on {data_root}") from None
        registry = Registry(data_root)
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await serve_connection(registry.handle, reader, writer)
            finally:
                connections.discard(task)

        server = await asyncio.start_server(connected, host.strip("[]"), int(port), ssl=tls, limit=_PIECE, backlog=512)
        try:
            name = server.sockets[0].getsockname()
            if ready:
                ready(f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}")
            while True:
                await asyncio.sleep(collect_every_s)
                try:
                    await asyncio.to_thread(registry.collect)
                except Exception:  # noqa: BLE001  the next hour tries again
                    _log.exception("collect")
        finally:
            server.close()
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
            registry.close()
    finally:
        os.close(lock)


def _digest_of(route: d.Route) -> Digest:
    assert route.digest is not None
    return route.digest


def _json(body: bytes) -> Response:
    return Response(200, body, {"Content-Type": "application/json", "Docker-Distribution-API-Version": "registry/2.0"})


def _refusal(status: int, code: str, message: str, headers: Optional[dict[str, str]] = None) -> Response:
    return Response(status, d.error_body(code, message), {"Content-Type": "application/json", **(headers or {})})


def _created(repository: str, digest: Digest) -> Response:
    return Response(201, b"", {"Location": d.blob_path(repository, digest), "Docker-Content-Digest": str(digest)})


def _page_asked(request: Request, most: int) -> int:
    text = request.argument("n", str(most))
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise Refused(400, "PAGINATION_NUMBER_INVALID", f"n is {text[:40]!r}, expected a number of names")
    return min(int(text), most)


def _page(body: str, request: Request, names: list[str], most: int, is_more: bool) -> Response:
    response = _json(body.encode())
    if is_more:
        response.headers["Link"] = d.render_next_link(f"{request.raw_path}?{urlencode({'n': most, 'last': names[-1]})}")
    return response
