"""Asking every host, each in its own time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from gitopsd.model.errors import GitopsdError, Where
from gitopsd.observe import observe


@dataclass(frozen=True)
class Answer:
    etag: str
    value: dict[str, Any]


class Engine:
    """Answers with one state for ever."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def state(self, etag: str | None = None) -> Answer | None:
        self.asked.append(etag)
        return None if etag == "1" else Answer("1", {"host": {"cpus": 2}})


def failing(error: Exception) -> Callable[[], Engine]:
    def source() -> Engine:
        raise error

    return source


def test_what_to_do_about_a_host_stays_with_its_error() -> None:
    error = GitopsdError("host-key-changed", "another key", Where(host="a"), "compare it")
    assert observe({"a": failing(error)}, "f").hosts[0].error == "host-key-changed: another key\nhint: compare it"


def test_a_host_that_has_not_changed_is_taken_as_it_was() -> None:
    engine = Engine()
    first = observe({"a": lambda: engine}, "test")
    again = observe({"a": lambda: engine}, "test", {"a": first.host("a")})
    assert engine.asked == [None, "1"]
    assert again == first
    assert again.host("a").facts.cpus == 2


def test_one_host_that_fails_is_unknown_and_the_others_are_not() -> None:
    error = GitopsdError("host-unreachable", "no route", Where(host="b"))
    found = observe({"a": Engine, "b": failing(error)}, "test")
    assert found.host("a").is_reachable
    assert found.host("b").error == "host-unreachable: no route"


def test_a_host_that_hangs_does_not_hold_up_the_others() -> None:
    released = threading.Event()

    def hang() -> Engine:
        released.wait(10)
        return Engine()

    found = observe({"a": Engine, "b": hang}, "test", deadline_s=0.2)
    released.set()
    assert found.host("a").is_reachable
    assert found.host("b").error == "no answer within 0.2 s"


def test_what_was_seen_last_of_an_unknown_host_is_kept() -> None:
    first = observe({"a": Engine}, "test")
    found = observe({"a": failing(OSError("gone"))}, "test", {"a": first.host("a")})
    assert (found.host("a").error, found.host("a").facts.cpus) == ("gone", 2)


def test_a_new_host_without_an_engine_has_nothing() -> None:
    error = GitopsdError("engine-unreachable", "no answer on the socket")
    assert observe({"a": failing(error)}, "test", new={"a"}).host("a").is_reachable
    assert not observe({"a": failing(error)}, "test").host("a").is_reachable


def test_a_bug_is_not_taken_for_a_host_that_does_not_answer() -> None:
    with pytest.raises(ZeroDivisionError):
        observe({"a": failing(ZeroDivisionError())}, "test")
