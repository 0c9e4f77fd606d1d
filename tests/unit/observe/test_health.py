"""Healthy, Progressing or Degraded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gitopsd.observe import health_of, worst
from tests.fakes.values import a_container, a_healthcheck, observed_from

WELL = observed_from(a_container(healthcheck=a_healthcheck()))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "Healthy"),
        ({"health": "none"}, "Healthy"),
        ({"health": "starting"}, "Progressing"),
        ({"state": "created"}, "Progressing"),
        ({"health": "unhealthy"}, "Degraded"),
        ({"state": "exited", "exit_code": 0}, "Degraded"),
        ({"state": "restarting"}, "Degraded"),
    ],
)
def test_one_container_decides(given: dict[str, Any], expected: str) -> None:
    assert health_of((replace(WELL, **given),), wanted=1)[0] == expected


def test_a_missing_replica_is_degraded() -> None:
    assert health_of((WELL,), wanted=2) == ("Degraded", "1 of 2 missing")


def test_one_that_waits_to_take_over_does_not_count() -> None:
    waiting = replace(WELL, state="created", replaces="abc")
    assert health_of((WELL, waiting), wanted=1)[0] == "Healthy"


def test_a_job_is_well_when_it_has_ended_with_0() -> None:
    ended = replace(WELL, state="exited", health="none")
    assert health_of((ended,), wanted=1, is_job=True)[0] == "Healthy"
    assert health_of((replace(ended, exit_code=1),), wanted=1, is_job=True)[0] == "Degraded"


def test_the_worst_of_several_is_the_health_of_all() -> None:
    assert worst(["Healthy", "Progressing", "Degraded"]) == "Degraded"
    assert worst([]) == "Healthy"
