"""Filters of the container list."""

from __future__ import annotations

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.daemon.filters import filtered


@pytest.mark.parametrize(
    "filters", [{"status": ["foo"]}, {"status": ["running", "foo"]}, {"health": ["well"]}, {"colour": ["red"]}]
)
def test_a_filter_that_means_nothing_is_refused_though_there_is_no_container(filters):
    with pytest.raises(ApiError, match="invalid filter") as caught:
        filtered([], filters, False, 0)
    assert caught.value.status == 400


def test_what_is_known_is_taken():
    assert filtered([], {"status": ["running", "exited"], "health": ["none"]}, True, 0) == []
