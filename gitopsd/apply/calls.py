"""One step of a plan as calls to one host's engine.

Rule 1: every step may run again: what is done already counts as done. So a call whose answer was lost is simply made again.
Rule 2: every call carries the lease of its stack, and the first that touches an object the generation that the plan saw.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from gitopsd.apply.gate import Timing, wait_healthy
from gitopsd.apply.images import ImageSource, Progress, send_image
from gitopsd.hosts import bodies
from gitopsd.hosts.bodies import image_name
from gitopsd.hosts.engineapi import EngineApi, Held
from gitopsd.hosts.enginehttp import EngineError
from gitopsd.model.desired import DesiredContainer, ImageChoice
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.outcome import Images
from gitopsd.model.plan import Step
from gitopsd.model.stack import Attachment

_SECOND = 1_000_000_000
_DEFAULT_GRACE_S = 10


@dataclass
class Made:
    """What steps made, for those after them: the id by the step's number."""

    ids: dict[int, str] = field(default_factory=dict[int, str])
    touched: set[str] = field(default_factory=set[str])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def resolve(self, reference: str) -> str:
        kind, _, value = reference.partition(":")
        with self.lock:
            return value if kind == "id" else self.ids[int(value)]

    def touch(self, *references: str) -> None:
        """This plan has changed them: from now on their generation is of our making."""
        with self.lock:
            self.touched.update(references)


@dataclass(frozen=True)
class Calls:
    """Everything that a step needs, on any host."""

    fleet: str
    source: ImageSource
    images: Images
    made: Made
    timing: Timing
    ending: threading.Event = field(default_factory=threading.Event)
    """Set when this is to end early: what only waits, or only sends, gives up."""
    sending: dict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))
    """One image at a time to a host: two of them have layers in common, which then travel once."""

    def run(self, step: Step, engine: EngineApi, lease: Held | None, is_again: bool, progress: Progress) -> str | None:
        """Carry out a step; what it made, if it made something. `is_again`: an answer was lost, it may be done."""
        made = _OPERATIONS[step.operation](self, _Call(step, engine, lease, is_again, progress))
        if step.operation == "transition":
            self.made.touch(step.target, step.other)
        elif step.operation != "wait_healthy":
            self.made.touch(step.target, f"step:{step.number}")
        return made

    def image(self, image: ImageChoice) -> ImageChoice:
        """With its digest, if it had to be built first."""
        return replace(image, digest=image.digest or self.images.digest(image.key))


@dataclass(frozen=True)
class _Call:
    step: Step
    engine: EngineApi
    lease: Held | None
    is_again: bool
    progress: Progress


def _generation(calls: Calls, call: _Call, reference: str) -> int | None:
    """What the plan saw, on the first change of an object; after that it is ours, under our lease."""
    planned = call.step.generation
    if not planned or reference in calls.made.touched:
        return None
    if not call.is_again:
        return planned
    now = _generation_now(call.engine, calls.made.resolve(reference))
    if now not in (None, planned, planned + 1):
        message = f"it is at generation {now}, the plan saw {planned}"
        raise GitopsdError("generation-changed", message, Where(host=call.engine.host, object=call.step.object), next="retry")
    return planned if now == planned else None


def _generation_now(engine: EngineApi, identity: str) -> int | None:
    state = engine.state()
    assert state is not None
    objects = [*state.value["containers"], *state.value["networks"]]
    return next((int(item["generation"]) for item in objects if item["inspect"]["Id"] == identity), None)


def _send_image(calls: Calls, call: _Call) -> str | None:
    assert call.step.image is not None
    with calls.sending[call.step.host]:
        return send_image(
            call.engine, calls.source, calls.image(call.step.image), call.step.name, call.lease, call.progress, calls.ending
        )


def _create_network(calls: Calls, call: _Call) -> str | None:
    wanted = call.step.network
    assert wanted is not None
    try:
        return call.engine.create_network(bodies.network_body(wanted, calls.fleet), call.lease)
    except EngineError as error:
        if error.status != 409:
            raise
        for shown in call.engine.networks():
            if shown["Name"] == wanted.spec.name and shown["Labels"].get("gitopsd.config") == wanted.config:
                return str(shown["Id"])
        raise


def _remove_network(calls: Calls, call: _Call) -> str | None:
    generation = _generation(calls, call, call.step.target)
    _gone_is_done(lambda: call.engine.remove_network(calls.made.resolve(call.step.target), call.lease, generation))
    return None


def _create_volume(calls: Calls, call: _Call) -> str | None:
    assert call.step.volume is not None
    call.engine.create_volume(bodies.volume_body(call.step.volume, calls.fleet), call.lease)
    return None


def _create_container(calls: Calls, call: _Call) -> str | None:
    wanted = call.step.container
    assert wanted is not None
    made = _made_before(call.engine, call.step.name, wanted, calls.fleet) if call.is_again else None
    spec = replace(wanted, spec=replace(wanted.spec, image=calls.image(wanted.spec.image)))
    if made is None:
        replaces = calls.made.resolve(call.step.other) if call.step.other else None
        try:
            made = call.engine.create_container(call.step.name, bodies.container_body(spec, calls.fleet, replaces), call.lease)
        except EngineError as error:
            if error.status == 409:
                raise GitopsdError("generation-changed", error.message, next="retry") from error  # the plan saw no such name
            raise
    with calls.made.lock:
        calls.made.ids[call.step.number] = made
    _check_image(call.engine, made, image_name(spec.spec.image), call.step.object)
    return made


def _check_image(engine: EngineApi, container: str, image: str, about: str) -> None:
    """The bytes that will run are those that were planned."""
    runs, planned = engine.container(container)["Image"], engine.image(image)["Id"]
    if runs != planned:
        raise GitopsdError("image-differs", f"it would run {runs}, the plan says {image}", Where(host=engine.host, object=about))


def _made_before(engine: EngineApi, name: str, wanted: DesiredContainer, fleet: str) -> str | None:
    try:
        shown = engine.container(name)
    except EngineError as error:
        if error.status == 404:
            return None
        raise
    labels = cast("dict[str, str]", shown["Config"]["Labels"])
    is_ours = (labels.get("gitopsd.fleet"), labels.get("gitopsd.config")) == (fleet, wanted.config)
    return str(shown["Id"]) if is_ours else None


def _start(calls: Calls, call: _Call) -> str | None:
    generation = _generation(calls, call, call.step.target)
    call.engine.start(calls.made.resolve(call.step.target), call.lease, generation)
    return None


def _wait(calls: Calls, call: _Call) -> str | None:
    assert call.step.container is not None
    container = calls.made.resolve(call.step.target)
    wait_healthy(call.engine, container, call.step.container.spec, call.step.until, calls.timing, calls.ending)
    return None


def _transition(calls: Calls, call: _Call) -> str | None:
    old, new = calls.made.resolve(call.step.other), calls.made.resolve(call.step.target)
    generation = _generation(calls, call, call.step.other)
    call.engine.transition(old, new, {} if generation is None else {old: generation}, call.lease)
    return None


def _update(calls: Calls, call: _Call) -> str | None:
    assert call.step.spec is not None
    generation = _generation(calls, call, call.step.target)
    call.engine.update(calls.made.resolve(call.step.target), bodies.update_body(call.step.spec), call.lease, generation)
    return None


def _connect(calls: Calls, call: _Call) -> str | None:
    container = calls.made.resolve(call.step.target)
    if call.step.name not in _networks_of(call.engine, container):
        endpoint = bodies.endpoint_body(Attachment(call.step.name, call.step.aliases))
        call.engine.connect(call.step.name, container, endpoint, call.lease)
    return None


def _disconnect(calls: Calls, call: _Call) -> str | None:
    container = calls.made.resolve(call.step.target)
    if call.step.name in _networks_of(call.engine, container):
        call.engine.disconnect(call.step.name, container, lease=call.lease)
    return None


def _networks_of(engine: EngineApi, container: str) -> dict[str, Any]:
    return cast("dict[str, Any]", engine.container(container)["NetworkSettings"]["Networks"])


def _rename(calls: Calls, call: _Call) -> str | None:
    container = calls.made.resolve(call.step.target)
    generation = _generation(calls, call, call.step.target)
    if call.engine.container(container)["Name"] != f"/{call.step.name}":
        call.engine.rename(container, call.step.name, call.lease, generation)
    return None


def _stop(calls: Calls, call: _Call) -> str | None:
    grace_s = -(-call.step.grace_ns // _SECOND) or _DEFAULT_GRACE_S
    generation = _generation(calls, call, call.step.target)
    container = calls.made.resolve(call.step.target)
    _gone_is_done(lambda: call.engine.stop(container, grace_s, call.lease, generation))
    return None


def _remove(calls: Calls, call: _Call) -> str | None:
    generation = _generation(calls, call, call.step.target)
    container = calls.made.resolve(call.step.target)
    _gone_is_done(lambda: call.engine.remove(container, lease=call.lease, generation=generation))
    return None


def _gone_is_done(call: Callable[[], None]) -> None:
    try:
        call()
    except EngineError as error:
        if error.status != 404:
            raise


_OPERATIONS: Mapping[str, Callable[[Calls, _Call], str | None]] = {
    "send_image": _send_image,
    "create_network": _create_network,
    "remove_network": _remove_network,
    "create_volume": _create_volume,
    "create_container": _create_container,
    "start_container": _start,
    "wait_healthy": _wait,
    "transition": _transition,
    "update_container": _update,
    "connect_network": _connect,
    "disconnect_network": _disconnect,
    "rename_container": _rename,
    "stop_container": _stop,
    "remove_container": _remove,
}
