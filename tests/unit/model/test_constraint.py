from __future__ import annotations

import pytest

from gitopsd.model.constraint import parse_constraint
from gitopsd.model.fleet import Host

HOST = Host("a", "10.0.0.1", labels=(("disk", "fast nvme"), ("zone", "a")))


@pytest.mark.parametrize(
    ("text", "accepts"),
    [
        ("node.labels.zone == a", True),
        ("node.labels.zone==a", True),
        ("node.labels.zone == b", False),
        ("node.labels.zone != b", True),
        ("node.labels.disk == fast nvme", True),
        ("node.labels.rack == 1", False),
        ("node.labels.rack != 1", True),
        ("node.hostname == a", True),
        (" node.hostname!=a ", False),
    ],
)
def test_a_constraint_compares_a_label_or_the_host_s_name(text, accepts):
    assert parse_constraint(text).accepts(HOST) is accepts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("node.role == manager", "not there yet"),
        ("engine.labels.x == 1", "not there yet"),
        ("node.label.zone == a", "not known"),
        ("node.labels. == a", "not known"),
        ("zone", "not of the form"),
        ("node.labels.zone = a", "not of the form"),
        ("node.labels.zone ==", "not of the form"),
        ("", "not of the form"),
    ],
)
def test_another_constraint_is_refused_with_what_there_is(text, said):
    with pytest.raises(ValueError, match=said):
        parse_constraint(text)
