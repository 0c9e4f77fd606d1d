"""What a container, a network and a volume consist of, one table each.  [pure]

A row says where the field stands in a stack file, how it is read from a specification, and whether a running object takes the
change in place. The diff, its text and the effect all come from this one row, and a field that is in no row is a
field whose change nobody sees: tests/unit/plan/test_fields.py compares the tables with the dataclasses.

Rule: readers give values in one canonical order, so that what an engine lists in another order is the same.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gitopsd.model.desired import ContainerSpec, ImageChoice, NetworkSpec, VolumeSpec
from gitopsd.model.secret import Redacted
from gitopsd.model.stack import Attachment, Healthcheck, Mount, Port, Restart

Members = Mapping[str, str]
_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL|AUTH", re.IGNORECASE)


@dataclass(frozen=True)
class Field:
    """`read` gives a text, None for unset, or a mapping when each member is a field of its own (`environment.NAME`)."""

    path: str
    attribute: str
    """The dataclass field that it stands for."""
    read: Callable[[Any], str | Members | None]
    change: Literal["in_place", "replace"] = "replace"
    hides: bool = False
    """Whether a member with the name of a secret is shown as `(hidden)`."""


def bytes_form(size: int) -> str | None:
    """`64m`, as Compose writes it; 0 is unset."""
    if not size:
        return None
    for unit, factor in (("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}b"


def cpus_form(nano: int) -> str | None:
    if not nano:
        return None
    whole, rest = divmod(nano, 1_000_000_000)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def duration_form(nanoseconds: int) -> str | None:
    """`1m30s`; 0 is unset."""
    if not nanoseconds:
        return None
    text = ""
    for unit, factor in (("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)):
        count, nanoseconds = divmod(nanoseconds, factor)
        text += f"{count}{unit}" if count else ""
    return text + (f"{nanoseconds}ns" if nanoseconds else "")


def port_form(port: Port) -> str:
    address = f"{port.host_ip}:" if port.host_ip else ""
    return f"{address}{port.published or ''}:{port.target}/{port.protocol}"


def image_form(image: ImageChoice) -> str:
    """The name, and enough of the bytes to tell two apart."""
    if image.key:
        return f"{image.reference} {image.key[:12]}"
    return f"{image.reference} {image.digest[:19]}" if image.digest else image.reference


def _command(words: tuple[str, ...] | None) -> str | None:
    return None if words is None else shlex.join(words)


def _text(value: str) -> str | None:
    return value or None


def _mount(mount: Mount) -> str:
    if mount.kind == "tmpfs":
        return "tmpfs"
    return mount.source + (" (read-only)" if mount.read_only else "")


def _attachment(attachment: Attachment) -> str:
    return "as " + ", ".join(sorted(attachment.aliases)) if attachment.aliases else "attached"


def _restart(restart: Restart) -> str | None:
    if restart.name == "no":
        return None
    return f"{restart.name}:{restart.maximum_retries}" if restart.maximum_retries else restart.name


def _health(check: Healthcheck | None) -> Members:
    if check is None:
        return {}
    rows = {
        "test": shlex.join(check.test),
        "interval": duration_form(check.interval_ns),
        "timeout": duration_form(check.timeout_ns),
        "retries": str(check.retries) if check.retries else None,
        "start_period": duration_form(check.start_period_ns),
        "start_interval": duration_form(check.start_interval_ns),
    }
    return {name: form for name, form in rows.items() if form is not None}


def _pairs(pairs: tuple[tuple[str, str], ...]) -> Members:
    return dict(pairs)


def _image(spec: ContainerSpec) -> str:
    return image_form(spec.image)


def _environment(spec: ContainerSpec) -> Members:
    return _pairs(spec.environment)


def _ports(spec: ContainerSpec) -> str | None:
    return ", ".join(port_form(port) for port in sorted(spec.ports)) or None


def _mounts(spec: ContainerSpec) -> Members:
    return {mount.target: _mount(mount) for mount in spec.mounts}


def _networks(spec: ContainerSpec) -> Members:
    return {attachment.network: _attachment(attachment) for attachment in spec.networks}


def _labels(spec: ContainerSpec | NetworkSpec | VolumeSpec) -> Members:
    return _pairs(spec.labels)


def _cap_add(spec: ContainerSpec) -> str | None:
    return ", ".join(sorted(spec.cap_add)) or None


def _cap_drop(spec: ContainerSpec) -> str | None:
    return ", ".join(sorted(spec.cap_drop)) or None


CONTAINER: tuple[Field, ...] = (
    Field("image", "image", _image),
    Field("command", "command", lambda spec: _command(spec.command)),
    Field("entrypoint", "entrypoint", lambda spec: _command(spec.entrypoint)),
    Field("environment", "environment", _environment, hides=True),
    Field("ports", "ports", _ports),
    Field("volumes", "mounts", _mounts),
    Field("networks", "networks", _networks, "in_place"),
    Field("healthcheck", "healthcheck", lambda spec: _health(spec.healthcheck)),
    Field("labels", "labels", _labels, hides=True),
    Field("restart", "restart", lambda spec: _restart(spec.restart), "in_place"),
    Field("mem_limit", "memory_bytes", lambda spec: bytes_form(spec.memory_bytes), "in_place"),
    Field("cpus", "nano_cpus", lambda spec: cpus_form(spec.nano_cpus), "in_place"),
    Field("user", "user", lambda spec: _text(spec.user)),
    Field("working_dir", "working_dir", lambda spec: _text(spec.working_dir)),
    Field("hostname", "hostname", lambda spec: _text(spec.hostname)),
    Field("read_only", "read_only", lambda spec: "true" if spec.read_only else None),
    Field("cap_add", "cap_add", _cap_add),
    Field("cap_drop", "cap_drop", _cap_drop),
    Field("stop_grace_period", "stop_grace_ns", lambda spec: duration_form(spec.stop_grace_ns)),
    Field("stop_signal", "stop_signal", lambda spec: _text(spec.stop_signal)),
    Field("name", "name", lambda spec: spec.name, "in_place"),
)

NETWORK: tuple[Field, ...] = (
    Field("internal", "internal", lambda spec: "true" if spec.internal else None),
    Field("subnet", "subnet", lambda spec: _text(spec.subnet)),
    Field("labels", "labels", _labels, hides=True),
)

VOLUME: tuple[Field, ...] = (Field("labels", "labels", _labels, hides=True),)


@dataclass(frozen=True)
class Difference:
    """One field that differs, in forms that may be shown."""

    field: Field
    path: str
    old: str | None
    new: str | None


def differences(table: tuple[Field, ...], observed: Any, desired: Any) -> tuple[Difference, ...]:
    """The fields in which `observed` is not `desired`, in the order of the table."""
    found: list[Difference] = []
    for field in table:
        old, new = field.read(observed), field.read(desired)
        if old == new or (field.path == "image" and is_same_image(observed.image, desired.image)):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for member in sorted(old.keys() | new.keys()):
                if _revealed(old.get(member)) != _revealed(new.get(member)):
                    hidden = field.hides and _SECRET_NAME.search(member) is not None
                    before, after = _shown(old.get(member), hidden), _shown(new.get(member), hidden)
                    found.append(Difference(field, f"{field.path}.{member}", before, after))
        else:
            found.append(Difference(field, field.path, _shown(old, False), _shown(new, False)))
    return tuple(found)


def is_same_image(observed: ImageChoice, desired: ImageChoice) -> bool:
    """By bytes: the digest. What is built here is the same by its key too, which stands for the same sources."""
    if desired.key and observed.key:
        return desired.key == observed.key
    return desired.digest is not None and desired.digest == observed.digest


def _revealed(value: str | None) -> str | None:
    return value.reveal() if isinstance(value, Redacted) else value


def _shown(value: Any, hidden: bool) -> str | None:
    if value is None:
        return None
    return "(hidden)" if hidden or isinstance(value, Redacted) else str(value)
