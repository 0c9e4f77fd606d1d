"""Frozen values to JSON and back, by their field names.  [pure]

Rules: a tuple of pairs stays a list of pairs, None stays null, and a field that JSON does not have takes its default, so
that an older file can be read. Canonical JSON (docs/formats.md) leaves out what is at its default, and is what is hashed.
"""

from __future__ import annotations

import hashlib
import json
import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

Value = TypeVar("Value")


def to_json(value: Any) -> Any:
    """A frozen value as lists, dicts, strings, numbers, booleans and None."""
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in typing.cast("tuple[Any, ...]", value)]
    return value


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted, tight, defaults and empty things left out."""
    return json.dumps(_trimmed(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(value: Any, digits: int) -> str:
    """The first hexadecimal digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()[:digits]


def from_json(kind: type[Value], data: Any) -> Value:
    """The value of type `kind` that `to_json` gave; raises TypeError or KeyError for data of another form."""
    return typing.cast("Value", _read(kind, data))


def _trimmed(value: Any) -> Any:
    if is_dataclass(value):
        kept: dict[str, Any] = {}
        for field in fields(value):
            item = getattr(value, field.name)
            if not field.compare or item is None or item == () or item == field.default:
                continue
            kept[field.name] = _trimmed(item)
        return kept
    if isinstance(value, (tuple, list)):
        return [_trimmed(item) for item in typing.cast("tuple[Any, ...]", value)]
    if isinstance(value, dict):
        members = typing.cast("dict[str, Any]", value)
        return {name: _trimmed(item) for name, item in members.items() if item is not None and item not in ((), [], {}, "")}
    if isinstance(value, float):
        raise TypeError("a float has no canonical form")
    return value


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(kind: Any, data: Any) -> Any:
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if data is None:
            return None
        return _read(next(option for option in arguments if option is not type(None)), data)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_read(arguments[0], item) for item in data)
        return tuple(_read(option, item) for option, item in zip(arguments, data, strict=True))
    if is_dataclass(kind):
        hints = _hints(typing.cast("type[Any]", kind))
        given = {field.name: _read(hints[field.name], data[field.name]) for field in fields(kind) if field.name in data}
        missing = [
            field.name
            for field in fields(kind)
            if field.name not in given and field.default is MISSING and field.default_factory is MISSING
        ]
        if missing:
            raise KeyError(f"{kind}: {', '.join(missing)} missing")
        return typing.cast("type[Any]", kind)(**given)
    if kind in (str, int, float, bool) and not isinstance(data, kind) and not (kind is float and isinstance(data, int)):
        raise TypeError(f"{data!r} is not {kind}")
    return data
