"""The form of a stack file: the Compose Specification, as far as it is there.  [pure]

Its JSON Schema is schemas/stack.schema.json, its manual docs/stack-file.md. Short forms are spelled out here, so that whoever
reads a form sees long ones only. What needs more than one key to be judged stands in render/compose.py and service.py.

To add a key: take it out of `later`, give it a field here, in model/stack.py, in service.py and in text.py, a case in tests/golden/render,
a line in the manual, and make the schema anew.
"""

from __future__ import annotations

import shlex
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from gitopsd.model.stack import Condition
from gitopsd.render.schema.form import Form
from gitopsd.render.schema.words import (
    Cpus,
    Duration,
    Flag,
    Ip,
    PairMap,
    Port,
    Short,
    Size,
    Subnet,
    Text,
    Word,
    Written,
    choice,
    pattern,
    read_written,
    shown,
    whole,
    wrong,
)

NAME = r"[a-zA-Z0-9](?:[a-zA-Z0-9._-]*[a-zA-Z0-9])?"
STACK_NAME = r"[a-z0-9][a-z0-9_-]{0,62}"
_RANGE = r"[0-9]{1,5}(?:-[0-9]{1,5})?"
_SIGNALS = """ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STOP SYS TERM TRAP TSTP TTIN TTOU
    URG USR1 USR2 VTALRM WINCH XCPU XFSZ""".split()
_TO_30 = "(?:[0-9]|[12][0-9]|30)"
_SIGNAL = rf"(?:SIG)?(?:{'|'.join(_SIGNALS)}|RTMIN(?:\+{_TO_30})?|RTMAX(?:-{_TO_30})?)|[1-9]|[1-5][0-9]|6[0-4]"

CAPABILITIES = frozenset(
    """AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID
    IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW
    PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO
    SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM ALL""".split()
)


def _split_command(value: Any) -> Any:
    """A command line in words, as a shell would read its quotes; nothing of it is run by one."""
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError as error:
        raise wrong("bad-value", f"{str(error).lower()} in {shown(value)}") from None


def _spell_out_test(value: Any) -> Any:
    return ["CMD-SHELL", value] if isinstance(value, str) else value


def _spell_out_port(value: Any) -> Any:
    """`[[ip:]published:]target[/protocol]`."""
    text = read_written(value)
    front, slash, protocol = text.partition("/")
    host, _, target = front.rpartition(":")
    ip, _, published = host.rpartition(":")
    if ip.startswith("[") and ip.endswith("]"):
        ip = ip[1:-1]
    elif ":" in ip:
        raise wrong("bad-value", f"expected [[ip:]published:]target[/protocol], found {shown(value)}")
    parts = {"target": target, "published": published, "host_ip": ip, "protocol": protocol}
    if (slash and not protocol) or not target:
        raise wrong("bad-value", f"expected [[ip:]published:]target[/protocol], found {shown(value)}")
    return {key: part for key, part in parts.items() if part}


def _spell_out_mount(value: Any) -> Any:
    """`[source:]target[:options]`."""
    if not isinstance(value, str):
        raise wrong("wrong-type", f"expected source:target or a mapping, found {shown(value)}")
    parts = value.split(":")
    if len(parts) > 3 or "" in parts:
        raise wrong("bad-value", f"expected source:target or source:target:ro, found {shown(value)}")
    if len(parts) == 1:
        return {"type": "volume", "target": value}
    mount: dict[str, Any] = {"source": parts[0], "target": parts[1]}
    mount["type"] = "bind" if parts[0].startswith(("/", ".", "~")) else "volume"
    for option in parts[2].split(",") if len(parts) == 3 else []:
        if option not in ("ro", "rw"):
            known = option in ("z", "Z", "nocopy", "cached", "delegated", "consistent")
            code = "not-there-yet" if known else "bad-value"
            raise wrong(code, f'option "{option}" is not there yet' if known else f"expected ro or rw, found {shown(option)}")
        mount["read_only"] = option == "ro"
    return mount


def _spell_out_names(value: Any) -> Any:
    """A list of names as a mapping of each to nothing said."""
    if not isinstance(value, list):
        raise wrong("wrong-type", f"expected a list or a mapping, found {shown(value)}")
    names: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
    for at, name in enumerate(names):
        if not isinstance(name, str):
            raise wrong("wrong-type", f"expected a name, found {shown(name)}")
        if name in names[:at]:
            raise wrong("duplicate-key", f"{name} stands twice")
    return dict.fromkeys(names)


def _read_capability(value: Any) -> str:
    name = value.upper().removeprefix("CAP_") if isinstance(value, str) else ""
    if name not in CAPABILITIES:
        raise wrong("bad-value", f"expected a capability like NET_ADMIN, found {shown(value)}")
    return name


Name = Annotated[str, pattern(NAME, "letters, digits, . _ and -, beginning and ending with a letter or digit")]
StackName = Annotated[str, pattern(STACK_NAME, "lower-case letters, digits, _ and -, beginning with a letter or digit")]
PortRange = Annotated[str, pattern(_RANGE, "a port or a range of ports", read_written)]
Signal = Annotated[str, pattern(_SIGNAL, "a signal like SIGTERM", read_written)]
Capability = Annotated[str, Word(_read_capability, {"type": "string"})]
NameList: Any = Short(_spell_out_names, {"type": "array", "items": {"type": "string"}, "uniqueItems": True})


CommandWords = Annotated[list[Written], Short(_split_command, {"type": "string"})]


class BuildExtension(Form):
    """What Compose has no word for, of a build."""

    rebuild: Written = ""
    """Any text. Another text makes another image out of the same files: a rebuild by commit."""


class Build(Form):
    """How an image is made out of this repository."""

    later = frozenset(
        """additional_contexts cache_from cache_to dockerfile_inline entitlements extra_hosts isolation labels network no_cache platforms
        privileged provenance pull sbom secrets shm_size ssh tags target ulimits""".split()
    )
    context: Text = "."
    """The folder that is built, relative to the stack file."""
    dockerfile: Text = "Dockerfile"
    """Relative to the context."""
    args: PairMap = Field(default_factory=dict[str, str | None])
    """Values for ARG in the Dockerfile."""
    extension: BuildExtension = Field(default=BuildExtension(), alias="x-gitopsd")
    """What Compose has no word for."""


class PublishedPort(Form):
    """A port of the container, reachable at the host."""

    later = frozenset({"name", "app_protocol"})
    target: PortRange
    """The container's port, or a range of as many as `published`."""
    published: PortRange | None = None
    """The host's port or range; left out, the engine chooses one."""
    host_ip: Ip = ""
    """The host's address to listen on; left out, all of them."""
    protocol: Annotated[Literal["tcp", "udp"], choice("tcp", "udp", later=("sctp",))] = "tcp"
    mode: Annotated[str, choice("host", later=("ingress",))] = "host"


class Mount(Form):
    """A volume, a folder of the host or memory, at a path in the container."""

    later = frozenset({"bind", "consistency", "image", "tmpfs", "volume"})
    type: Annotated[Literal["volume", "bind", "tmpfs"], choice("volume", "bind", "tmpfs", later=("image", "npipe", "cluster"))]
    target: Text
    """The path in the container."""
    source: Text = ""
    """The volume's key, or the path on the host."""
    read_only: Flag = False


class NetworkAttachment(Form):
    """How a service stands in a network."""

    later = frozenset(
        "driver_opts gw_priority interface_name ipv4_address ipv6_address link_local_ips mac_address priority".split()
    )
    aliases: list[Name] = Field(default_factory=list[str])
    """Further names of the service in this network."""


class Dependency(Form):
    """What has to be so before a service is started."""

    later = frozenset({"restart"})
    condition: Annotated[Condition, choice("service_started", "service_healthy", "service_completed_successfully")] = (
        "service_started"
    )
    required: Flag = True
    """Whether the service waits in vain, or goes on, when the other is not there."""


class Healthcheck(Form):
    """How the engine finds out whether a container is well."""

    test: Annotated[list[Written], Short(_spell_out_test, {"type": "string"})] | None = None
    """A command line for a shell, or `[CMD, …]`, `[CMD-SHELL, line]`, `[NONE]`."""
    interval: Duration | None = None
    timeout: Duration | None = None
    retries: Annotated[int, whole(0, 1000)] | None = None
    start_period: Duration | None = None
    start_interval: Duration | None = None
    disable: Flag = False
    """Whether to ignore the check that the image brings."""


class Limits(Form):
    """What a container may use at most."""

    later = frozenset({"pids"})
    cpus: Cpus | None = None
    memory: Size | None = None


class Resources(Form):
    later = frozenset({"reservations"})
    limits: Limits = Limits()


class Placement(Form):
    later = frozenset({"preferences", "max_replicas_per_node"})
    constraints: list[Text] = Field(default_factory=list[str])
    """`node.labels.<name> == <value>`, `node.hostname != <host>`: all have to hold."""


class Deploy(Form):
    """How many containers, and where."""

    later = frozenset({"endpoint_mode", "labels", "restart_policy", "rollback_config", "update_config"})
    mode: Annotated[Literal["replicated", "global"], choice("replicated", "global", later=("replicated-job", "global-job"))] = (
        "replicated"
    )
    """`global`: one on every host that fits; `replicated`: as many as `replicas` says."""
    replicas: Annotated[int, whole(0, 1000)] | None = None
    resources: Resources = Resources()
    placement: Placement = Placement()


class ServiceExtension(Form):
    """What Compose has no word for, of a service."""

    order: Annotated[Literal["start-first", "stop-first"], choice("start-first", "stop-first")] | None = None
    """Whether a new container is started before the old one is stopped. Left out: stop-first where it writes to a mount."""


class Service(Form):
    """Containers that are alike."""

    later = frozenset(
        """annotations attach blkio_config cgroup cgroup_parent configs container_name cpu_count cpu_percent cpu_period cpu_quota
        cpu_rt_period cpu_rt_runtime cpu_shares cpuset credential_spec develop device_cgroup_rules devices dns dns_opt dns_search
        domainname driver_opts env_file expose extends external_links extra_hosts gpus group_add init ipc isolation label_file links
        logging mac_address mem_reservation mem_swappiness memswap_limit models network_mode oom_kill_disable oom_score_adj pid
        pids_limit platform post_start pre_stop privileged profiles provider pull_policy runtime scale secrets security_opt shm_size
        stdin_open storage_opt sysctls tmpfs tty ulimits use_api_socket userns_mode uts volumes_from""".split()
    )
    image: Text | None = None
    """The image to run, or with `build` the name of the one that is made."""
    build: Annotated[Build, Short(lambda value: {"context": value}, {"type": "string"})] | None = None
    command: CommandWords | None = None
    entrypoint: CommandWords | None = None
    environment: PairMap = Field(default_factory=dict[str, str | None])
    ports: list[Annotated[PublishedPort, Short(_spell_out_port, {"type": ["string", "integer"]})]] = Field(
        default_factory=list[PublishedPort]
    )
    volumes: list[Annotated[Mount, Short(_spell_out_mount, {"type": "string"})]] = Field(default_factory=list[Mount])
    networks: Annotated[dict[str, NetworkAttachment | None], NameList] | None = None
    depends_on: Annotated[dict[str, Dependency | None], NameList] = Field(default_factory=dict[str, Dependency | None])
    healthcheck: Healthcheck | None = None
    labels: PairMap = Field(default_factory=dict[str, str | None])
    restart: Annotated[
        str, pattern(r"no|always|unless-stopped|on-failure(?::[0-9]{1,9})?", "no, always, unless-stopped or on-failure")
    ] = "no"
    deploy: Deploy = Deploy()
    mem_limit: Size | None = None
    cpus: Cpus | None = None
    user: Written = ""
    working_dir: Text = ""
    hostname: Text = ""
    read_only: Flag = False
    cap_add: list[Capability] = Field(default_factory=list[str])
    cap_drop: list[Capability] = Field(default_factory=list[str])
    stop_grace_period: Duration | None = None
    stop_signal: Signal = ""
    extension: ServiceExtension = Field(default=ServiceExtension(), alias="x-gitopsd")


class IpamPool(Form):
    later = frozenset({"aux_addresses", "gateway", "ip_range"})
    subnet: Subnet
    """The addresses of the network; left out, the engine takes them out of the host's block."""


class Ipam(Form):
    later = frozenset({"driver", "options"})
    config: list[IpamPool] = Field(default_factory=list[IpamPool], max_length=1)


class Network(Form):
    """A network on each host that runs a service in it."""

    later = frozenset({"attachable", "driver_opts", "enable_ipv4", "enable_ipv6"})
    name: Name | None = None
    """Its name on the host; left out, `<stack>_<key>`."""
    driver: Annotated[str, choice("bridge", later=("overlay", "macvlan", "ipvlan", "host", "none"))] = "bridge"
    external: Flag = False
    """Whether it is there already, and nobody here makes or removes it."""
    internal: Flag = False
    """Whether its containers reach nothing outside of it."""
    ipam: Ipam = Ipam()
    labels: PairMap = Field(default_factory=dict[str, str | None])


class Volume(Form):
    """Data that outlives its containers, on each host that runs a service with it."""

    later = frozenset({"driver_opts"})
    name: Name | None = None
    """Its name on the host; left out, `<stack>_<key>`."""
    driver: Annotated[str, choice("local")] = "local"
    external: Flag = False
    """Whether it is there already, and nobody here makes it."""
    labels: PairMap = Field(default_factory=dict[str, str | None])


class StackFile(Form):
    """A stack."""

    later: ClassVar[frozenset[str]] = frozenset({"configs", "include", "models", "secrets", "version"})
    name: StackName | None = None
    """The stack's name, if it is to stand here too: the same as in the fleet file."""
    services: dict[Name, Service] = Field(min_length=1)
    networks: dict[Name, Network | None] = Field(default_factory=dict[str, Network | None])
    volumes: dict[Name, Volume | None] = Field(default_factory=dict[str, Volume | None])


__all__ = ["CAPABILITIES", "NAME", "STACK_NAME", "Port", "StackFile"]
