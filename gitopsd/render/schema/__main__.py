"""Writes the JSON Schemas into a folder."""

from __future__ import annotations

import sys
from pathlib import Path

from gitopsd.render.schema.export import FORMS, schema_text

for name in FORMS:
    (Path(sys.argv[1]) / f"{name}.schema.json").write_text(schema_text(name))  # pyright: ignore[reportArgumentType]
