"""Whether and when an ended container starts again.  [pure]

Docker's policies and back-off: 100 ms, doubled to a minute, from the start again after ten seconds of running.
"""

from __future__ import annotations

from typing import Any

FIRST_S, MOST_S, RESET_AFTER_S = 0.1, 60.0, 10.0


def next_delay(delay_s: float, ran_s: float) -> float:
    """The pause before the next start, given the last pause (0 for none) and how long the container ran."""
    if ran_s >= RESET_AFTER_S or delay_s <= 0:
        return FIRST_S
    return min(delay_s * 2, MOST_S)


def should_restart(policy: dict[str, Any], exit_code: int, stopped_by_user: bool, restarts: int) -> bool:
    """After an end that happens now."""
    name = policy["Name"]
    if stopped_by_user:
        return False
    if name in ("always", "unless-stopped"):
        return True
    most = policy["MaximumRetryCount"]
    return name == "on-failure" and exit_code != 0 and (most == 0 or restarts < most)


def should_start_at_boot(policy: dict[str, Any], should_run: bool, exit_code: int) -> bool:
    """When the machine has been started anew; a daemon that is only restarted leaves alone what a person stopped."""
    name = policy["Name"]
    return name == "always" or (should_run and (name == "unless-stopped" or (name == "on-failure" and exit_code != 0)))
