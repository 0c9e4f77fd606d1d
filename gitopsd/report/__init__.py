"""How things are, and how they went."""

from gitopsd.report.status import make_status
from gitopsd.report.text import render_drift, render_history, render_outcome, render_status

__all__ = ["make_status", "render_drift", "render_history", "render_outcome", "render_status"]
