"""The worker's job that unpacks one layer.

In: descriptors of the blob, the new layer's folder, and the folder of all layers.  Out: size, count of entries; or why not.

The digest of the uncompressed bytes is checked to the last one, behind the end of the archive too, before the job succeeds.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import Any

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.images.extract import Extractor
from gitopsd.engine.images.stream import BadArchive, Stream
from gitopsd.engine.images.tar.reader import Reader
from gitopsd.engine.paths.root import Root
from gitopsd.oci.digest import Digest

JOB = "gitopsd.engine.images.unpack:unpack_layer"


def unpack_layer(arguments: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    """`arguments`: `compression`, `diff_id`, `lower` (short ids, nearest first). `descriptors`: blob, new folder, all layers."""
    blob, target, layers = descriptors
    wanted = Digest(arguments["diff_id"])
    os.umask(0)
    stream = Stream(blob, arguments["compression"])
    try:
        with ExitStack() as stack:
            everything = Root(layers)
            lower = [stack.enter_context(everything.subroot(short)) for short in arguments["lower"][:_LOOKED_AT]]
            done = Extractor(Root(target), lower).extract(Reader(stream.read))
        found = stream.finish()
    except BadArchive as error:
        raise ApiError(400, f"unpack layer {wanted.short}: {error}") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ApiError(500, f"unpack layer {wanted.short}: no space left on device") from None
        raise
    finally:
        stream.close()
    if found != wanted:
        raise ApiError(
            400, f"unpack layer {wanted.short}: its content has digest {found}, the image config says {wanted}", "digest-mismatch"
        )
    return {"size_bytes": done.size_bytes, "entries": done.entries}


# Layers that are asked for the looks of a folder which a layer uses without bringing it: as many as may be open at once.
_LOOKED_AT = 128
