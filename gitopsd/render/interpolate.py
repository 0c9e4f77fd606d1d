"""`${NAME}` in the values of a stack file, as Compose writes it.  [pure]

In: nodes, and the values that the fleet file declares for the stack.  Out: nodes with their texts filled in, and errors.

Rule 1: only declared values are seen, never an environment: a stack must not be able to read what the controller was started with.
Rule 2: what is not declared is an error, unless a default stands beside it. Compose makes it an empty text and warns, which is how
a port or a password vanishes unnoticed.

Forms: `$NAME ${NAME} ${NAME:-default} ${NAME-default} ${NAME:?error} ${NAME?error} ${NAME:+other} ${NAME+other}`, the words nested at
will, `$$` for one `$`. With a colon an empty value counts as none. Keys are not interpolated.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gitopsd.model.errors import GitopsdError, Where
from gitopsd.render.locate import Node

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_DEEPEST = 20
_LONGEST = 64 * 1024


class BadInterpolation(ValueError):  # noqa: N818  it is a ValueError, and reads so
    """A text that cannot be filled in: `code`, a sentence, and what to do."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def interpolate(node: Node, values: Mapping[str, Any], file: str, errors: list[GitopsdError], path: str = "") -> Node:
    """`node` with every text in it filled in; what cannot be is added to `errors` and left as it was."""
    if node.is_mapping:
        filled = {
            key: interpolate(member, values, file, errors, f"{path}.{key}" if path else key)
            for key, member in node.mapping.items()
        }
        return replace(node, value=filled)
    if node.is_list:
        return replace(
            node, value=[interpolate(item, values, file, errors, f"{path}[{at}]") for at, item in enumerate(node.items)]
        )
    if not isinstance(node.value, str) or "$" not in node.value:
        return node
    try:
        return replace(node, value=fill_in(node.value, values))
    except BadInterpolation as error:
        errors.append(GitopsdError(error.code, str(error), Where(file, node.line, path), error.hint))
        return node


def fill_in(text: str, values: Mapping[str, Any]) -> str:
    """`text` with its variables replaced; BadInterpolation otherwise."""
    filled, end = _fill(text, 0, values, depth=0)
    assert end == len(text)
    return filled


def escape(text: str) -> str:
    """What has to be written so that `text` comes out."""
    return text.replace("$", "$$")


def _fill(text: str, start: int, values: Mapping[str, Any], depth: int) -> tuple[str, int]:
    """Fills in from `start` to the end, or, inside of braces (depth > 0), to the brace that closes them."""
    if depth > _DEEPEST:
        raise BadInterpolation("bad-interpolation", f"variables stand more than {_DEEPEST} deep in each other")
    parts: list[str] = []
    length = 0
    at = start
    while at < len(text):
        if depth and text[at] == "}":
            return "".join(parts), at
        if text[at] != "$":
            end = min(
                (found for found in (text.find("$", at), text.find("}", at) if depth else -1) if found >= 0), default=len(text)
            )
            part, at = text[at:end], end
        else:
            part, at = _variable(text, at, values, depth)
        parts.append(part)
        length += len(part)
        if length > _LONGEST:
            raise BadInterpolation("bad-interpolation", f"becomes longer than {_LONGEST} characters")
    if depth:
        raise BadInterpolation("bad-interpolation", "a ${ has no } to close it", "write $$ for a dollar sign")
    return "".join(parts), at


def _variable(text: str, at: int, values: Mapping[str, Any], depth: int) -> tuple[str, int]:
    """What the variable that begins at the `$` at `at` gives, and where it ends."""
    if text.startswith("$$", at):
        return "$", at + 2
    has_braces = text.startswith("${", at)
    name = _NAME.match(text, at + 2 if has_braces else at + 1)
    if not name:
        raise BadInterpolation("bad-interpolation", f"$ in column {at + 1} begins no variable", "write $$ for a dollar sign")
    if not has_braces:
        return _value(name.group(), values), name.end()
    if text.startswith("}", name.end()):
        return _value(name.group(), values), name.end() + 1
    operator = _OPERATOR.match(text, name.end())
    if not operator:
        hint = f"expected ${{{name.group()}}} or one of the forms :- - :? ? :+ + after the name; write $$ for a dollar sign"
        raise BadInterpolation("bad-interpolation", f"${{{name.group()} goes on with something else", hint)
    return _with_operator(text, name.group(), operator.group(), operator.end(), values, depth)


def _with_operator(text: str, name: str, operator: str, at: int, values: Mapping[str, Any], depth: int) -> tuple[str, int]:
    found = values.get(name)
    is_there = found is not None and (operator[0] != ":" or _as_text(name, found) != "")
    uses_word = is_there == (operator[-1] == "+")
    if uses_word:
        word, end = _fill(text, at, values, depth + 1)
    else:
        word, end = "", _closing(text, at, depth + 1)
    if uses_word and operator[-1] == "?":
        raise BadInterpolation(
            "undeclared-value", f"{name} must be given: {word}" if word else f"{name} must be given", _how_to(name)
        )
    if uses_word or operator[-1] == "+":
        return word, end + 1
    return _value(name, values), end + 1


def _closing(text: str, at: int, depth: int) -> int:
    """Where the brace is that closes; the word before it is not looked into but for its own braces, as it is not used."""
    if depth > _DEEPEST:
        raise BadInterpolation("bad-interpolation", f"variables stand more than {_DEEPEST} deep in each other")
    while at < len(text):
        if text[at] == "}":
            return at
        if text.startswith("$$", at):
            at += 2
        elif text.startswith("${", at):
            at = _closing(text, at + 2, depth + 1) + 1
        else:
            at += 1
    raise BadInterpolation("bad-interpolation", "a ${ has no } to close it", "write $$ for a dollar sign")


def _value(name: str, values: Mapping[str, Any]) -> str:
    if values.get(name) is None:
        near = difflib.get_close_matches(name, values, n=1)
        what = f"{name} is not declared" if name not in values else f"{name} is declared without a value"
        raise BadInterpolation(
            "undeclared-value", what, f'did you mean "{near[0]}"?' if near and near[0] != name else _how_to(name)
        )
    return _as_text(name, values[name])


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        kind = "mapping" if isinstance(value, dict) else "list"
        raise BadInterpolation("wrong-type", f"{name} is a {kind}, not a text", "a template (*.j2) can use it")
    return str(getattr(value, "text", value))


def _how_to(name: str) -> str:
    return f"declare it in the fleet file, under the stack's values, or write ${{{name}:-a default}}"
