"""What the hosts have."""

from gitopsd.observe.health import health_of, worst
from gitopsd.observe.observe import StateSource, observe
from gitopsd.observe.read import read_host

__all__ = ["StateSource", "health_of", "observe", "read_host", "worst"]
