"""Members of JSON objects with their types; null and absence are empty.  [pure]

For JSON that has been checked or that we wrote ourselves: a member of another type is a bug and raises TypeError.
"""

from __future__ import annotations

from typing import Any, cast

Json = dict[str, Any]


def mapping(given: Json, key: str) -> Json:
    return cast("Json", _of(given, key, dict, {}))


def texts(given: Json, key: str) -> list[str]:
    return cast("list[str]", _of(given, key, list, []))


def objects(given: Json, key: str) -> list[Json]:
    return cast("list[Json]", _of(given, key, list, []))


def _of(given: Json, key: str, kind: type, empty: object) -> object:
    value = given.get(key)
    if value is None:
        return empty
    if not isinstance(value, kind):
        raise TypeError(f"{key} is a {type(value).__name__}, expected a {kind.__name__}")
    return value
