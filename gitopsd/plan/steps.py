"""The steps of one container, by how it gets to where it should be.  [pure]

Steps are drafted under names, `<host>/<container>/<what>`, so that one may wait for another that is drafted later or not at all;
`numbered` gives them their numbers. Who waits for whom across containers is decided in order.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from gitopsd.model.desired import DesiredContainer
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.observed import ObservedContainer
from gitopsd.model.plan import Operation, Step
from gitopsd.plan.diff import ContainerWork

UP = ("running", "restarting", "paused")
_ENDS = {  # the draft after which a container is where it should be
    "create": "wait",
    "start": "wait",
    "start-first": "transition",
    "stop-first": "wait",
    "recreate": "wait",
    "in_place": "settled",
    "promote": "rename",
}
PortKey = tuple[str, str, int]
"""Host, protocol, published port."""


@dataclass
class Drafts:
    steps: dict[str, Step] = field(default_factory=dict[str, Step])
    after: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, name: str, step: Step, after: list[str]) -> str:
        self.steps[name] = step
        self.after[name] = after
        return name


@dataclass(frozen=True)
class Placed:
    """A piece of work and the host it is on."""

    host: str
    work: ContainerWork

    @property
    def base(self) -> str:
        return f"{self.host}/{self.work.change.name}"

    @property
    def ends(self) -> str:
        return f"{self.base}/{_ENDS[self.work.how]}"


def ports_of(host: str, container: DesiredContainer | ObservedContainer) -> set[PortKey]:
    return {(host, port.protocol, port.published) for port in container.spec.ports if port.published}


def send_name(stack: str, host: str, wanted: DesiredContainer) -> str:
    return f"{stack}/{host}/send/{wanted.spec.image.digest or wanted.spec.image.key}"


@dataclass(frozen=True)
class ContainerSteps:
    """Drafts the steps of one container."""

    drafts: Drafts
    stack: str
    item: Placed
    jobs: frozenset[tuple[str, str]]
    freed: dict[PortKey, list[str]]

    def draft(self, turn: list[str], waits: list[str], is_needed: bool) -> None:
        """`turn`: the end of the replacement before this one; `waits`: the dependencies; `is_needed`: somebody wants its port."""
        work, how = self.item.work, self.item.work.how
        wanted = work.desired
        assert wanted is not None
        name = wanted.spec.name
        after = [f"{self.item.host}/{name}.{suffix}/remove" for suffix in ("next", "old")]
        if how in ("in_place", "start"):
            last = self._in_place(after)
            if how == "start":
                self._start(f"id:{_id(work.main)}", _generation(work.main), [last, *waits, *after], wanted)
        elif how == "create":
            self._create(name, "", after, wanted)
            self._start("", 0, waits, wanted)
        elif how == "recreate":
            self._leave_first(turn, work.main)
            self._create(name, "", [*after, f"{self.item.base}/remove"], wanted)
            self._start("", 0, waits, wanted)
        elif how == "promote":
            self._promote(after, wanted)
        else:
            assert work.main is not None
            self._replace(work.main, how == "start-first", turn, waits, is_needed, after, wanted)

    def leave(self, after: list[str]) -> None:
        main = self.item.work.main
        assert main is not None
        self._leave_first(after, main)

    def _replace(
        self,
        main: ObservedContainer,
        is_start_first: bool,
        turn: list[str],
        waits: list[str],
        is_needed: bool,
        after: list[str],
        wanted: DesiredContainer,
    ) -> None:
        base, following = self.item.base, self.item.work.next
        old = f"id:{main.id}"
        if is_start_first and main.spec.name != wanted.spec.name:  # the new one gets the name that the old one has
            self._add("rename_container", "old-name", after, target=old, name=wanted.spec.name, generation=main.generation)
        if following is None:
            self._create(f"{wanted.spec.name}.next", old, after, wanted)
            new, generation = "", 0
        else:
            new, generation = f"id:{following.id}", following.generation
        begin = [f"{base}/create", *after, *turn, *waits]
        if is_start_first:
            self._start(new, generation, begin, wanted)
            self._add(
                "transition",
                "transition",
                [f"{base}/wait", f"{base}/old-name"],
                target=new or "step:create",
                other=old,
                generation=main.generation,
            )
            self._stop(main, [f"{base}/transition"])
        else:
            self._stop(main, [f"{base}/create"] if is_needed else begin)
            self._start(new, generation, [*begin, f"{base}/stop"], wanted)
        self._remove(main, [f"{base}/stop", f"{base}/wait"])
        if not is_start_first:
            self._add("rename_container", "rename", [f"{base}/remove"], target=new or "step:create", name=wanted.spec.name)

    def _promote(self, after: list[str], wanted: DesiredContainer) -> None:
        following = self.item.work.next
        assert following is not None
        new = f"id:{following.id}"
        self._start(new, following.generation, after, wanted)
        self._add("rename_container", "rename", [f"{self.item.base}/wait"], target=new, name=wanted.spec.name)

    def _in_place(self, after: list[str]) -> str:
        """Update, attach, detach, rename, in a row. Gives the name of the last draft."""
        work, base = self.item.work, self.item.base
        main, wanted = work.main, work.desired
        assert main is not None
        assert wanted is not None
        target, generation = f"id:{main.id}", main.generation
        paths = {change.path for change in work.change.fields}
        todo: list[tuple[Operation, str, tuple[str, ...]]] = []
        if main.spec.name != wanted.spec.name:
            todo.append(("rename_container", wanted.spec.name, ()))
        if paths & {"mem_limit", "cpus", "restart"}:
            todo.append(("update_container", "", ()))
        aliases_on = {attachment.network: attachment.aliases for attachment in wanted.spec.networks}
        todo.extend(("connect_network", network, aliases_on[network]) for network in work.attach)
        todo.extend(("disconnect_network", network, ()) for network in work.detach)
        last = ""
        for position, (operation, name, aliases) in enumerate(todo):
            label = "settled" if position == len(todo) - 1 else f"settling-{position}"
            before = [last] if last else after
            if operation == "connect_network":
                before = [*before, f"{self.item.host}/network {name}/create"]
            self._add(operation, label, before, target=target, name=name, aliases=aliases, generation=generation)
            last = f"{base}/{label}"
        return last

    def _create(self, name: str, replaces: str, after: list[str], wanted: DesiredContainer) -> None:
        host = self.item.host
        ready = [send_name(self.stack, host, wanted)]
        ready += [f"{host}/network {attachment.network}/create" for attachment in wanted.spec.networks]
        ready += [f"{host}/volume {mount.source}/create" for mount in wanted.spec.mounts if mount.kind == "volume"]
        self._add("create_container", "create", [*after, *ready], other=replaces, name=name, container=wanted)

    def _start(self, target: str, generation: int, after: list[str], wanted: DesiredContainer) -> None:
        base, following = self.item.base, self.item.work.next
        target = target or "step:create"
        frees = [name for port in ports_of(self.item.host, wanted) for name in self.freed.get(port, ())]
        before = [f"{base}/create", *after, *frees]
        if following is None or following.state not in UP:
            self._add("start_container", "start", before, target=target, generation=generation)
            before = [f"{base}/start"]
        until: Literal["healthy", "completed"] = "completed" if (wanted.stack, wanted.service) in self.jobs else "healthy"
        self._add("wait_healthy", "wait", before, target=target, container=wanted, until=until)

    def _leave_first(self, after: list[str], main: ObservedContainer | None) -> None:
        assert main is not None
        self._stop(main, after)
        self._remove(main, [*after, f"{self.item.base}/stop"])

    def _stop(self, main: ObservedContainer, after: list[str]) -> None:
        if main.state in UP:
            self._add(
                "stop_container",
                "stop",
                after,
                target=f"id:{main.id}",
                generation=main.generation,
                grace_ns=main.spec.stop_grace_ns,
            )

    def _remove(self, main: ObservedContainer, after: list[str]) -> None:
        self._add("remove_container", "remove", after, target=f"id:{main.id}", generation=main.generation)

    def _add(
        self,
        operation: Operation,
        label: str,
        after: list[str],
        target: str = "",
        other: str = "",
        name: str = "",
        aliases: tuple[str, ...] = (),
        generation: int = 0,
        grace_ns: int = 0,
        container: DesiredContainer | None = None,
        until: Literal["healthy", "completed"] = "healthy",
    ) -> None:
        base = self.item.base
        step = Step(
            0, operation, self.item.host, self.stack, f"container {self.item.work.change.name}",
            target=f"step:{base}/create" if target == "step:create" else target,
            other=other, name=name, aliases=aliases, generation=generation, grace_ns=grace_ns, container=container, until=until,
        )  # fmt: skip
        if operation == "update_container":
            assert self.item.work.desired is not None
            step = replace(step, spec=self.item.work.desired.spec)
        self.drafts.add(f"{base}/{label}", step, after)


def _id(container: ObservedContainer | None) -> str:
    assert container is not None
    return container.id


def _generation(container: ObservedContainer | None) -> int:
    assert container is not None
    return container.generation


def numbered(drafts: Drafts) -> tuple[Step, ...]:
    """Drafts in an order in which each comes after all it waits for, otherwise as they were drafted."""
    numbers: dict[str, int] = {}
    left = list(drafts.steps)
    done: list[Step] = []
    while left:
        ready = [name for name in left if all(other in numbers or other not in drafts.steps for other in drafts.after[name])]
        if not ready:
            stuck = ", ".join(sorted({drafts.steps[name].object for name in left}))
            raise GitopsdError("dependency-cycle", "these wait for each other", Where(object=stuck), "look at depends_on")
        for name in ready:
            numbers[name] = len(done) + 1
            step = drafts.steps[name]
            target = f"step:{numbers[step.target[5:]]}" if step.target.startswith("step:") else step.target
            after = tuple(sorted({numbers[other] for other in drafts.after[name] if other in drafts.steps}))
            done.append(replace(step, number=numbers[name], target=target, after=after))
        left = [name for name in left if name not in numbers]
    return tuple(done)
