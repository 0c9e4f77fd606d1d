"""Revisions as people read them."""

from __future__ import annotations

from gitopsd.model.revision import RevisionName, short


def test_a_commit_is_named_with_its_reference_and_what_is_in_none_is_not_given_one() -> None:
    assert RevisionName("r", "main", "3f2a9c1" + "0" * 33, "s").short == "main@3f2a9c1"
    assert short("working tree", "0" * 40) == "working tree"
