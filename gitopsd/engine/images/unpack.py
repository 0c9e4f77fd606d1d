"""The worker's jobs that unpack one layer, and finish it once the layers below are there.

In: descriptors of the blob, the new layer's folder, the folder of all layers.  Out: size, count of entries; or why not.

The digest of the uncompressed bytes is checked to the last one, behind the end of the archive too, before the job succeeds. A folder that
a layer uses without bringing it looks as it does below; that is known only later, as the layers of an image are unpacked side by side.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import Any

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.images.extract import Extractor, take_looks
from gitopsd.engine.images.stream import BadArchive, Stream
from gitopsd.engine.images.tar.reader import Reader
from gitopsd.engine.paths.root import Root
from gitopsd.oci.digest import Digest

JOB = "gitopsd.engine.images.unpack:unpack_layer"
LOOKS_JOB = "gitopsd.engine.images.unpack:take_looks_from_below"
_MOST_IMPLIED = 100_000
# As many layers are asked for the looks of a folder as may be open at once.
_LOOKED_AT = 128


def unpack_layer(arguments: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    """`arguments`: `compression`, `diff_id`. `descriptors`: blob, new folder. `implied` in the answer is for the other job."""
    blob, target = descriptors
    wanted = Digest(arguments["diff_id"])
    os.umask(0)
    stream = Stream(blob, arguments["compression"])
    try:
        extractor = Extractor(Root(target))
        done = extractor.extract(Reader(stream.read))
        if len(extractor.implied) > _MOST_IMPLIED:
            raise BadArchive(f"more than {_MOST_IMPLIED} folders are used without being there")
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
    return {"size_bytes": done.size_bytes, "entries": done.entries, "implied": extractor.implied}


def take_looks_from_below(arguments: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    """`arguments`: `paths`, `lower` (folders' names, nearest first). `descriptors`: the layer's folder, the folder of all layers."""
    target, layers = descriptors
    with ExitStack() as stack:
        everything = Root(layers)
        lower = [stack.enter_context(everything.subroot(name)) for name in arguments["lower"][:_LOOKED_AT]]
        take_looks(Root(target), arguments["paths"], lower)
    return {}
