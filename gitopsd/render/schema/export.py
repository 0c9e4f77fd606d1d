"""The JSON Schemas of both files, for editors.  [pure]

In: the forms.  Out: texts of schemas/fleet.schema.json and schemas/stack.schema.json. `python -m gitopsd.render.schema FOLDER` writes them.

In a stack file a `${…}` may stand for any scalar, so there each accepts a text with a `$` in it too; in the fleet file nothing is filled in.
"""

from __future__ import annotations

import json
from typing import Any, Literal, cast

from gitopsd.render.schema.fleet import FleetFile
from gitopsd.render.schema.form import Form
from gitopsd.render.schema.stack import StackFile

FORMS: dict[str, tuple[type[Form], str]] = {
    "fleet": (FleetFile, "gitopsd's fleet file, gitopsd.yaml"),
    "stack": (StackFile, "a stack file: the Compose Specification, as far as gitopsd has it"),
}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_WORD = "x-word"
_BESIDE = ("title", "description", "default")
_FILLED_IN = {"type": "string", "pattern": "\\$"}


def schema_text(name: Literal["fleet", "stack"]) -> str:
    """The schema as the file has it."""
    form, title = FORMS[name]
    schema = _finished(form.model_json_schema(), is_stack=name == "stack")
    return json.dumps({"$schema": _DIALECT, "title": title, **schema}, indent=1, ensure_ascii=False) + "\n"


def _finished(schema: Any, *, is_stack: bool) -> Any:
    """Without pydantic's titles, closed where keys have a form, and with room for `${…}`."""
    if isinstance(schema, list):
        return [_finished(item, is_stack=is_stack) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    members = cast("dict[str, Any]", schema)
    is_word = members.get(_WORD) is True
    kept = {key: value for key, value in members.items() if key != _WORD and not (key == "title" and isinstance(value, str))}
    kept = {
        key: value if key in ("default", "propertyNames") else _finished(value, is_stack=is_stack) for key, value in kept.items()
    }
    if "propertyNames" in kept:
        del kept["propertyNames"]  # said by patternProperties
    if "patternProperties" in kept and "additionalProperties" not in kept:
        kept["additionalProperties"] = False
    if kept.get("default", "") is None or isinstance(kept.get("default"), dict):
        del kept["default"]
    if not is_word or not is_stack or (kept.get("type") == "string" and "pattern" not in kept):
        return kept
    beside = {key: kept.pop(key) for key in _BESIDE if key in kept}
    return {"anyOf": [kept, _FILLED_IN], **beside}
