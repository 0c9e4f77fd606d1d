"""Members of JSON objects with their types; null and absence are empty.  [pure]

A member of another type raises WrongType: in a caller's body it is the caller's mistake (engine/api/router.py answers 400), elsewhere ours.
"""

from __future__ import annotations

from typing import Any, cast

Json = dict[str, Any]


class WrongType(TypeError):  # noqa: N818
    """A member of JSON is not of the type that it should be."""


def mapping(given: Json, key: str) -> Json:
    return cast("Json", _of(given, key, dict, {}))


def text(given: Json, key: str) -> str:
    return cast("str", _of(given, key, str, ""))


def number(given: Json, key: str) -> int:
    value = cast("int", _of(given, key, int, 0))
    if isinstance(value, bool):
        raise WrongType(f"{key} is a bool, expected an int")
    return value


def texts(given: Json, key: str) -> list[str]:
    found = cast("list[str]", _of(given, key, list, []))
    for item in found:
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise WrongType(f"{key} holds a {type(item).__name__}, expected strings")
    return found


def objects(given: Json, key: str) -> list[Json]:
    return cast("list[Json]", _of(given, key, list, []))


def _of(given: Json, key: str, kind: type, empty: object) -> object:
    value = given.get(key)
    if value is None:
        return empty
    if not isinstance(value, kind):
        raise WrongType(f"{key} is a {type(value).__name__}, expected a {kind.__name__}")
    return value
