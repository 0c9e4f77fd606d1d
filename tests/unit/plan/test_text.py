"""How a plan reads where nothing is done, or not all is known."""

from __future__ import annotations

from gitopsd.model.observed import HostObserved, Observed, ObservedVolume
from gitopsd.plan import plan, render_text
from tests.fakes.values import NOW, a_container, a_desired, a_host, a_volume, an_observed_host, observed_from


def test_volumes_that_are_only_kept_make_no_block_of_an_empty_plan() -> None:
    host = an_observed_host("a", volumes=(ObservedVolume(1, a_volume("blog").spec, "blog"),))
    lines = render_text(plan(a_desired(a_host("a")), Observed((host,)), NOW)).splitlines()
    assert lines[1:] == ["", "Nothing to do: 0 objects are as they should be. 1 volume that Git no longer names: kept."]


def test_one_that_shows_another_host_key_is_stopped_and_the_way_to_check_it_shown() -> None:
    why = "host-key-changed: it shows another key\nhint: compare on its console"
    made = plan(a_desired(a_host("a")), Observed((HostObserved("a", error=why),)), NOW)
    assert render_text(made).splitlines()[2:] == [
        "stopped   host a: host-key-changed: it shows another key",
        "          hint: compare on its console",
        "",
        "Nothing can be done now: 1 host is unknown; 0 objects are as they should be.",
    ]


def test_changes_beside_what_is_held_say_so_at_their_end() -> None:
    observed = Observed((an_observed_host("a", observed_from(a_container("blog"))), HostObserved("b", error="gone")))
    made = plan(a_desired(a_host("a", a_container())), observed, NOW, blocked=(("blog", "a slip"),))
    assert render_text(made).splitlines()[-1].endswith("Held back: 1 stack is blocked, 1 host is unknown.")
