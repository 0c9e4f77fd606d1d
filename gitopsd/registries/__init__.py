"""Registries, asked by the names of images: the seam, and the kind that speaks the distribution protocol."""

from __future__ import annotations

from gitopsd.registries.credentials import read_credentials
from gitopsd.registries.distribution import DistributionRegistries
from gitopsd.registries.registry import BlobReader, Found, Registries
from gitopsd.registries.stored import StoredRegistries

__all__ = ["BlobReader", "DistributionRegistries", "Found", "Registries", "StoredRegistries", "read_credentials"]
