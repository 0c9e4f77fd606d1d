"""Health checks: what their results make of a container, and that they end."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.engine.running import Engine, until

pytestmark = pytest.mark.host

_MS = 1_000_000


def check(*test: str, **settings: int) -> dict[str, Any]:
    return {"Test": list(test), "Interval": 30 * _MS, "Timeout": 2000 * _MS, "Retries": 2, **settings}


def health(engine: Engine, container: str) -> dict[str, Any]:
    return engine.status(container)["Health"]


def test_a_check_that_succeeds_makes_a_container_healthy(engine: Engine) -> None:
    made = engine.run("sleep", "1000", Healthcheck=check("CMD-SHELL", "echo all is well"))
    assert health(engine, made)["Status"] == "starting"
    until(lambda: health(engine, made)["Status"] == "healthy", "it is healthy")
    last = health(engine, made)["Log"][-1]
    assert (last["ExitCode"], last["Output"]) == (0, "all is well\n")
    assert last["Start"] < last["End"]


def test_a_check_that_fails_makes_it_unhealthy_and_it_recovers(engine: Engine) -> None:
    made = engine.run("sleep", "1000", Healthcheck=check("CMD", "test", "-e", "/well"))
    until(lambda: health(engine, made)["Status"] == "unhealthy", "it is unhealthy")
    assert health(engine, made)["FailingStreak"] >= 2
    engine.execute(made, "touch", "/well")
    until(lambda: health(engine, made)["Status"] == "healthy", "it is healthy")
    assert health(engine, made)["FailingStreak"] == 0
    assert len(health(engine, made)["Log"]) <= 5


def test_a_check_that_takes_too_long_is_killed(engine: Engine) -> None:
    made = engine.run("sleep", "1000", Healthcheck=check("CMD", "sleep", "555", Timeout=50 * _MS, Retries=1))
    until(lambda: health(engine, made)["Status"] == "unhealthy", "it is unhealthy")
    assert "timeout" in health(engine, made)["Log"][-1]["Output"]
    engine.client.call("POST", f"/containers/{made}/update", {"PidsLimit": 50})
    until(lambda: engine.execute(made, "ps", "-o", "args").out.count("sleep 555") <= 1, "one runs at a time at most")


def test_a_check_whose_child_holds_its_output_does_not_hang(engine: Engine) -> None:
    made = engine.run("sleep", "1000", Healthcheck=check("CMD-SHELL", "sleep 555 & echo started", Timeout=100 * _MS, Retries=1))
    until(lambda: len(health(engine, made)["Log"]) >= 2, "checks go on")


def test_a_check_that_cannot_be_run_counts_as_failed(engine: Engine) -> None:
    made = engine.run("sleep", "1000", Healthcheck=check("CMD", "no-such-program", Retries=1))
    until(lambda: health(engine, made)["Status"] == "unhealthy", "it is unhealthy")
    assert "not found" in health(engine, made)["Log"][-1]["Output"]


def test_failures_in_the_start_period_do_not_count(engine: Engine) -> None:
    settings = {"StartPeriod": 3600 * 1000 * _MS, "StartInterval": 20 * _MS, "Interval": 20 * _MS, "Retries": 1}
    made = engine.run("sleep", "1000", Healthcheck=check("CMD", "test", "-e", "/well", **settings))
    until(lambda: len(health(engine, made)["Log"]) >= 3, "it was checked")
    assert (health(engine, made)["Status"], health(engine, made)["FailingStreak"]) == ("starting", 0)
    engine.execute(made, "touch", "/well")
    until(lambda: health(engine, made)["Status"] == "healthy", "the first success ends it")


def test_a_check_that_floods_keeps_four_kilobytes(engine: Engine) -> None:
    made = engine.run("sleep", "1000", Healthcheck=check("CMD-SHELL", "head -c 3000000 /dev/zero | tr '\\0' x"))
    until(lambda: health(engine, made)["Log"], "it was checked")
    assert health(engine, made)["Log"][0]["Output"] == "x" * 4096


def test_an_image_brings_a_check_that_a_container_may_switch_off(engine: Engine) -> None:
    engine.load("checked", Healthcheck={"Test": ["CMD", "true"], "Interval": 30 * _MS})
    made = engine.run("sleep", "1000", image="checked")
    until(lambda: health(engine, made)["Status"] == "healthy", "it is checked")
    assert "Health" not in engine.status(engine.run("sleep", "1000", image="checked", Healthcheck={"Test": ["NONE"]}))


def test_health_ends_with_the_container_and_begins_anew(engine: Engine) -> None:
    made = engine.run("sleep", "1000", Healthcheck=check("CMD", "true"))
    until(lambda: health(engine, made)["Status"] == "healthy", "it is healthy")
    engine.client.call("POST", f"/containers/{made}/kill")
    assert health(engine, made)["Status"] in ("healthy", "unhealthy")
    engine.start_container(made)
    assert health(engine, made)["Status"] in ("starting", "healthy")
    until(lambda: health(engine, made)["Status"] == "healthy", "it is healthy again")


def test_checks_leave_no_descriptor_and_no_process(engine: Engine) -> None:
    made = engine.run("sleep", "1000", Healthcheck=check("CMD", "true", Interval=5 * _MS))
    until(lambda: health(engine, made)["Log"], "it was checked")
    before = len(os.listdir(f"/proc/{engine.pid}/fd"))
    seen = health(engine, made)["Log"][-1]["End"]
    for _ in range(3):
        until(lambda seen=seen: health(engine, made)["Log"][0]["Start"] > seen, "five more checks were made")
        seen = health(engine, made)["Log"][-1]["End"]
    until(lambda: len(os.listdir(f"/proc/{engine.pid}/fd")) <= before + 4, "descriptors are closed")
