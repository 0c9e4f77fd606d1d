"""2. render: what a revision says.

`Renderer.render(revision)` does it in a child with limits, for files of strangers; `render(revision)` in this process. `validate` is
for a person at their own file, `stack_text` shows what a stack comes to, `filled_text` what a template gave, `schema_text` the schemas.
"""

from __future__ import annotations

from gitopsd.render.pool import Renderer
from gitopsd.render.render import filled_text, render, render_fleet, render_stack, validate
from gitopsd.render.schema.export import schema_text
from gitopsd.render.text import stack_text

__all__ = ["Renderer", "filled_text", "render", "render_fleet", "render_stack", "schema_text", "stack_text", "validate"]
