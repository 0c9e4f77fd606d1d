"""Build what nobody has yet."""

from gitopsd.build.build import QUIET, BuildWatch, build

__all__ = ["QUIET", "BuildWatch", "build"]
