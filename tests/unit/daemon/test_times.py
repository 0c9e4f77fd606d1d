import pytest

from gitopsd.engine.daemon import times


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (119, "About a minute"),
        (120, "2 minutes"), (45 * 60, "45 minutes"), (47 * 60, "About an hour"), (2 * 3600, "2 hours"), (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"), (14 * 86400, "2 weeks"), (70 * 86400, "2 months"), (800 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_durations_read_as_docker_ps_has_them(seconds: float, text: str) -> None:
    assert times.human(seconds) == text


def test_a_moment_comes_back_from_its_text() -> None:
    moment = 1_700_000_000_123_456_789
    assert times.rfc3339(moment) == "2023-11-14T22:13:20.123456789Z"
    assert times.parse(times.rfc3339(moment)) == moment
    assert times.parse("1700000000.123456789") == moment
    assert times.parse("2023-11-14T23:13:20+01:00") == 1_700_000_000 * 10**9
    assert times.rfc3339(0) == times.ZERO


@pytest.mark.parametrize("text", ["yesterday", "-5", "12h", "2023-11-14"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        times.parse(text)
