"""The fleet file: `gitopsd.yaml` to `model.Fleet`.  [pure]

In: its text.  Out: the fleet, or Errors with all that is wrong with it, and then nothing at all happens to the fleet.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any, cast

from pydantic import ValidationError

from gitopsd.model.constraint import parse_constraint
from gitopsd.model.fleet import Fleet, Host, Pairs, Registry, StackEntry
from gitopsd.render.locate import Node, WrittenFloat, WrittenInt, parse_yaml
from gitopsd.render.reading import Place, path_within
from gitopsd.render.schema import fleet as schema
from gitopsd.render.schema.form import Path, errors_of

FLEET_FILE = "gitopsd.yaml"
_LEFT_OUT = "left-out"
_WIDEST_POOL = 16  # docs/state.md: half of the pool is cut into host blocks of /21


def read_fleet(text: str, file: str = FLEET_FILE, listen: str = "") -> Fleet:
    """The fleet that the text describes. `listen`: the address beside loopback at which the controller lets its registry be reached."""
    place = Place(file, parse_yaml(text, file))
    form = _form(place)
    if form is None:
        raise place.all_errors()
    fleet = Fleet(
        name=form.name,
        hosts=tuple(_host(name, host, place) for name, host in sorted(form.hosts.items())),
        registry=_registry(form.registry, place, listen),
        stacks=tuple(_entry(name, entry, place) for name, entry in sorted(form.stacks.items())),
        pool=_pool(form.network.pool, place),
        known_hosts=form.ssh.known_hosts,
        poll_s=form.intervals.poll / 10**9,
        drift_s=form.intervals.drift / 10**9,
    )
    _check_jumps(form, place)
    for key, seconds in (("poll", fleet.poll_s), ("drift", fleet.drift_s)):
        if seconds < 1:
            place.say(("intervals", key), "bad-value", "is shorter than a second")
    if place.errors:
        raise place.all_errors()
    return fleet


def _form(place: Place) -> schema.FleetFile | None:
    """The file's form. With errors in it, the form of what is right, so that what only several keys together show is found as well;
    None if that cannot be told apart."""
    plain = place.node.plain()
    try:
        return schema.FleetFile.model_validate(plain)
    except ValidationError as caught:
        place.errors += errors_of(caught, schema.FleetFile, place.node, place.file)
        paths: list[Path] = [error["loc"] for error in caught.errors(include_url=False)]
    for path in paths:
        _leave_out(plain, path)
    try:
        return schema.FleetFile.model_validate(plain)
    except ValidationError:
        return None


def _leave_out(plain: Any, path: Path) -> None:
    """Take what is wrong out of the file, and put a word where nothing may not stand."""
    if not path or not isinstance(plain, dict):
        return
    fleet = cast("dict[str, Any]", plain)
    section, name, key = str(path[0]), path[1:2], path[2:3]
    needed = {"hosts": "address", "stacks": "file"}.get(section)
    if not name or not isinstance(fleet.get(section), dict):
        fleet.pop(section, None)
    else:
        members: dict[Any, Any] = fleet[section]
        found = members.pop(name[0], None)
        if needed and key != ("[key]",):
            member = cast("dict[Any, Any]", found) if isinstance(found, dict) else {}
            members[name[0]] = {needed: _LEFT_OUT, **{each: value for each, value in member.items() if (each,) != key}}
    fleet.setdefault("name", _LEFT_OUT)
    if not fleet.get("hosts"):
        fleet["hosts"] = {_LEFT_OUT: {"address": _LEFT_OUT}}


def values_of(entry: StackEntry) -> dict[str, Any]:
    """What the stack file sees by name. Numbers keep how they were written."""
    return {name: json.loads(text, parse_int=WrittenInt.of, parse_float=WrittenFloat.of) for name, text in entry.values}


def _registry(form: schema.Registry, place: Place, listen: str) -> Registry:
    """Whoever may commit must not open a port of the controller's machine: the embedded registry asks nobody who they are."""
    host, _, port = form.address.rpartition(":")
    if form.embedded and not (host and port.isdigit()):
        place.say(
            ("registry", "address"), "bad-value", f"{form.address} has no port, and the controller's own registry needs one"
        )
    elif form.embedded and not _is_loopback(host) and form.address != listen:
        hint = f"expected 127.0.0.1:PORT; where its network may be trusted, start gitopsd with GITOPSD_REGISTRY_LISTEN={form.address}"
        place.say(
            ("registry", "address"), "not-loopback", f"the controller's own registry does not listen at {form.address}", hint
        )
    return Registry(form.address, form.embedded, tuple(sorted(form.mirrors.items())), tuple(sorted(form.insecure)))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host(name: str, form: schema.Host, place: Place) -> Host:
    return Host(
        name=name,
        address=form.address,
        user=form.user,
        port=form.port,
        key=form.key,
        host_keys=tuple(" ".join(key.split()[:2]) for key in form.host_key),
        jump=form.jump,
        labels=tuple(sorted(form.labels.items())),
        engine=form.engine,
        maintenance=form.maintenance,
        where=place.where("hosts", name),
    )


def _entry(name: str, form: schema.StackEntry, place: Place) -> StackEntry:
    path: Path = ("stacks", name)
    file = form.file
    try:
        file = path_within("", form.file)
    except ValueError as error:
        place.say((*path, "file"), "bad-path", f'"{form.file}" {error}')
    hosts = place.node.mapping["hosts"].mapping if "hosts" in place.node.mapping else {}
    for at, host in enumerate(form.hosts or []):
        if hosts and host not in hosts:
            known = ", ".join(sorted(hosts))
            place.say((*path, "hosts", at), "unknown-host", f'"{host}" is no host of the fleet', f"hosts: {known}")
    for at, constraint in enumerate(form.constraints):
        try:
            parse_constraint(constraint)
        except ValueError as error:
            place.say((*path, "constraints", at), "bad-constraint", str(error))
    return StackEntry(
        name=name,
        file=file,
        hosts=tuple(sorted(set(form.hosts or []))),
        constraints=tuple(form.constraints),
        deploy=form.deploy,
        drift=form.drift,
        values=_values(place.node.mapping["stacks"].mapping[name].mapping.get("values")),
        where=place.where("stacks", name),
    )


def _values(node: Node | None) -> Pairs:
    """Each value as a JSON text, numbers as they were written."""
    return tuple(sorted((name, _json(value)) for name, value in (node.mapping if node else {}).items()))


def _json(node: Node) -> str:
    if node.is_mapping:
        return "{" + ",".join(f"{json.dumps(key)}:{_json(member)}" for key, member in sorted(node.mapping.items())) + "}"
    if node.is_list:
        return "[" + ",".join(_json(item) for item in node.items) + "]"
    text = str(getattr(node.value, "text", ""))
    return text if _is_json_number(text) else json.dumps(node.value, ensure_ascii=False)


def _is_json_number(text: str) -> bool:
    try:
        return bool(text) and isinstance(json.loads(text), (int, float))
    except ValueError:
        return False


def _pool(written: str, place: Place) -> str:
    try:
        pool = ipaddress.IPv4Network(written)
    except ValueError as error:
        place.say(("network", "pool"), "bad-value", f'"{written}" is no IPv4 network: {error}')
        return written
    if pool.prefixlen > _WIDEST_POOL:
        place.say(("network", "pool"), "bad-value", f"{pool} is too small; expected a /{_WIDEST_POOL} or larger")
    elif not pool.is_private:
        place.say(("network", "pool"), "bad-value", f"{pool} is not private", "expected a part of 10.0.0.0/8 or 172.16.0.0/12")
    return str(pool)


def _check_jumps(form: schema.FleetFile, place: Place) -> None:
    """Each way to a host must end."""
    written = place.node.mapping["hosts"].mapping if "hosts" in place.node.mapping else {}
    for name, host in form.hosts.items():
        if host.jump and host.jump not in written:
            place.say(("hosts", name, "jump"), "unknown-host", f'"{host.jump}" is no host of the fleet')
            continue
        seen = [name]
        following = host.jump
        while following in form.hosts and following not in seen:
            seen.append(following)
            following = form.hosts[following].jump
        if following == name:
            place.say(("hosts", name, "jump"), "cycle", f"goes round: {' -> '.join([*seen, name])}")
