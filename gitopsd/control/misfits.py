"""What cannot work on the fleet's hosts, known from the files alone.  [pure]

In: Rendered.  Out: for each stack that could not be placed if nothing ran anywhere yet, why: ports and names that two want, constraints
that no host meets, networks between hosts.

Rule: a fleet must be able to begin anew, so what stands where it is by chance alone counts as wrong. Hosts in maintenance count as
open, since they come back; images count as found, since no registry is asked.
"""

from __future__ import annotations

from dataclasses import replace

from gitopsd.model.desired import BuildWant, PinnedImage, Pins
from gitopsd.model.observed import Observed
from gitopsd.model.rendered import Rendered
from gitopsd.model.stack import BlockedStack
from gitopsd.place import place

_DIGEST = "sha256:" + "0" * 64


def misfits(rendered: Rendered) -> tuple[BlockedStack, ...]:
    """The stacks that are right by themselves and cannot be placed."""
    services = [(stack.name, service) for stack in rendered.stacks for service in stack.services]
    pins = Pins(
        images=tuple(PinnedImage(service.image, _DIGEST) for _, service in services if service.image and not service.build),
        builds=tuple(
            BuildWant(stack, service.name, "", "", "", "", "", (), (), "", 0, _DIGEST)
            for stack, service in services
            if service.build
        ),
    )
    hosts = tuple(replace(host, maintenance=False) for host in rendered.fleet.hosts)
    placed = place(replace(rendered, fleet=replace(rendered.fleet, hosts=hosts)), pins, Observed(()))
    wrong = {stack.name for stack in rendered.blocked}
    return tuple(stack for stack in placed.blocked if stack.name not in wrong)
