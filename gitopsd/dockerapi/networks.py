"""The body of `POST /networks/create`, and endpoints' settings: what they may ask for, read strictly.  [pure]

In: JSON as clients send it.  Out: a `NetworkRequest`, or an ApiError that names the field.

Rule: a field that asks for something that is not there yet is an error, never ignored; a field at its default asks for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from gitopsd.dockerapi.errors import ApiError

Json = dict[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_MTU = "com.docker.network.driver.mtu"
_AT_DEFAULT: Mapping[str, tuple[Any, ...]] = {
    "com.docker.network.bridge.enable_icc": ("true",),
    "com.docker.network.bridge.enable_ip_masquerade": ("true",),
    "com.docker.network.bridge.host_binding_ipv4": ("0.0.0.0",),  # noqa: S104  an address that may be asked for
}
_LEAST_MTU, _MOST_MTU = 576, 65535


@dataclass(frozen=True)
class NetworkRequest:
    """`subnet` and `gateway` are empty and `mtu` is 0 where the engine is to choose."""

    name: str
    is_internal: bool = False
    subnet: str = ""
    gateway: str = ""
    mtu: int = 0
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


def read_network(body: Json) -> NetworkRequest:
    name = body.get("Name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 255:
        raise ApiError(400, f"create network {name!r}: invalid name, expected letters, digits, and _ . - inside")
    what = f"create network {name}"
    if body.get("Driver") not in (None, "", "default", "bridge"):
        raise _not_yet(what, f"driver {body['Driver']}")
    for key in ("EnableIPv6", "Ingress", "ConfigOnly"):
        if body.get(key):
            raise _not_yet(what, key)
    if body.get("EnableIPv4") is False:
        raise _not_yet(what, "EnableIPv4 false")
    if body.get("Scope") not in (None, "", "local"):
        raise _not_yet(what, f"scope {body['Scope']}")
    if _object(what, body, "ConfigFrom").get("Network"):
        raise _not_yet(what, "ConfigFrom")
    subnet, gateway = _read_ipam(what, _object(what, body, "IPAM"))
    return NetworkRequest(
        name=name,
        is_internal=bool(body.get("Internal")),
        subnet=subnet,
        gateway=gateway,
        mtu=_read_options(what, _object(what, body, "Options")),
        labels={str(key): str(value) for key, value in _object(what, body, "Labels").items()},
    )


def _read_ipam(what: str, ipam: Json) -> tuple[str, str]:
    if ipam.get("Driver") not in (None, "", "default"):
        raise _not_yet(what, f"IPAM driver {ipam['Driver']}")
    if _object(what, ipam, "Options"):
        raise _not_yet(what, "IPAM.Options")
    configs: Any = ipam.get("Config") or []
    if not isinstance(configs, list) or not all(isinstance(config, dict) for config in cast("list[Any]", configs)):
        raise ApiError(400, f"{what}: IPAM.Config must be a list of objects")
    listed = cast("list[Json]", configs)
    if len(listed) > 1:
        raise _not_yet(what, "more than one IPAM.Config")
    for config in listed:
        for key in ("IPRange", "AuxiliaryAddresses", "AuxAddress"):
            if config.get(key):
                raise _not_yet(what, f"IPAM.Config.{key}")
        subnet, gateway = str(config.get("Subnet") or ""), str(config.get("Gateway") or "")
        if gateway and not subnet:
            raise ApiError(400, f"{what}: gateway {gateway} without a subnet")
        if ":" in subnet or ":" in gateway:
            raise _not_yet(what, f"IPv6 subnet {subnet or gateway}")
        return subnet, gateway
    return "", ""


def _read_options(what: str, options: Json) -> int:
    mtu = 0
    for key, value in options.items():
        if key == _MTU:
            if not (str(value).isascii() and str(value).isdigit() and _LEAST_MTU <= int(value) <= _MOST_MTU):
                raise ApiError(400, f"{what}: option {key} is {value!r}, expected {_LEAST_MTU} to {_MOST_MTU}")
            mtu = int(value)
        elif str(value) not in _AT_DEFAULT.get(key, ()):
            raise _not_yet(what, f"option {key}={value}")
    return mtu


def _not_yet(what: str, thing: str) -> ApiError:
    return ApiError(501, f"{what}: {thing} is not there yet in this engine", "not-there-yet")


def _object(what: str, given: Json, key: str) -> Json:
    value = given.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ApiError(400, f"{what}: {key} must be an object")
    return cast("Json", value)
