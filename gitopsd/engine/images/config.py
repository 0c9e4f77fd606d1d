"""An image config that comes from outside: what oci/manifest.py and dockerapi/imageconfig.py ask of it.  [pure]"""

from __future__ import annotations

from typing import Optional

from gitopsd.dockerapi import imageconfig
from gitopsd.oci.manifest import ImageConfig, InvalidManifest, Manifest, parse_config


def parse_strictly(data: bytes, manifest: Optional[Manifest] = None) -> ImageConfig:
    """As `parse_config`, and a container can be made of it. What is in the store already is read by `parse_config` alone."""
    config = parse_config(data, manifest)
    try:
        imageconfig.check(config.document)
    except imageconfig.InvalidImage as error:
        raise InvalidManifest(f"image config: {error}") from None
    return config
