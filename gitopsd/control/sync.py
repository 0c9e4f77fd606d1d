"""One sync: the nine verbs in order. The only place where the rooms meet.

    source -> render -> pin -> observe -> place -> plan -> build -> apply -> report

`look` goes as far as the plan and changes nothing. `sync` goes to the end. What a sync leaves in the store and on the hosts is in settle.py,
which stacks it may touch in choose.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from gitopsd.apply import Timing, Watch, apply
from gitopsd.apply.run import DEFAULT_TIMING, QUIET
from gitopsd.build import QUIET as NO_BUILDS
from gitopsd.build import BuildWatch, build
from gitopsd.control.clock import now
from gitopsd.control.held import hold_back
from gitopsd.control.left import left_hosts
from gitopsd.control.reach import Brought
from gitopsd.control.settle import settle, with_digests
from gitopsd.control.wiring import Wiring
from gitopsd.model.desired import Desired, Pins
from gitopsd.model.errors import GitopsdError
from gitopsd.model.observed import HostObserved, Observed
from gitopsd.model.outcome import Images, Outcome, StepOutcome
from gitopsd.model.plan import Plan, Step
from gitopsd.model.rendered import Rendered
from gitopsd.model.revision import Revision, RevisionName
from gitopsd.model.status import Status
from gitopsd.observe import health_of, observe
from gitopsd.pin import pin
from gitopsd.place import place
from gitopsd.plan import only, plan
from gitopsd.report import make_status
from gitopsd.store import rebuild


@dataclass(frozen=True)
class View:
    """Everything up to the plan."""

    revision: Revision
    rendered: Rendered
    pins: Pins
    observed: Observed
    desired: Desired
    plan: Plan
    left: Mapping[str, str]
    """Hosts that left the fleet, and what to know of each."""
    brought: tuple[Brought, ...] = ()


@dataclass(frozen=True)
class Synced:
    view: View
    plan: Plan
    """The part of the plan that was chosen; `view` is how things are afterwards."""
    outcome: Outcome
    status: Status


def look(
    work: Wiring,
    revision: Revision,
    known: Pins | None = None,
    bring: bool = False,
    is_retry: bool = True,
    pins: Pins | None = None,
) -> View:
    """What would happen at a revision.

    `known`: pins to fall back on while a registry does not answer; `pins`: pins to take as they are. `bring`: first have the engine on every
    host, and the embedded registry up; without it nothing is started anywhere. `is_retry`: try what failed at this commit again.
    """
    rendered = work.renderer.render(revision)
    fleet, reach, store = rendered.fleet, work.reach(rendered.fleet), work.store
    if bring:
        work.services.ensure_registry(fleet.registry)
    observed, brought = _observe(work, rendered, bring)
    if pins is None:  # after the hosts have said what they are
        pins = pin(revision, rendered, work.lookups(fleet), reach.platform(observed), known)
    previous = store.previous()
    bad = () if is_retry else store.bad_revisions()
    desired, blocked = hold_back(place(rendered, pins, observed), previous, bad, revision.commit)
    left = left_hosts(work, fleet)
    notes = tuple(left.values())
    made = plan(desired, observed, now(), RevisionName.of(revision), pins.builds, blocked, previous, notes=notes)
    return View(revision, rendered, pins, observed, desired, made, left, brought)


def sync(
    work: Wiring,
    view: View,
    stacks: Collection[str] | None = None,
    allow: Collection[str] = (),
    watch: Watch = QUIET,
    timing: Timing = DEFAULT_TIMING,
    builds: BuildWatch = NO_BUILDS,
    ending: threading.Event | None = None,
) -> Synced:
    """Carry out a view's plan, or the part of it that is about `stacks`. `allow`: codes of guards that a person lifts; `ending`: set
    when it is to end early."""
    _check_names(view, stacks or ())
    refused = [f"{code}: {sentence}" for code, sentence in view.plan.refused if code not in allow]
    if refused:
        codes = " ".join(f"--allow {code}" for code, _ in view.plan.refused)
        raise GitopsdError("refused", "; ".join(refused), hint=f"if it is meant: {codes}")
    fleet, reach, store = view.rendered.fleet, work.reach(view.rendered.fleet), work.store
    chosen = view.plan if stacks is None else only(view.plan, stacks)
    started_at = now()
    if chosen.is_empty:
        outcome = Outcome(chosen, (), "nothing", started_at, 0.0)
        settle(store, reach.engine, view.desired, view.plan, outcome, Images(), started_at)
        return Synced(view, chosen, outcome, status_of(work, view))
    begun = time.monotonic()
    number = store.begin_sync(chosen, started_at)

    def ended(step: Step, outcome: StepOutcome) -> None:
        store.record_step(number, outcome)
        watch.ended(step, outcome)

    try:
        registries = work.registries(fleet)
        images = build(chosen, view.revision.tree, lambda: work.services.builder(fleet.registry), registries, builds, ending)
        journal, holder = replace(watch, ended=ended), work.holder
        outcome = apply(chosen, reach.engine, work.images(fleet), images, holder, started_at, journal, timing, ending=ending)
        outcome = replace(outcome, seconds=time.monotonic() - begun)
    except BaseException:  # also one that was told to end at once: its true time is known
        store.end_sync(number, Outcome(chosen, (), "interrupted", started_at, time.monotonic() - begun))
        raise
    store.end_sync(number, outcome)
    settle(store, reach.engine, view.desired, view.plan, outcome, images, started_at)
    observed, _ = _observe(work, view.rendered, bring=False)
    desired = with_digests(view.desired, images)
    left = plan(desired, observed, now(), chosen.revision, view.pins.builds, view.plan.blocked, store.previous())
    after = replace(view, observed=observed, desired=desired, plan=left)
    return Synced(after, chosen, outcome, status_of(work, after))


def _check_names(view: View, stacks: Collection[str]) -> None:
    known = {entry.name for entry in view.rendered.fleet.stacks} | {change.stack for change in view.plan.changes}
    for stack in stacks:
        if stack not in known | dict(view.plan.blocked).keys():
            raise no_such_stack(stack, known)


def no_such_stack(stack: str, known: Collection[str]) -> GitopsdError:
    hint = f"there are {', '.join(sorted(known))}" if known else None
    return GitopsdError("no-such-stack", f"the fleet file lists no stack {stack}", hint=hint)


def status_of(work: Wiring, view: View) -> Status:
    return make_status(view.rendered.fleet, view.desired, view.observed, view.plan, work.store.applied(), health_of, now())


def _observe(work: Wiring, rendered: Rendered, bring: bool) -> tuple[Observed, tuple[Brought, ...]]:
    fleet, reach, store, last = rendered.fleet, work.reach(rendered.fleet), work.store, work.seen.last
    new = {host.name for host in reach.hosts} - set(store.host_numbers())
    observed = observe(reach.sources(), fleet.name, last, new)
    reach.note_silence(observed)
    rebuild(store, observed)
    brought: tuple[Brought, ...] = ()
    if bring:
        errors = {host.host: host.error or "" for host in observed.hosts}
        wanted = {name for name, error in errors.items() if error.startswith("engine-unreachable")}
        wanted |= {name for name, error in errors.items() if not error and name not in reach.brought}
        brought = reach.bring(observed, store, wanted)
        if any(host.done for host in brought):
            observed = observe(reach.sources(), fleet.name, last, new)
        failed = {host.host: host.error for host in brought if host.error is not None}
        observed = Observed(tuple(_with_error(host, failed.get(host.host)) for host in observed.hosts))
    work.seen.remember(observed)
    return observed, brought


def _with_error(host: HostObserved, error: GitopsdError | None) -> HostObserved:
    """Why bootstrap failed says more than that nobody answers; a host whose engine answers can still be used."""
    if error is None or (host.error is None and host.etag):
        return host
    return replace(host, error=error.brief)
