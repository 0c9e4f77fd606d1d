"""Which host of which fleet this is, and what its controller must not be alone to know (docs/state.md, `fleet.json` and `intent.json`)."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import threading
from typing import Any, Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json
from gitopsd.engine.paths.records import read_record, write_record

_INTENT_LIMIT = 256 << 10
_FIELDS: tuple[tuple[str, type], ...] = (("fleet", str), ("host", str), ("number", int), ("block", str), ("spans", str))


class Identity:
    def __init__(self, data_root: str) -> None:
        self._fleet_path = os.path.join(data_root, "fleet.json")
        self._intent_path = os.path.join(data_root, "intent.json")
        self._lock = threading.Lock()
        self.fleet: Optional[Json] = read_record(self._fleet_path)
        self.intent: Json = read_record(self._intent_path) or {}

    @property
    def block(self) -> Optional[str]:
        return self.fleet["block"] if self.fleet else None

    def check(self, body: Json, in_use: str) -> Json:
        """A `PUT /gitopsd/v1/host` body, checked: ApiError 400 names the field, 409 `host-belongs-to` another. `in_use`: what of this host is."""
        for key, kind in _FIELDS:
            if not isinstance(body.get(key), kind) or isinstance(body.get(key), bool):
                raise ApiError(400, f"host: {key} is missing or not a {'number' if kind is int else 'string'}")
        for key in ("block", "spans"):
            try:
                ipaddress.IPv4Network(body[key])
            except ValueError as error:
                raise ApiError(400, f"host: {key}: {error}") from None
        is_same = self.fleet is not None and (self.fleet["fleet"], self.fleet["host"]) == (body["fleet"], body["host"])
        if self.fleet and in_use and not is_same:
            what = f"this is host {self.fleet['host']} of fleet {self.fleet['fleet']}, where {in_use} is in use"
            raise ApiError(409, what, "host-belongs-to")
        return {**((is_same and self.fleet) or {}), "version": 1, **{key: body[key] for key, _ in _FIELDS}}

    def set(self, record: Json) -> None:
        """Durable when it returns."""
        write_record(self._fleet_path, record)
        self.fleet = record

    @property
    def intent_etag(self) -> str:
        """`"0"` as long as nobody has said anything."""
        if not self.intent:
            return '"0"'
        return f'"{hashlib.sha256(json.dumps(self.intent, sort_keys=True).encode()).hexdigest()[:16]}"'

    def set_intent(self, value: Json, if_match: Optional[str]) -> None:
        """Durable when it returns; ApiError 412 `intent-changed` when it is not what the caller has read."""
        if if_match is None:
            raise ApiError(428, "intent: If-Match is missing, expected the ETag that was read before")
        if len(json.dumps(value)) > _INTENT_LIMIT:
            raise ApiError(413, f"intent: larger than {_INTENT_LIMIT} bytes")
        with self._lock:  # it is called from threads, since it writes
            if if_match != self.intent_etag:
                raise ApiError(412, "intent: it has changed since it was read", "intent-changed")
            write_record(self._intent_path, value)
            self.intent = value

    def shown(self) -> dict[str, Any]:
        fleet = self.fleet or {}
        return {key: fleet.get(key) for key, _ in _FIELDS}
