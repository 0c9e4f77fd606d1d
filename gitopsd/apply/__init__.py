"""Carry out a plan on the hosts."""

from gitopsd.apply.gate import Timing
from gitopsd.apply.images import Blob, ImageSource, Parts
from gitopsd.apply.run import Watch, apply

__all__ = ["Blob", "ImageSource", "Parts", "Timing", "Watch", "apply"]
