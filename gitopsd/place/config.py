"""Config hashes, version 1 (docs/formats.md).  [pure]

In: a specification.  Out: `1:` and 32 digits, the same for ever for the same specification: it is on running containers as a label.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from gitopsd.model.codec import digest_of
from gitopsd.model.desired import ContainerSpec, ImageChoice, NetworkSpec, VolumeSpec

_VERSION = "1"
_DIGITS = 32
_IN_PLACE = ("name", "restart", "memory_bytes", "nano_cpus")


def container_config(spec: ContainerSpec) -> str:
    """Covers what takes a new container to change."""
    said: dict[str, Any] = {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name not in _IN_PLACE and value != field.default:
            said[field.name] = _image(spec.image) if field.name == "image" else value
    return f"{_VERSION}:{digest_of(said, _DIGITS)}"


def network_config(spec: NetworkSpec) -> str:
    return f"{_VERSION}:{digest_of(spec, _DIGITS)}"


def volume_config(spec: VolumeSpec) -> str:
    return f"{_VERSION}:{digest_of(spec, _DIGITS)}"


def _image(image: ImageChoice) -> str:
    """The key where it is built here, so that the hash is known before the image is; else the digest."""
    return f"key:{image.key}" if image.key else image.digest or ""
