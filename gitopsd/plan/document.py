"""A plan as JSON, and the JSON Schema of it.  [pure]

The form is version 1 of docs/formats.md. The schema is made from the dataclasses, so it cannot say anything else than they do.
"""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from gitopsd.model.codec import from_json, to_json
from gitopsd.model.errors import GitopsdError
from gitopsd.model.plan import PLAN_VERSION, Plan
from gitopsd.plan.compose import id_of

_HINT = "make one with: gitopsd plan -o FILE"


def to_document(plan: Plan) -> dict[str, Any]:
    body: dict[str, Any] = to_json(plan)
    return {"version": body.pop("version"), "id": body.pop("id"), **body}


def from_document(data: Any) -> Plan:
    """Raises GitopsdError `not-a-plan` for what is not one, or was changed since it was written."""
    version: Any = typing.cast("dict[str, Any]", data).get("version") if isinstance(data, dict) else None
    if version != PLAN_VERSION:
        found = "has no version" if version is None else f"has version {version!r}"
        raise GitopsdError("not-a-plan", f"{found}, expected a plan of version {PLAN_VERSION}", hint=_HINT)
    try:
        plan = from_json(Plan, data)
    except (KeyError, TypeError, ValueError) as error:
        raise GitopsdError("not-a-plan", f"has not the form of a plan: {error}", hint=_HINT) from error
    if id_of(plan) != plan.id:
        raise GitopsdError("not-a-plan", f"its content is not that of plan {plan.id}", hint="it was changed by hand: plan again")
    return plan


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the document."""
    found: dict[str, Any] = {}
    body = _of(Plan, found)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gitopsd plan, version 1",
        **body,
        "$defs": dict(sorted(found.items())),
    }


def _of(kind: Any, found: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_of(option, found) for option in arguments]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return {"type": "array", "items": _of(arguments[0], found)}
        items = [_of(option, found) for option in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if is_dataclass(kind):
        name = typing.cast("type[Any]", kind).__name__
        if name not in found:
            found[name] = {}
            found[name] = _object(typing.cast("type[Any]", kind), found)
        return {"$ref": f"#/$defs/{name}"}
    return {"type": {str: "string", int: "integer", bool: "boolean", types.NoneType: "null"}[kind]}


def _object(kind: type[Any], found: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    properties = {field.name: _of(hints[field.name], found) for field in fields(kind)}
    required = [field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING]
    return {
        "type": "object",
        "description": (kind.__doc__ or "").split("\n", 1)[0],
        "properties": properties,
        "required": required,
        "additionalProperties": True,
    }
