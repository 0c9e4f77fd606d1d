"""Networks, who is in them, and what is published: the one object that the daemon uses.

In: what the API asks, and the sockets of containers' namespaces.  Out: records on disk, the kernel as it should be, names to look up.

Rule 1: synchronous and safe to call from any thread; one lock, held for milliseconds.
Rule 2: a record is durable before the kernel shows the network. What the kernel shows of containers is the truth about them: a new daemon reads
it and touches nothing that is right.
Rule 3: every verb happens, or raises ApiError and leaves what was.

The default network `bridge` gets its bridge with its first container, those that people make at once. Without any, nothing of ours is in the kernel.
Not here: DNS packets (dns.py), who holds the sockets of ports (the monitors).
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from socket import socket
from typing import Callable, Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.dockerapi.values import Json
from gitopsd.engine.networks import allocate, foreign, ports
from gitopsd.engine.networks.catalogue import Catalogue
from gitopsd.engine.networks.endpoint import Attachment, Endpoint
from gitopsd.engine.networks.host import Host
from gitopsd.engine.networks.names import Names
from gitopsd.engine.networks.network import Network, inspect
from gitopsd.engine.networks.ports import PortRequest, Reservation
from gitopsd.engine.networks.ruleset import Port, Published
from gitopsd.engine.networks.state import Member, State
from gitopsd.engine.networks.watch import Watch

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Running:
    """A container that runs when the daemon starts. `sockets`: `route`, `netfilter`, `dns-udp`, `dns-tcp`, as its monitor gives them."""

    container: str
    name: str
    attachments: tuple[Attachment, ...]
    sockets: Mapping[str, socket]
    ports: tuple[Port, ...] = ()
    is_serving: bool = True


@dataclass(frozen=True)
class Moved:
    """What a transition did."""

    ports: int
    names: int
    conntrack_deleted: int


class Networks:
    """`new_id` makes 64 random hexadecimal digits; `now` is RFC 3339 and becomes a network's `Created`."""

    def __init__(
        self,
        instance: str,
        folder: str,
        now: Callable[[], str],
        block: str = allocate.DEFAULT_BLOCK,
        new_id: Callable[[], str] = lambda: secrets.token_hex(32),
    ) -> None:
        self._lock = threading.RLock()
        self._state = State()
        self._host = Host(instance, self._state)
        self._catalogue = Catalogue(folder, self._state, self._host, now, block, new_id)
        self._new_id = new_id
        self._last_address: dict[str, str] = {}
        self._watch: Optional[Watch] = None
        self._later = ThreadPoolExecutor(1, "networks-later")
        """What nobody waits for: deleting interfaces, and forgetting tracked connections."""

    @property
    def names(self) -> Names:
        """What may be looked up now. Frozen, and replaced whole, so that the resolver can read it in its own thread."""
        return self._state.names

    # ---- life

    def start(self, running: Iterable[Running] = ()) -> None:
        """Read the records, adopt what runs, make the kernel what it should be, and keep it so."""
        with self._lock, _kernel("start networks"):
            self._catalogue.load()
            self._adopt(running)
            self._host.reassert()
            own = (self._host.route.port, self._host.netfilter.port)
            self._watch = Watch(self.reassert, own, self._host.prefixes)
        if foreign.has_legacy_filter():
            _log.warning(
                "this host filters with the old iptables, which nf_tables cannot see: if its FORWARD chain drops, "
                "containers are cut off until it accepts interfaces %s+",
                self._host.prefixes[0],
            )

    def close(self) -> None:
        """Let go of everything, and leave the kernel as it is: containers go on."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._later.shutdown()
        with self._lock:
            for member in self._state.members.values():
                member.close()
            self._state.members.clear()
            self._host.close()

    def tear_down(self) -> None:
        """Take everything of this engine out of the kernel; the records stay."""
        for container in list(self._state.members):
            self.release(container)
        self._later.submit(int).result()
        with self._lock, _kernel("tear networks down"):
            self._state.active.clear()
            self._host.reassert()

    def reassert(self) -> list[str]:
        """Mend what somebody changed; what that was, in words. Does nothing, and changes no rule, when all is right."""
        with self._lock, _kernel("mend networks"):
            mended = self._host.reassert()
        if mended:
            _log.warning("mended after a change that was not ours: %s", ", ".join(mended))
        return mended

    # ---- networks

    def list(self) -> list[Network]:
        with self._lock:
            return sorted(
                self._state.networks.values(), key=lambda network: (not network.is_predefined, network.created, network.name)
            )

    def find(self, reference: str) -> Network:
        """By id, name, or an unmistakable beginning of an id; ApiError 404."""
        with self._lock:
            return self._state.find(reference)

    def inspect(self, reference: str) -> Json:
        """`GET /networks/{id}` in Docker's form."""
        with self._lock:
            network = self._state.find(reference)
            return inspect(network, [(endpoint, member.name) for member, endpoint in self._state.inside(network)])

    def summaries(self) -> Sequence[Json]:
        """For `/gitopsd/v1/state`: all as they are at one moment."""
        with self._lock:
            return [
                {"generation": network.generation, "create": network.create, "inspect": self.inspect(network.id)}
                for network in self.list()
            ]

    def create(self, body: Json) -> Network:
        """Make a network from Docker's create body. Durable when it returns."""
        what = f"create network {body.get('Name')}"
        with self._lock, _kernel(what):
            return self._catalogue.create(what, body)

    def remove(self, reference: str) -> None:
        with self._lock:
            network = self._state.find(reference)
            what = f"remove network {network.name}"
            with _kernel(what):
                self._catalogue.remove(what, network)

    @property
    def block(self) -> str:
        """Where subnets are taken from."""
        return self._catalogue.block

    def set_block(self, block: str) -> None:
        """Take addresses from another block from now on. ApiError 409 while networks in the old one are in use."""
        with self._lock, _kernel(f"set the address block to {block}"):
            self._catalogue.set_block(block)

    # ---- containers

    def allocate(
        self, container: str, name: str, attachments: Sequence[Attachment], is_serving: bool = True
    ) -> tuple[Endpoint, ...]:
        """Decide what a container will have in its networks, in the order given; it counts as in use from now on, until `release`.

        With `is_serving` False it gets its own name only, no aliases and no ports, until `serve` or a `transition`.
        """
        what = f"start container {name}"
        with self._lock, _kernel(what):
            self.release(container)
            member = Member(container, name, is_serving)
            for attachment in attachments:
                network = self._state.find(attachment.network)
                if network.is_bridge:
                    self._place(what, member, network, attachment)
            self._state.members[container] = member
            return tuple(member.endpoints)

    def attach(self, container: str, sockets: Mapping[str, socket]) -> None:
        """Give a container what was allocated, before its program runs. Takes `route` and `netfilter` over; all or nothing."""
        with self._lock:
            member = self._state.member(container)
            with _kernel(f"start container {member.name}"):
                member.hold(sockets)
                made: list[Endpoint] = []
                try:
                    for endpoint in member.endpoints:
                        self._host.connect(member, endpoint)
                        made.append(endpoint)
                    if made:
                        self._host.lead_out(member)
                        self._host.lead_lookups(member)
                except BaseException:
                    for endpoint in made:
                        self._host.disconnect(endpoint)
                    raise
                member.is_attached = True
            self._state.show((endpoint.network for endpoint in member.endpoints), member)

    def release(self, container: str) -> None:
        """Take a container out of everything: ports, names, endpoints, addresses. No error when it has nothing, or when the kernel
        refuses: that is mended, or told again, by the next change.
        """
        with self._lock:
            member = self._state.members.pop(container, None)
            if member is None:
                return
            self._state.show((endpoint.network for endpoint in member.endpoints), member)
            self._state.leaving.update(endpoint.id for endpoint in member.endpoints)
            with _logged(f"withdraw ports of container {member.name}"):
                self._host.set_ports(self._state.published_by(member), ())
            self._host.silence(member)
            self._later.submit(self._finish, member)

    def connect(self, container: str, attachment: Attachment) -> Endpoint:
        """Connect a running container to one more network."""
        with self._lock:
            member, network = self._state.member(container), self._state.find(attachment.network)
            what = f"connect container {member.name} to network {network.name}"
            if not network.is_bridge:
                raise ApiError(400, f"{what}: a running container cannot join it")
            if not member.is_attached or member.route is None:
                raise ApiError(400, f"{what}: the container has no network of its own")
            with _kernel(what):
                before = self._state.published_by(member)
                endpoint = self._place(what, member, network, attachment)
                try:
                    self._host.connect(member, endpoint)
                    if len(member.endpoints) == 1:
                        self._host.lead_lookups(member)
                    self._host.lead_out(member)
                    self._move(member, before)
                except BaseException:
                    member.endpoints.remove(endpoint)
                    self._host.disconnect(endpoint)
                    raise
            self._state.show([network.id], member)
            return endpoint

    def disconnect(self, container: str, reference: str) -> None:
        """Disconnect a running container from a network."""
        with self._lock:
            member, network = self._state.member(container), self._state.find(reference)
            what = f"disconnect container {member.name} from network {network.name}"
            endpoint = next((endpoint for endpoint in member.endpoints if endpoint.network == network.id), None)
            if endpoint is None:
                raise ApiError(404, f"{what}: the container is not connected to it")
            with _kernel(what):
                before, place = self._state.published_by(member), member.endpoints.index(endpoint)
                member.endpoints.remove(endpoint)
                try:
                    self._move(member, before)
                    self._host.disconnect(endpoint)
                except BaseException:
                    member.endpoints.insert(place, endpoint)
                    raise
                self._state.show([network.id], member)
                self._host.lead_out(member)

    def rename(self, container: str, name: str) -> None:
        """The container is called this from now on. No error when it does not run."""
        with self._lock:
            member = self._state.members.get(container)
            if member is not None:
                member.name = name
                self._state.show((endpoint.network for endpoint in member.endpoints), member)

    def serve(self, container: str) -> None:
        """Give a container that waited its services' names and its ports."""
        with self._lock:
            member = self._state.member(container)
            if not member.is_serving:
                member.is_serving = True
                self._publish(member, member.ports, ())
                self._state.show((endpoint.network for endpoint in member.endpoints), member)

    def endpoints(self, container: str) -> tuple[Endpoint, ...]:
        """What a container has, in the order of connection."""
        with self._lock:
            return tuple(self._state.members[container].endpoints) if container in self._state.members else ()

    # ---- ports

    def reserve(self, container: str, requests: Sequence[PortRequest]) -> list[Reservation]:
        """Reserve the ports a container asks for; all or none. The caller hands the sockets to the monitor and closes its own."""
        with self._lock:
            what = f"start container {self._state.member(container).name}"
            with contextlib.ExitStack() as held:
                made: list[Reservation] = []
                for request in requests:
                    start = secrets.randbelow(1 << 16)
                    made.append(ports.reserve(what, request, ports.ephemeral_range(), start, self._state.holder_of))
                    held.callback(made[-1].socket.close)
                held.pop_all()
                return made

    def publish(self, container: str, wanted: Sequence[Port]) -> tuple[Port, ...]:
        """Lead these ports to a container, instead of those it had. Which of them lead there now: none while it waits, or has no outside."""
        with self._lock:
            member = self._state.member(container)
            self._publish(member, tuple(wanted), self._state.published_by(member))
            return tuple(item.port for item in self._state.published_by(member))

    def published(self) -> tuple[Published, ...]:
        """Where the kernel leads each port now: by this a daemon tells whether a transition that was broken off had happened."""
        with self._lock:
            return self._host.published()

    def transition(self, old: str, new: str, requests: Sequence[PortRequest], old_name: str = "", new_name: str = "") -> Moved:
        """Move ports and names from one running container to another, at once; all or nothing. Again when it is done: the same answer.

        `requests` are the ports that the new one asks for; they must be the old one's (ApiError 409 `ports-differ`). With `old_name` and
        `new_name` the containers are called that from then on.
        """
        with self._lock:
            source, target = self._state.member(old), self._state.member(new)
            what = f"transition from container {source.name} to container {target.name}"
            for member in (source, target):
                if not member.is_attached:
                    raise ApiError(409, f"{what}: container {member.name} is not running", "not-running")
            deleted = 0
            if source.is_serving or not target.is_serving:
                moving = ports.inherit(what, source.ports, requests)
                if moving and self._state.outlet(target) is None:
                    raise ApiError(
                        409, f"{what}: {target.name} publishes ports and is in no network with an outside", "ports-differ"
                    )
                with _kernel(what):
                    deleted = self._transfer(source, target, moving)
            source.name, target.name = old_name or source.name, new_name or target.name
            self._state.show((endpoint.network for member in (source, target) for endpoint in member.endpoints), source, target)
            moved = {alias for aliases in target.aliases.values() for alias in aliases}
            return Moved(len(target.ports), len(moved), deleted)

    # ---- parts

    def _finish(self, member: Member) -> None:
        """What remains of a container that was released."""
        with _logged(f"clean up after container {member.name}"), contextlib.closing(member):
            try:
                for endpoint in member.endpoints:
                    self._host.disconnect(endpoint)
            finally:
                self._state.leaving.difference_update(endpoint.id for endpoint in member.endpoints)
            self._forget([port for port in member.ports if port.protocol == "udp"])

    def _let_in(self, ports: Iterable[Port]) -> None:
        """Clients that asked before a port led where it leads now are forgotten, so that their next packet finds its way."""
        self._later.submit(self._forget, tuple(ports))

    def _forget(self, ports: Sequence[Port]) -> None:
        if ports:
            with self._lock:
                led = self._state.published()
            with _logged("forget tracked connections"):
                self._host.forget_ports(ports, led)

    def _transfer(self, source: Member, target: Member, moving: tuple[Port, ...]) -> int:
        """Give `target` what `source` has; how many tracked connections that took. On an error it is as it was."""
        pair = (source, target)
        was = [(member, member.ports, member.is_serving) for member in pair]
        before = [item for member in pair for item in self._state.published_by(member)]
        source.ports, source.is_serving = (), False
        target.ports, target.is_serving = moving, True
        after = [item for member in pair for item in self._state.published_by(member)]
        try:
            self._host.set_ports(before, after)
            return self._host.forget_addresses(endpoint.address for endpoint in source.endpoints)
        except BaseException:
            for member, had, served in was:
                member.ports, member.is_serving = had, served
            self._host.set_ports(after, before)
            raise

    def _publish(self, member: Member, wanted: tuple[Port, ...], before: Sequence[Published]) -> None:
        had, member.ports = member.ports, wanted
        after = self._state.published_by(member)
        with _kernel(f"publish ports of container {member.name}"):
            try:
                self._host.set_ports(before, after)
            except BaseException:
                member.ports = had
                raise
        self._let_in({item.port for item in after} | {port for port in had if port.protocol == "udp"})

    def _move(self, member: Member, before: Sequence[Published]) -> None:
        """Publish at another address, if the way out is by another network than before."""
        after = self._state.published_by(member)
        if before != after:
            self._host.set_ports(before, after)
            self._let_in(member.ports)

    def _place(self, what: str, member: Member, network: Network, attachment: Attachment) -> Endpoint:
        """Choose what the container has in a network, and note it."""
        if any(endpoint.network == network.id for endpoint in member.endpoints):
            raise ApiError(403, f"{what}: it is connected to network {network.name} already")
        if attachment.address and network.is_predefined:
            raise ApiError(400, f"{what}: an address can be chosen in networks that somebody made, not in {network.name}")
        network = self._catalogue.activate(what, network)
        taken = {endpoint.address for _, endpoint in self._state.inside(network)} | {network.gateway}
        if attachment.address:
            address = allocate.check_address(what, network.subnet, taken, attachment.address)
        else:
            address = allocate.choose_address(what, network.subnet, taken, self._last_address.get(network.id, ""))
            self._last_address[network.id] = address
        used = {endpoint.interface for endpoint in member.endpoints}
        others = [endpoint.id for endpoint in (*self._state.endpoints(), *member.endpoints)]
        endpoint = Endpoint(
            id=allocate.new_id(self._new_id, others, 6),
            container=member.container,
            network=network.id,
            interface=next(name for name in (f"eth{number}" for number in range(1000)) if name not in used),
            address=address,
            prefix=network.prefix,
            gateway="" if network.is_internal else network.gateway,
            mac=attachment.mac or allocate.mac_of(address),
        )
        member.endpoints.append(endpoint)
        member.aliases[network.id] = attachment.aliases
        return endpoint

    def _adopt(self, running: Iterable[Running]) -> None:
        """Take over what the kernel has of the containers that run."""
        found = self._host.adopt()
        by_prefix = {network.id[:12]: network for network in self._state.networks.values()}
        for container in running:
            member = Member(container.container, container.name, container.is_serving, ports=container.ports)
            for attachment in container.attachments:
                with contextlib.suppress(ApiError):  # a network that is gone
                    member.aliases[self._state.find(attachment.network).id] = attachment.aliases
            for endpoint in found:
                network = by_prefix.get(endpoint.network)
                if endpoint.container == container.container and network is not None:
                    gateway = "" if network.is_internal else network.gateway
                    member.endpoints.append(replace(endpoint, network=network.id, prefix=network.prefix, gateway=gateway))
            order = list(member.aliases)
            member.endpoints.sort(key=lambda endpoint: order.index(endpoint.network) if endpoint.network in order else len(order))
            member.hold(container.sockets)
            member.is_attached = True
            self._state.members[member.container] = member
        made = {network.id for network in self._state.networks.values() if network.has_names}
        self._state.active |= made | {endpoint.network for endpoint in self._state.endpoints()}
        self._state.show(self._state.active, *self._state.members.values())


@contextlib.contextmanager
def _kernel(what: str) -> Generator[None, None, None]:
    """What the kernel or the disk refuses is an error of the verb."""
    try:
        yield
    except OSError as error:
        raise ApiError(500, f"{what}: {error.strerror}") from error


@contextlib.contextmanager
def _logged(what: str) -> Generator[None, None, None]:
    """Work that nobody waits for has nobody to tell."""
    try:
        yield
    except OSError as error:
        _log.warning("%s: %s", what, error)
