"""A blob that a controller sends: `PUT /gitopsd/v1/blobs/<digest>`.

In: bytes from an offset on.  Out: the blob; or what is wrong, in the words of docs/engine-api.md.
"""

from __future__ import annotations

import errno
from typing import Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.content.blobs import Blobs, DigestMismatch, Ingest
from gitopsd.oci.digest import Digest


class BlobWriter:
    """A blob that a controller sends. `write`, `commit`, `close`, from one thread at a time."""

    def __init__(self, blobs: Blobs, digest: Digest, offset: int, size: Optional[int]) -> None:
        self._blobs, self._digest = blobs, digest
        self._ingest: Optional[Ingest] = None
        with blobs.lease() as lease:
            self._is_here = lease.keep(digest)
        if self._is_here:
            return
        self._ingest = blobs.ingest(digest, size, wait=False)
        if offset == 0 and self._ingest.offset:
            self._ingest.restart()
        if self._ingest.offset != offset:
            has = self._ingest.offset
            self._ingest.close()
            raise ApiError(
                409, f"put blob {digest}: {has} bytes of it are here, the range begins at {offset}", "offset-differs", partial=has
            )

    def write(self, data: bytes) -> None:
        if self._ingest is not None:
            try:
                self._ingest.write(data)
            except DigestMismatch as error:
                raise ApiError(400, f"put blob: {error}", "digest-mismatch") from None
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise ApiError(500, f"put blob {self._digest}: no space left on device") from None
                raise

    def commit(self) -> None:
        """It is whole; ApiError 400 `digest-mismatch` if it is not, or another."""
        if self._ingest is not None:
            try:
                self._ingest.commit()
            except DigestMismatch as error:
                raise ApiError(400, f"put blob: {error}", "digest-mismatch") from None

    def close(self) -> None:
        if self._ingest is not None:
            self._ingest.close()
