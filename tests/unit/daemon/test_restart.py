import pytest

from gitopsd.engine.daemon import restart


def policy(name: str, most: int = 0) -> dict[str, object]:
    return {"Name": name, "MaximumRetryCount": most}


def test_the_pause_doubles_to_a_minute_and_begins_again_after_ten_seconds_of_running() -> None:
    delays = [0.0]
    for _ in range(12):
        delays.append(restart.next_delay(delays[-1], ran_s=1))
    assert delays[1:5] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 60
    assert restart.next_delay(60, ran_s=10) == 0.1


@pytest.mark.parametrize(
    ("name", "most", "code", "by_user", "restarts", "again"),
    [
        ("no", 0, 1, False, 0, False),
        ("always", 0, 0, False, 99, True),
        ("always", 0, 0, True, 0, False),
        ("unless-stopped", 0, 0, False, 0, True),
        ("on-failure", 0, 0, False, 0, False),
        ("on-failure", 0, 1, False, 1000, True),
        ("on-failure", 3, 1, False, 2, True),
        ("on-failure", 3, 1, False, 3, False),
    ],
)
def test_policies_decide_as_docker_s_do(name: str, most: int, code: int, by_user: bool, restarts: int, again: bool) -> None:
    assert restart.should_restart(policy(name, most), code, by_user, restarts) is again


def test_after_a_boot_a_container_that_a_person_stopped_stays_stopped_unless_always() -> None:
    assert restart.should_start_at_boot(policy("always"), should_run=False, exit_code=0)
    assert not restart.should_start_at_boot(policy("unless-stopped"), should_run=False, exit_code=0)
    assert restart.should_start_at_boot(policy("unless-stopped"), should_run=True, exit_code=137)
    assert restart.should_start_at_boot(policy("on-failure"), should_run=True, exit_code=137)
    assert not restart.should_start_at_boot(policy("no"), should_run=True, exit_code=137)
