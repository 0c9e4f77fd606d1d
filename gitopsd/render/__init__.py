"""2. render: what a revision says.

`Renderer.render(revision)` does it in a child with limits, for files of strangers; `render(revision)` in this process.
"""

from __future__ import annotations

from gitopsd.render.pool import Renderer
from gitopsd.render.render import render, render_fleet, render_stack
from gitopsd.render.text import stack_text

__all__ = ["Renderer", "render", "render_fleet", "render_stack", "stack_text"]
