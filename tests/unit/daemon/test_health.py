from typing import Any

from gitopsd.engine.daemon import health

CHECK = health.effective({"Test": ["CMD", "true"], "Retries": 2, "Interval": 10**9})


def result(code: int) -> dict[str, Any]:
    return {"Start": "", "End": "", "ExitCode": code, "Output": "x" * 5000}


def run(codes: list[int], in_start_period: bool = False) -> dict[str, Any]:
    assert CHECK is not None
    state = health.initial()
    for code in codes:
        state = health.after(state, result(code), CHECK, in_start_period)
    return state


def test_it_is_starting_until_the_first_success_and_unhealthy_after_retries_failures() -> None:
    assert run([])["Status"] == "starting"
    assert run([0])["Status"] == "healthy"
    assert run([1])["Status"] == "starting"
    assert run([1, 1])["Status"] == "unhealthy"
    assert run([0, 1])["Status"] == "healthy"
    assert run([1, 1, 0]) == {**run([1, 1, 0]), "Status": "healthy", "FailingStreak": 0}


def test_failures_within_the_start_period_do_not_count_until_a_success_ended_it() -> None:
    assert run([1, 1, 1], in_start_period=True) == {**run([1, 1, 1], True), "Status": "starting", "FailingStreak": 0}
    assert run([0, 1, 1], in_start_period=True)["Status"] == "unhealthy"


def test_five_results_are_kept_with_the_beginning_of_their_output() -> None:
    log = run([0] * 9)["Log"]
    assert len(log) == 5
    assert {len(entry["Output"]) for entry in log} == {4096}


def test_defaults_are_docker_s_and_none_means_no_check() -> None:
    assert health.effective(None) is None
    assert health.effective({"Test": ["NONE"]}) is None
    assert health.effective({"Test": ["CMD", "x"]}) == {
        "Test": ["CMD", "x"], "Interval": 30 * 10**9, "Timeout": 30 * 10**9, "StartPeriod": 0, "StartInterval": 5 * 10**9, "Retries": 3,
    }  # fmt: skip


def test_in_the_start_period_checks_come_as_often_as_the_start_interval_says() -> None:
    check = health.effective({"Test": ["CMD", "x"], "StartInterval": 10**8, "StartPeriod": 10**10})
    assert check is not None
    assert health.pause_ns(health.initial(), check, in_start_period=True) == 10**8
    assert health.pause_ns(health.initial(), check, in_start_period=False) == 30 * 10**9
    assert health.pause_ns({**health.initial(), "Status": "healthy"}, check, in_start_period=True) == 30 * 10**9


def test_a_shell_check_runs_in_the_shell() -> None:
    assert health.command({"Test": ["CMD-SHELL", "a && b"]}) == ["/bin/sh", "-c", "a && b"]
    assert health.command({"Test": ["CMD", "a", "b"]}) == ["a", "b"]
