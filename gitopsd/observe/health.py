"""How a service is: Healthy, Progressing or Degraded.  [pure]

In: the containers of one service on one host.  Out: its health, with one clause that says why it is not Healthy.

Healthy: as many as wanted run, and none of them is anything but healthy (without a health check: it runs). Degraded: one is unhealthy,
failed, restarts over and over, or is missing. Progressing: on the way, and nothing has gone wrong yet.
"""

from __future__ import annotations

from gitopsd.model.observed import ObservedContainer
from gitopsd.model.status import Health


def health_of(containers: tuple[ObservedContainer, ...], wanted: int, is_job: bool = False) -> tuple[Health, str]:
    """The health of a service of which `wanted` replicas should be here; a job is well when it has ended with 0."""
    answering = [item for item in containers if item.replaces is None]
    for container in answering:
        fault = _fault(container, is_job)
        if fault:
            return "Degraded", f"{container.spec.name} {fault}"
    if len(answering) < wanted:
        return "Degraded", f"{wanted - len(answering)} of {wanted} missing"
    for container in answering:
        if container.state == "created" or container.health == "starting":
            return "Progressing", f"{container.spec.name} is starting"
    return "Healthy", ""


def worst(found: list[Health]) -> Health:
    order: tuple[Health, ...] = ("Degraded", "Unknown", "Progressing")
    for health in order:
        if health in found:
            return health
    return "Healthy"


def _fault(container: ObservedContainer, is_job: bool) -> str:
    if container.health == "unhealthy":
        return "is unhealthy"
    if container.state in ("restarting", "dead", "paused"):
        return f"is {container.state}"
    if container.state == "exited" and not (is_job and container.exit_code == 0):
        return f"has stopped with exit code {container.exit_code}"
    return ""
