"""What an image says of the containers that are made of it: the `config` of its config document, read strictly.  [pure]

In: JSON of whoever made the image.  Out: the fields that the engine uses, each in one form; or InvalidImage, which names the field.

Rule 1: what passes here can be shown, merged, run, checked and stopped; nothing behind it asks again.
Rule 2: it is asked wherever an image comes in (pull, load, PUT /gitopsd/v1/images, a build) and again when a container is made of one.
Rule 3: what is on disk already is `tolerate`d: a field that is refused is left out and told of, so that it can be shown, stopped and removed.

Limits are Docker's (daemon/create.go, verifyContainerSettings). What Docker does not know is ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Callable, Optional, cast

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.signals import signal_number

Json = dict[str, Any]

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII)
_LEAST_NS, _MOST = 1_000_000, (1 << 63) - 1
_KINDS = ("NONE", "CMD", "CMD-SHELL")
_SHOWN = 80


class InvalidImage(ValueError):  # noqa: N818
    """An image's config that no container can be made of. The message begins with the field."""


def read(settings: Mapping[str, Any]) -> Json:
    """Every field that the engine uses, absent ones empty."""
    return {name: reader(name, settings.get(name)) for name, reader in _FIELDS.items()}


def tolerate(settings: Mapping[str, Any]) -> tuple[Json, list[str]]:
    """The settings without what `read` refuses, a member of an environment, of ports or labels or else a field; and what is wrong."""
    found, wrong = dict(settings), list[str]()
    for name, reader in _FIELDS.items():
        try:
            reader(name, settings.get(name))
        except InvalidImage as error:
            wrong.append(str(error))
            found[name] = _passing(name, settings.get(name), reader)
    return found, wrong


def _passing(name: str, value: Any, reader: Callable[[str, Any], Any]) -> Any:
    parts: list[Any] = []
    if name == "Env" and isinstance(value, list):
        parts = [[entry] for entry in cast("list[Any]", value)]
    elif name in ("ExposedPorts", "Labels", "Volumes") and isinstance(value, dict):
        parts = [{key: member} for key, member in cast("Json", value).items()]
    found = reader(name, None)
    for part in parts:
        with suppress(InvalidImage):
            (found.extend if name == "Env" else found.update)(reader(name, part))
    return found


def check(document: Mapping[str, Any]) -> None:
    """A whole config document, which is shown and passed on too."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError) as error:
        reason = "nests too deeply" if isinstance(error, RecursionError) else "holds half a character"
        raise InvalidImage(f"the document {reason}") from None
    history: Any = document.get("history") or []
    if not isinstance(history, list) or not all(isinstance(step, dict) for step in cast("list[Any]", history)):
        raise InvalidImage("history: expected a list of objects")
    settings: Any = document.get("config") or {}
    if not isinstance(settings, dict):
        raise InvalidImage("config: expected an object")
    try:
        read(cast("Json", settings))
    except InvalidImage as error:
        raise InvalidImage(f"config.{error}") from None


def health_check(name: str, value: Any) -> Optional[Json]:
    """A `Healthcheck`, None where it says nothing: times in nanoseconds, 0 for the default, and else at least a millisecond."""
    given = _object(name, value)
    if not given:
        return None
    check: Json = {"Test": _texts(f"{name}.Test", given.get("Test")) or []}
    for key in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"):
        number = _number(f"{name}.{key}", given.get(key)) or 0
        if number < 0 or (key != "Retries" and 0 < number < _LEAST_NS):
            raise InvalidImage(
                f"{name}.{key} must be 0 or at least 1ms" if key != "Retries" else f"{name}.{key} must not be negative"
            )
        check[key] = number
    if check["Test"] and check["Test"][0] not in _KINDS:
        raise InvalidImage(f"{name}.Test: unknown type {_short(check['Test'][0])}, expected CMD, CMD-SHELL or NONE")
    return check


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidImage(f"{name}: {_short(value)} is not a string")
    if "\0" in value:
        raise InvalidImage(f"{name}: {_short(value)} holds a zero character")
    try:
        value.encode("utf-8", "surrogateescape")  # as the names of files come in, and go out again
    except UnicodeEncodeError:
        raise InvalidImage(f"{name}: {_short(value)} holds half a character") from None
    return value


def _texts(name: str, value: Any) -> Optional[list[str]]:
    if value is None:
        return None
    if not isinstance(value, list):
        raise InvalidImage(f"{name}: {_short(value)} is not a list of strings")
    items = cast("list[Any]", value)
    if not all(isinstance(item, str) for item in items):
        raise InvalidImage(f"{name}: {_short(items)} is not a list of strings")
    return [_text(name, item) for item in items]


def _command(name: str, value: Any) -> Optional[list[str]]:
    return [_text(name, value)] if isinstance(value, str) else _texts(name, value)


def _object(name: str, value: Any) -> Json:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidImage(f"{name}: {_short(value)} is not an object")
    return cast("Json", value)


def _number(name: str, value: Any) -> Optional[int]:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not -_MOST <= value <= _MOST:
        raise InvalidImage(f"{name}: {_short(value)} is not a whole number of 64 bits")
    return value


def _environment(name: str, value: Any) -> list[str]:
    entries = _texts(name, value) or []
    for entry in entries:
        if entry.startswith("=") or not entry:
            raise InvalidImage(f"{name}: {_short(entry)}, expected NAME=value")
    return entries


def _path(name: str, value: Any) -> str:
    text = _text(name, value)
    if text and not text.startswith("/"):
        raise InvalidImage(f"{name}: {_short(text)} is not an absolute path")
    return text


def _labels(name: str, value: Any) -> dict[str, str]:
    return {_text(name, key): _text(f"{name}.{key[:_SHOWN]}", label) for key, label in _object(name, value).items()}


def _ports(name: str, value: Any) -> dict[str, Json]:
    """Each port with its protocol; a range is all of its ports."""
    found: dict[str, Json] = {}
    for text in _object(name, value):
        match = _PORT.fullmatch(text.lower())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 0 < first <= last < 65536:
            raise InvalidImage(f"{name}: invalid port {_short(text)}, expected <1-65535>/tcp, /udp or /sctp")
        found.update((f"{number}/{match[3] or 'tcp'}", {}) for number in range(first, last + 1))
    return found


def _volumes(name: str, value: Any) -> dict[str, Json]:
    for place, said in _object(name, value).items():
        if not _path(name, place).strip("/"):
            raise InvalidImage(f"{name}: {_short(place)} is not an absolute path below /")
        _object(name, said)
    return {place: {} for place in _object(name, value)}


def _signal(name: str, value: Any) -> str:
    text = _text(name, value)
    if text:
        try:
            signal_number(text)
        except ApiError:
            raise InvalidImage(f"{name}: {_short(text)} is not a signal") from None
    return text


def stop_timeout(name: str, value: Any) -> Optional[int]:
    number = _number(name, value)
    if number is not None and number >= 1 << 31:
        raise InvalidImage(f"{name}: {number} is not a number of seconds")
    return number


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "User": _text,
    "ExposedPorts": _ports,
    "Env": _environment,
    "Cmd": _command,
    "Entrypoint": _command,
    "Volumes": _volumes,
    "WorkingDir": _path,
    "Labels": _labels,
    "StopSignal": _signal,
    "StopTimeout": stop_timeout,
    "Healthcheck": health_check,
    "OnBuild": _texts,
    "Shell": _texts,
}
