"""Build what nobody has yet."""

from gitopsd.build.build import build

__all__ = ["build"]
