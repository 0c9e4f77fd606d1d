"""The form of `gitopsd.yaml`, the fleet file.  [pure]

Its JSON Schema is schemas/fleet.schema.json, its manual docs/fleet-file.md. What needs more than one key to be judged stands in
render/fleet.py.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field

from gitopsd.model.fleet import EngineKind
from gitopsd.render.schema.form import Form
from gitopsd.render.schema.stack import StackName
from gitopsd.render.schema.words import Duration, Flag, Port, Short, Text, Word, Written, choice, pattern, read_text, shown, wrong

_HOST_NAME = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ADDRESS = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-fA-F:]*:[0-9a-fA-F:.]*(?:%[A-Za-z0-9._-]+)?"
_USER = r"[a-z_][a-z0-9_.-]*"
_REGISTRY = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_MIRROR = rf"{_REGISTRY}(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
_HOST_KEY = r"(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+={0,2}(?: .*)?"
_VALUE_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_ANY = {"type": ["string", "number", "boolean", "null", "array", "object"]}


def _any_value(value: Any) -> Any:
    return value


def _one_or_more(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise wrong("wrong-type", f"expected a text or a list of them, found {shown(value)}")
    return value  # pyright: ignore[reportUnknownVariableType]


def _read_host_key(value: Any) -> str:
    text = read_text(value)
    if re.fullmatch(_HOST_KEY, text):
        return text
    expected = "the whole of a host's public key" if "…" in text or "..." in text else "a host's public key: its kind and base64"
    hint = "what `ssh-keyscan -t ed25519 ADDRESS` prints after the address; gitopsd lab list prints those of a lab"
    raise wrong("bad-value", f"expected {expected}, found {shown(value)}", hint)


HostName = Annotated[str, pattern(_HOST_NAME, "lower-case letters, digits and -, as in a host name")]
HostKey = Annotated[str, Word(_read_host_key, {"type": "string", "pattern": f"^(?:{_HOST_KEY})$"})]
Address = Annotated[str, pattern(_ADDRESS, "a host name or an IP address")]
RegistryName = Annotated[str, pattern(_REGISTRY, "a registry like registry.example.org:5000")]
Mirror = Annotated[str, pattern(_MIRROR, "an address like 127.0.0.1:5000, with a path after it or without")]


class Registry(Form):
    """Where built images go, and who answers for other registries."""

    address: RegistryName = "127.0.0.1:5000"
    """`host:port`, as images are named."""
    embedded: Flag = True
    """Whether the controller runs it itself."""
    mirrors: dict[RegistryName, Mirror] = Field(default_factory=dict[str, str])
    """Which address answers for a registry: `docker.io: 127.0.0.1:5000`."""
    insecure: list[RegistryName] = Field(default_factory=list[str])
    """Registries spoken to without TLS. Those on loopback always are."""


class Network(Form):
    """Addresses of the fleet."""

    pool: Annotated[str, pattern(r"[0-9.]+/[0-9]{1,2}", "an IPv4 network like 10.192.0.0/11")] = "10.192.0.0/11"
    """The addresses that are cut into a block for each host. It cannot change while hosts use it."""


class Ssh(Form):
    """How hosts are reached."""

    known_hosts: Text | None = None
    """A known_hosts file on the controller; left out, the user's and the system's."""


class Intervals(Form):
    """How often the controller looks."""

    poll: Duration = 30 * 10**9
    """At the repository, where it is not told of changes."""
    drift: Duration = 60 * 10**9
    """At the hosts."""


class Host(Form):
    """A machine of the fleet."""

    address: Address
    """Its name or IP address."""
    user: Annotated[str, pattern(_USER, "a user name")] = "root"
    """Who logs in: root, or somebody with passwordless sudo."""
    port: Port = 22
    key: Text | None = None
    """The private key's file on the controller; left out, the controller's own."""
    host_key: Annotated[list[HostKey], Short(_one_or_more, {"type": "string"})] = Field(default_factory=list[str])
    """The host's public key, or a list of them; left out, known_hosts decides."""
    jump: HostName | None = None
    """Another host of the fleet to go through."""
    labels: dict[Annotated[str, pattern(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?", "a label's name")], Written] = Field(
        default_factory=dict[str, str]
    )
    """What constraints ask for: `zone: a`."""
    engine: Annotated[EngineKind, choice("bundled", later=("docker", "podman"))] = "bundled"
    maintenance: Flag = False
    """Whether the host is left alone: nothing new is placed on it, nothing on it is changed."""


class StackEntry(Form):
    """A stack of the fleet."""

    later = frozenset({"depends_on", "schedule", "windows", "repository", "secrets"})
    file: Text
    """The stack file, relative to the repository's root; one that ends in .j2 is a template."""
    hosts: list[HostName] | None = Field(default=None, min_length=1)
    """The hosts it may use; left out, all of them."""
    constraints: list[Text] = Field(default_factory=list[str])
    """What its hosts must have: `node.labels.zone == a`."""
    deploy: Annotated[Literal["auto", "manual"], choice("auto", "manual")] = "auto"
    """Whether a commit is applied at once, or when somebody says so."""
    drift: Annotated[Literal["heal", "notify", "off"], choice("heal", "notify", "off")] = "heal"
    """What is done about changes by hand."""
    values: dict[Annotated[str, pattern(_VALUE_NAME, "letters, digits and _")], Annotated[Any, Word(_any_value, _ANY)]] = Field(
        default_factory=dict[str, Any]
    )
    """What ${NAME} and templates in the stack file see."""


class FleetFile(Form):
    """The fleet."""

    later = frozenset({"notifiers", "policies", "repositories", "secrets", "windows"})
    name: StackName
    """The fleet's name, which is on every object that it makes."""
    registry: Registry = Registry()
    network: Network = Network()
    ssh: Ssh = Ssh()
    intervals: Intervals = Intervals()
    hosts: dict[HostName, Host] = Field(min_length=1)
    stacks: dict[StackName, StackEntry] = Field(default_factory=dict[str, StackEntry])
