"""The scalars of both files: how each is read, and what an editor may accept for it.  [pure]

In: a value as YAML gave it.  Out: the value in the form of `model/`, or an error whose type is one of our codes.

A number may be written as a text and the other way round where only one can be meant: after `${…}` was filled in, everything is a text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Schema = dict[str, Any]

_UNITS_NS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "µs": 10**3, "ns": 1}
_DURATION = r"(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s|us|µs|ns))+"
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|us|µs|ns)")
_SIZE = r"[0-9]+(?:\.[0-9]+)?\s*(?:[bB]|[kKmMgGtT](?:[iI]?[bB])?)?"
_SIZE_PARTS = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT]?)(?:[iI]?[bB])?")
_CPUS = r"[0-9]+(?:\.[0-9]{1,9})?|\.[0-9]{1,9}"
_SHOWN = 60


def wrong(code: str, message: str, hint: str = "") -> PydanticCustomError:
    """An error that a validator raises: `code` is ours, and so is the sentence."""
    return PydanticCustomError(code, "{message}", {"message": message, "hint": hint})  # pyright: ignore[reportArgumentType]


def shown(value: Any) -> str:
    """A value as an error shows it: a scalar as it was written, of others the kind alone."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value[:_SHOWN]}…"' if len(value) > _SHOWN else f'"{value}"'
    if isinstance(value, (int, float)):
        return str(getattr(value, "text", value))[:_SHOWN]
    return kind_of(value)


def listed(words: tuple[str, ...], joint: str) -> str:
    """`a, b or c`."""
    return f"{', '.join(words[:-1])} {joint} {words[-1]}" if words[1:] else words[0]


def kind_of(value: Any) -> str:
    kinds: list[tuple[Any, str]] = [
        (type(None), "nothing"),
        (bool, "true or false"),
        ((int, float), "a number"),
        (str, "a text"),
        (dict, "a mapping"),
        (list, "a list"),
    ]
    return next(name for kind, name in kinds if isinstance(value, kind))


@dataclass(frozen=True, eq=False)
class Word:
    """Annotates a type: `read` gives the value or raises; `schema` is the JSON Schema of what it reads."""

    read: Callable[[Any], Any]
    schema: Schema

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        return {"x-word": True, **self.schema}


@dataclass(frozen=True, eq=False)
class Short:
    """Annotates a type that has a short form: `spell_out` gives the long form of what is not a mapping."""

    spell_out: Callable[[Any], Any]
    schema: Schema

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._read, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        return {"anyOf": [self.schema, handler(schema)]}

    def _read(self, value: Any) -> Any:
        return cast("Any", value) if isinstance(value, dict) else self.spell_out(value)


def read_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    hint = "put it in quotes" if isinstance(value, (bool, int, float)) else ""
    raise wrong("wrong-type", f"expected a text, found {shown(value)}", hint)


def read_written(value: Any) -> str:
    """A text, or a number as it was written."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(getattr(value, "text", value))
    return read_text(value)


def read_flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    raise wrong("wrong-type", f"expected true or false, found {shown(value)}")


def read_duration(value: Any) -> int:
    """Nanoseconds of `1h30m`, `1.5s`, `500ms`."""
    if isinstance(value, str) and re.fullmatch(_DURATION, value):
        return sum(int(Decimal(number) * _UNITS_NS[unit]) for number, unit in _DURATION_PART.findall(value))
    hint = f'did you mean "{shown(value)}s"?' if isinstance(value, int) and not isinstance(value, bool) else ""
    raise wrong("bad-value", f"expected a time like 30s or 1m30s, found {shown(value)}", hint)


def read_size(value: Any) -> int:
    """Bytes of `512m`, `1gb`, `1048576`; units are powers of 1,024."""
    text = read_written(value) if not isinstance(value, (dict, list, bool)) and value is not None else ""
    parts = _SIZE_PARTS.fullmatch(text)
    if not parts:
        raise wrong("bad-value", f"expected a size like 512m or 1g, found {shown(value)}")
    return int(Decimal(parts.group(1)) * 1024 ** " kmgt".index(parts.group(2).lower() or " "))


def read_cpus(value: Any) -> int:
    """Billionths of a CPU of `0.5`."""
    text = read_written(value) if not isinstance(value, (dict, list, bool)) and value is not None else ""
    if not re.fullmatch(_CPUS, text) or len(text) > 20:
        raise wrong("bad-value", f"expected a number of CPUs like 0.5, found {shown(value)}")
    return int(Decimal(text) * 10**9)


def whole(least: int, most: int) -> Word:
    """A whole number from `least` to `most`."""

    def read(value: Any) -> int:
        number = value
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
            number = int(value)
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
            raise wrong("bad-value", f"expected a whole number from {least} to {most}, found {shown(value)}")
        return int(number)

    digits: Schema = {"type": "string", "pattern": "^[0-9]{1,18}$"}
    return Word(read, {"anyOf": [{"type": "integer", "minimum": least, "maximum": most}, digits]})


def choice(*options: str, later: tuple[str, ...] = ()) -> Word:
    """One of some words; those of `later` are known and not there yet."""

    def read(value: Any) -> str:
        if isinstance(value, str) and value in options:
            return value
        if isinstance(value, str) and value in later:
            raise wrong("not-there-yet", f'"{value}" is not there yet; {listed(options, "and")} {"are" if options[1:] else "is"}')
        raise wrong("bad-value", f"expected {listed(options, 'or')}, found {shown(value)}")

    return Word(read, {"enum": list(options)})


def pattern(form: str, expected: str, reader: Callable[[Any], str] = read_text) -> Word:
    """A text of a form."""

    def read(value: Any) -> str:
        text = reader(value)
        if not re.fullmatch(form, text):
            raise wrong("bad-value", f"expected {expected}, found {shown(value)}")
        return text

    kinds: Schema = {"type": "string"} if reader is read_text else {"type": ["string", "number"]}
    return Word(read, {**kinds, "pattern": f"^(?:{form})$"})


def read_ip(value: Any) -> str:
    text = read_text(value)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise wrong("bad-value", f"expected an IP address, found {shown(value)}") from None


def read_subnet(value: Any) -> str:
    text = read_text(value)
    try:
        return str(ipaddress.IPv4Network(text))
    except ValueError:
        raise wrong("bad-value", f"expected an IPv4 network like 10.1.2.0/24, found {shown(value)}") from None


def spell_out_pairs(value: Any) -> Any:
    """`["A=1", "B"]` as `{"A": "1", "B": None}`."""
    if not isinstance(value, list):
        raise wrong("wrong-type", f"expected a mapping or a list of NAME=value, found {shown(value)}")
    pairs: dict[str, Any] = {}
    for item in value:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(item, str) or not item.partition("=")[0]:
            raise wrong("wrong-type", f"expected NAME=value, found {shown(item)}")
        name, equals, text = item.partition("=")
        if name in pairs:
            raise wrong("duplicate-key", f"{name} stands twice")
        pairs[name] = text if equals else None
    return pairs


def read_pair_value(value: Any) -> str | None:
    """A value in an environment, as it was written; nothing: it was not given one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else read_written(value)


Text = Annotated[str, Word(read_text, {"type": "string"})]
Written = Annotated[str, Word(read_written, {"type": ["string", "number"]})]
Flag = Annotated[bool, Word(read_flag, {"anyOf": [{"type": "boolean"}, {"enum": ["true", "false"]}]})]
Duration = Annotated[int, Word(read_duration, {"type": "string", "pattern": f"^{_DURATION}$"})]
Size = Annotated[
    int, Word(read_size, {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_SIZE}$"}]})
]
Cpus = Annotated[
    int, Word(read_cpus, {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^(?:{_CPUS})$"}]})
]
Port = Annotated[int, whole(1, 65535)]
Ip = Annotated[str, Word(read_ip, {"type": "string", "pattern": "^[0-9a-fA-F:.]+$"})]
Subnet = Annotated[str, Word(read_subnet, {"type": "string", "pattern": "^[0-9.]+/[0-9]{1,2}$"})]
PairValue = Annotated[str | None, Word(read_pair_value, {"type": ["string", "number", "boolean", "null"]})]
PairMap = Annotated[
    dict[Annotated[str, pattern("[^=\\x00]+", "a name without =")], PairValue],
    Short(spell_out_pairs, {"type": "array", "items": {"type": "string", "pattern": "^[^=]"}, "uniqueItems": True}),
]
