"""A mapping with fixed keys, and the errors it gives.  [pure]

In: a pydantic model's ValidationError, the node it was read from.  Out: errors of ours with line, key and hint.

Rule 1: keys that begin with `x-` are the writer's own, as Compose has it, and never looked at; but `x-gitopsd` is ours.
Rule 2: an unknown key is either a typo (`unknown-key`, with what is nearest) or a key of the Compose Specification whose turn has
not come (`not-there-yet`); each form lists the latter in `later`.
"""

from __future__ import annotations

import difflib
import types
import typing
from typing import Any, ClassVar, Union, cast

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue

from gitopsd.model.errors import GitopsdError, Where
from gitopsd.render.locate import Node
from gitopsd.render.schema.words import kind_of, shown

OURS = "x-gitopsd"
_HINTS = {"version": "leave it out; Compose does not use it any more"}

Path = tuple[str | int, ...]


def _allow_own_keys(schema: JsonSchemaValue, kind: type[Any]) -> None:
    schema["patternProperties"] = {f"^x-(?!{OURS.removeprefix('x-')}$)": {}}


class Form(BaseModel):
    """A mapping with fixed keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, json_schema_extra=_allow_own_keys, populate_by_name=False
    )
    later: ClassVar[frozenset[str]] = frozenset()
    """Keys that the Compose Specification, or our own design, has here and that are not there yet."""

    @model_validator(mode="before")
    @classmethod
    def _drop_own_keys(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        known = cls.keys()
        members = cast("dict[str, Any]", value)
        return {key: member for key, member in members.items() if not key.startswith("x-") or key in known or key == OURS}

    @classmethod
    def keys(cls) -> dict[str, Any]:
        """Its keys as they are written, and the type of each."""
        return {field.alias or name: field.annotation for name, field in cls.model_fields.items()}


def errors_of(caught: ValidationError, kind: type[Form], node: Node, file: str) -> list[GitopsdError]:
    """The errors of a validation, each at its place in the file."""
    found: list[GitopsdError] = []
    for error in caught.errors(include_url=False):
        path: Path = tuple(part for part in error["loc"] if part != "[key]")
        code, message, hint = _worded(error, kind, path)
        found.append(GitopsdError(code, message, Where(file, node.line_of(path), spell(path)), hint or None))
    return sorted(found, key=lambda error: error.where.line or 0)


def spell(path: Path) -> str:
    """`services.web.ports[0]`."""
    spelled = ""
    for part in path:
        spelled += f"[{part}]" if isinstance(part, int) else f".{part}" if spelled else part
    return spelled


def form_at(kind: Any, path: Path) -> type[Form] | None:
    """The form that the mapping at `path` has."""
    for part in path:
        kind = _member(kind, part)
    return _form_in(kind)


def _worded(error: Any, kind: type[Form], path: Path) -> tuple[str, str, str]:
    code, value = str(error["type"]), error.get("input")
    context = cast("dict[str, Any]", error.get("ctx") or {})
    if "message" in context:
        return code, str(context["message"]), str(context["hint"])
    if code == "extra_forbidden":
        return _unknown(str(path[-1]), form_at(kind, path[:-1]))
    if code == "missing":
        return "missing-key", "is missing", ""
    if code in ("model_type", "model_attributes_type", "dict_type"):
        return "wrong-type", f"expected a mapping, found {kind_of(value)}", ""
    if code in ("list_type", "tuple_type"):
        return "wrong-type", f"expected a list, found {kind_of(value)}", ""
    if code in ("too_short", "too_long"):
        return "missing-key", "expected at least one", ""
    return "bad-value", f"{error['msg']}, found {shown(value)}", ""


def _unknown(key: str, form: type[Form] | None) -> tuple[str, str, str]:
    known = form.keys() if form else {}
    later = form.later if form else frozenset[str]()
    if key in later:
        return "not-there-yet", "is not there yet", _HINTS.get(key, "leave it out until its turn comes")
    near = difflib.get_close_matches(key, [*known, *later], n=1, cutoff=0.6)
    return "unknown-key", "unknown key", f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(sorted(known))}"


def _member(kind: Any, part: str | int) -> Any:
    """The type of a member of what has type `kind`."""
    form = _form_in(kind)
    if form:
        return form.keys().get(str(part))
    for option in _options(kind):
        origin, arguments = typing.get_origin(option), typing.get_args(option)
        if origin is dict:
            return arguments[1]
        if origin in (list, tuple):
            return arguments[0]
    return None


def _form_in(kind: Any) -> type[Form] | None:
    return next((option for option in _options(kind) if isinstance(option, type) and issubclass(option, Form)), None)


def _options(kind: Any) -> list[Any]:
    """What a type may be, without its annotations and unions."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _options(typing.get_args(kind)[0])
    if origin in (Union, types.UnionType):
        return [option for argument in typing.get_args(kind) for option in _options(argument)]
    return [kind]
