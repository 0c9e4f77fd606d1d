"""What a listing is narrowed to: the `filters` argument, and those that containers have.  [pure]"""

from __future__ import annotations

import json
import re
from typing import Any, Callable

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json
from gitopsd.engine.daemon import views
from gitopsd.engine.daemon.container import Container
from gitopsd.oci.reference import InvalidReference, parse_reference


def filtered(containers: list[Container], filters: Json, show_all: bool, limit: int) -> list[Container]:
    """`GET /containers/json`: filters as Docker has them; ApiError 400 for one that is not known."""
    tests: list[Callable[[Container], bool]] = []
    for key, values in filters.items():
        if key not in _FILTERS:
            raise ApiError(400, f"invalid filter '{key}'")
        for value in values:
            if key in _WORDS and value not in _WORDS[key]:
                raise ApiError(400, f"invalid filter '{key}={value}'")
        test, enough = _FILTERS[key], all if key == "label" else any
        tests.append(
            lambda container, test=test, enough=enough, values=values: enough(
                test(container, value, containers) for value in values
            )
        )
    shown = [container for container in containers if all(test(container) for test in tests)]
    if limit > 0:
        return shown[:limit]
    if show_all or {"status", "exited", "is-task"} & set(filters):
        return shown
    return [container for container in shown if container.state in ("running", "restarting")]


def matches_label(labels: dict[str, str], value: str) -> bool:
    """`name` or `name=value`.  [pure]"""
    name, equals, wanted = value.partition("=")
    return name in labels and (not equals or labels[name] == wanted)


def is_true(values: list[str]) -> bool:
    """What a filter like `dangling` says, which may be there several times."""
    return bool(set(values) & {"1", "true"})


def _matches_name(container: Container, value: str, _: Any) -> bool:
    try:
        return re.search(value, f"/{container.name}") is not None or re.search(value, container.name) is not None
    except re.error:
        raise ApiError(400, f"invalid filter 'name={value}': not a regular expression") from None


def _matches_ancestor(container: Container, value: str, _: Any) -> bool:
    """By the reference that the container was created from, or the image's id or its beginning."""
    image = container.record["image"]
    if value and image["id"].startswith((value, f"sha256:{value}")):
        return True
    try:
        return parse_reference(value) == parse_reference(image["reference"])
    except InvalidReference:
        return False


def _age_of(value: str, containers: list[Container]) -> int:
    found = [other for other in containers if value in (other.id, other.name) or other.id.startswith(value)]
    if not found:
        raise ApiError(404, f"No such container: {value}")
    return found[0].record["created"]


_WORDS = {
    "status": ("created", "running", "paused", "restarting", "removing", "exited", "dead"),
    "health": ("none", "starting", "healthy", "unhealthy"),
}
_FILTERS: dict[str, Callable[[Container, str, list[Container]], bool]] = {
    "id": lambda container, value, _: container.id.startswith(value),
    "name": _matches_name,
    "label": lambda container, value, _: matches_label(container.config["Labels"], value),
    "status": lambda container, value, _: container.state == value,
    "exited": lambda container, value, _: container.state == "exited" and str(container.exit_code) == value,
    "ancestor": _matches_ancestor,
    "health": lambda container, value, _: (container.health or {"Status": "none"})["Status"] == value,
    "volume": lambda container, value, _: any(
        value in (m["Destination"], m.get("Name"), m["Source"]) for m in container.record["mounts"]
    ),
    "network": lambda container, value, _: any(
        value == name or asked["network"].startswith(value) for name, asked in container.record["networks"].items()
    ),
    "publish": lambda container, value, _: any(
        value in (f"{entry.get('PublicPort')}/{entry['Type']}", str(entry.get("PublicPort")))
        for entry in views.port_list(container)
    ),
    "expose": lambda container, value, _: (
        value in container.config["ExposedPorts"] or f"{value}/tcp" in container.config["ExposedPorts"]
    ),
    "before": lambda container, value, every: container.record["created"] < _age_of(value, every),
    "since": lambda container, value, every: container.record["created"] > _age_of(value, every),
    "is-task": lambda container, value, _: value not in ("1", "true"),
}


def read_filters(text: str) -> dict[str, list[str]]:
    """The `filters` argument: a map of lists, or the older map of maps; ApiError 400 for anything else."""
    try:
        given: dict[str, Any] = json.loads(text or "{}")
        return {
            key: [str(name) for name in value if isinstance(value, list) or value[name]]  # pyright: ignore[reportUnknownVariableType]
            for key, value in given.items()
        }
    except (ValueError, AttributeError, TypeError):
        raise ApiError(400, f"invalid filters: {text!r}, expected a JSON map of lists") from None
