"""What the controller remembers."""

from gitopsd.store.rebuild import rebuild
from gitopsd.store.store import Store

__all__ = ["Store", "rebuild"]
