from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gitopsd.source import Repository, Watcher

PATIENCE_S = 20.0
NEVER_S = 3600.0


@pytest.fixture(params=["work tree", "linked worktree", "bare", "packed"])
def watched(request, upstream, tmp_path):
    """A repository of each form, and how a commit reaches it."""
    upstream.commit({"a": "1"})
    upstream.git("branch", "feature/one")
    path: Path = upstream.path
    if request.param == "linked worktree":
        path = tmp_path / "linked"
        upstream.git("worktree", "add", "--quiet", "-b", "side", str(path))
    if request.param == "bare":
        path = tmp_path / "bare.git"
        upstream.git("clone", "--quiet", "--bare", str(upstream.path), str(path))
        upstream.git("remote", "add", "bare", str(path))
    if request.param == "packed":
        upstream.git("pack-refs", "--all")

    def change(branch: str) -> None:
        commit = upstream.git("commit-tree", "-m", branch, "-p", "HEAD", "HEAD^{tree}")
        if request.param == "bare":
            upstream.git("push", "--quiet", "--force", "bare", f"{commit}:refs/heads/{branch}")
        else:
            upstream.git("update-ref", f"refs/heads/{branch}", commit)

    with Repository(str(path), tmp_path / "mirrors") as repository:
        repository.fetch()
        yield repository, change


def test_a_commit_on_any_branch_of_a_local_repository_wakes(watched):
    repository, change = watched
    woken = threading.Event()
    with Watcher(repository, woken.set, interval_s=NEVER_S):
        for branch in ("main", "feature/one", "feature/two/three"):
            change(branch)
            assert woken.wait(PATIENCE_S), branch
            assert repository.fetch() is True
            woken.clear()


def test_packing_references_and_deleting_a_packed_one_wakes(upstream, mirrored):
    upstream.commit({"a": "1"})
    upstream.git("branch", "old")
    upstream.git("pack-refs", "--all")
    mirrored.fetch()
    woken = threading.Event()
    with Watcher(mirrored, woken.set, interval_s=NEVER_S):
        upstream.git("branch", "--delete", "--force", "old")
        assert woken.wait(PATIENCE_S)
    assert mirrored.fetch() is True


def test_a_burst_of_commits_is_few_calls(upstream, mirrored):
    upstream.commit({"a": "1"})
    mirrored.fetch()
    calls: list[int] = []
    seen = threading.Event()

    def wake() -> None:
        calls.append(1)
        if mirrored.fetch():
            seen.set()

    with Watcher(mirrored, wake, interval_s=NEVER_S):
        for number in range(10):
            last = upstream.commit({"a": str(number)})
        assert seen.wait(PATIENCE_S)
        for _ in range(200):
            if mirrored.revision("main").commit == last:
                break
            threading.Event().wait(0.05)
    assert mirrored.revision("main").commit == last
    assert len(calls) < 10


def test_reading_the_repository_or_editing_files_wakes_nobody(upstream, mirrored):
    upstream.commit({"a": "1"})
    mirrored.fetch()
    woken = threading.Event()
    with Watcher(mirrored, woken.set, interval_s=NEVER_S):
        (upstream.path / "a").write_text("edited, not committed")
        upstream.git("status")
        upstream.git("add", "a")
        upstream.git("log")
        mirrored.fetch()
        mirrored.has_moved()
        assert not woken.wait(0.5)


def test_what_cannot_be_watched_is_polled(upstream, mirrored, tmp_path):
    upstream.commit({"a": "1"})
    mirrored.fetch()
    woken = threading.Event()
    watcher = Watcher(mirrored, woken.set, interval_s=0.05)
    watcher._observer.unschedule_all()
    with watcher:
        assert not woken.wait(0.3), "nothing moved"
        upstream.commit({"a": "2"})
        assert woken.wait(PATIENCE_S)


def test_a_remote_that_does_not_answer_is_worth_a_look(upstream, mirrored):
    upstream.commit({"a": "1"})
    mirrored.fetch()
    woken = threading.Event()
    with Watcher(mirrored, woken.set, interval_s=0.05):
        upstream.path.rename(upstream.path.with_name("moved"))
        assert woken.wait(PATIENCE_S)


def test_a_closed_watcher_leaves_no_thread(upstream, mirrored):
    upstream.commit({"a": "1"})
    before = set(threading.enumerate())
    Watcher(mirrored, print, interval_s=NEVER_S).close()
    assert set(threading.enumerate()) <= before
