"""How things are, and how they went."""

from gitopsd.report.status import make_status
from gitopsd.report.text import (
    drifted,
    render_drift,
    render_history,
    render_outcome,
    render_status,
    render_steps,
    step_words,
    table,
)

__all__ = [
    "drifted",
    "make_status",
    "render_drift",
    "render_history",
    "render_outcome",
    "render_status",
    "render_steps",
    "step_words",
    "table",
]
