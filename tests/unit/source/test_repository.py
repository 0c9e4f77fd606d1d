from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gitopsd.model.errors import GitopsdError
from gitopsd.source import Repository


def test_a_commit_is_read_from_the_mirror(upstream, mirrored):
    commit = upstream.commit({"gitopsd.yaml": "name: x\n", "web/Dockerfile": "FROM a\n", "web/run": "#!/bin/sh\n"}, "first")
    assert mirrored.fetch() is True
    revision = mirrored.revision("main")
    assert (revision.commit, revision.subject, revision.author, revision.short) == (commit, "first", "Ada", f"main@{commit[:7]}")
    assert revision.tree.read("gitopsd.yaml") == b"name: x\n"
    assert revision.tree.size("gitopsd.yaml") == 8
    assert revision.tree.paths("web") == ("web/Dockerfile", "web/run")
    assert revision.tree.tree_id("web") == upstream.git("rev-parse", "HEAD:web")
    assert revision.tree.tree_id("") == upstream.git("rev-parse", "HEAD^{tree}")
    assert revision.tree.blob_id("web/run") == upstream.git("rev-parse", "HEAD:web/run")
    assert revision.committed_at == int(upstream.git("log", "-1", "--format=%ct"))


def test_a_fetch_says_whether_anything_moved(upstream, mirrored):
    upstream.commit({"a": "1"})
    assert mirrored.fetch() is True
    assert mirrored.fetch() is False
    assert mirrored.has_moved() is False
    upstream.commit({"a": "2"})
    assert mirrored.has_moved() is True
    assert mirrored.fetch() is True
    assert mirrored.revision("main").tree.read("a") == b"2"


def test_head_is_the_default_branch_of_the_remote(upstream, mirrored):
    commit = upstream.commit({"a": "1"})
    upstream.git("checkout", "--quiet", "-b", "side")
    upstream.commit({"a": "2"})
    upstream.git("checkout", "--quiet", "main")
    mirrored.fetch()
    assert mirrored.revision().commit == commit


def test_branches_tags_and_commits_are_found_by_the_names_people_use(upstream, mirrored):
    first = upstream.commit({"a": "1"})
    upstream.git("tag", "--annotate", "--message", "one", "v1")
    upstream.git("checkout", "--quiet", "-b", "feature/new-page")
    second = upstream.commit({"a": "2"})
    mirrored.fetch()
    named = {
        "main": first,
        "refs/heads/main": first,
        "v1": first,
        "refs/tags/v1": first,
        "feature/new-page": second,
        second: second,
        second[:9]: second,
    }
    for reference, commit in named.items():
        assert mirrored.revision(reference).commit == commit, reference


@pytest.mark.parametrize(
    "reference",
    [
        "nosuch",
        "--output=x",
        "-x",
        "main..v1",
        "main^{tree}",
        "main:a",
        "a b",
        "a\nb",
        "@{-1}",
        "main~1",
        "",
        "/main",
        "x.lock",
        "0" * 40,
    ],
)
def test_a_name_that_is_none_is_refused_with_the_branches(upstream, mirrored, reference):
    upstream.commit({"a": "1"})
    mirrored.fetch()
    with pytest.raises(GitopsdError, match=r"is n") as caught:
        mirrored.revision(reference)
    assert caught.value.code == "no-such-reference"
    assert caught.value.hint == "branches: main"


def test_a_tag_on_something_that_is_no_commit_is_refused_and_breaks_nothing(upstream, mirrored):
    upstream.commit({"a": "1"})
    upstream.git("tag", "blob", upstream.git("rev-parse", "HEAD:a"))
    mirrored.fetch()
    with pytest.raises(GitopsdError) as caught:
        mirrored.revision("blob")
    assert caught.value.code == "no-such-reference"
    assert mirrored.fetch() is False


def test_an_empty_repository_says_so_and_fills_later(upstream, mirrored):
    assert mirrored.fetch() is False
    with pytest.raises(GitopsdError, match="empty"):
        mirrored.revision("main")
    upstream.commit({"a": "1"})
    assert mirrored.fetch() is True
    assert mirrored.revision("main").tree.paths() == ("a",)


def test_a_force_push_is_a_change_like_another(upstream, mirrored):
    first = upstream.commit({"a": "1"})
    upstream.commit({"a": "2"})
    mirrored.fetch()
    before = mirrored.revision("main")
    upstream.git("reset", "--quiet", "--hard", first)
    rewritten = upstream.commit({"a": "3"})
    assert mirrored.fetch() is True
    assert mirrored.revision("main").commit == rewritten
    assert before.tree.read("a") == b"2", "a revision that somebody holds stays readable"


def test_a_branch_that_becomes_a_folder_of_branches_and_back_is_followed(upstream, mirrored):
    upstream.commit({"a": "1"})
    upstream.git("branch", "topic")
    mirrored.fetch()
    upstream.git("branch", "--delete", "--force", "topic")
    upstream.git("branch", "topic/one")
    assert mirrored.fetch() is True
    assert sorted(mirrored.references()) == ["refs/heads/main", "refs/heads/topic/one"]
    upstream.git("branch", "--delete", "--force", "topic/one")
    upstream.git("branch", "topic")
    assert mirrored.fetch() is True
    assert sorted(mirrored.references()) == ["refs/heads/main", "refs/heads/topic"]


def test_a_second_repository_object_on_the_same_folder_sees_what_the_first_fetched(upstream, mirrored, tmp_path):
    commit = upstream.commit({"a": "1"})
    mirrored.fetch()
    with Repository(str(upstream.path), tmp_path / "mirrors") as other:
        assert other.revision("main").commit == commit
        assert other.fetch() is False


def mirror_of(tmp_path: Path) -> Path:
    return next((tmp_path / "mirrors").iterdir()) / "mirror.git"


@pytest.mark.parametrize("harm", ["objects", "packs", "all", "head"])
def test_a_broken_mirror_is_made_anew(upstream, mirrored, tmp_path, harm):
    upstream.commit({"a": "1"})
    mirrored.fetch()
    mirror = mirror_of(tmp_path)
    if harm == "objects":
        shutil.rmtree(mirror / "objects")
        (mirror / "objects").mkdir()
    elif harm == "packs":
        for path in (mirror / "objects").rglob("*"):
            if path.is_file():
                path.chmod(0o600)
                path.write_bytes(b"")
    elif harm == "all":
        shutil.rmtree(mirror)
    else:
        (mirror / "HEAD").unlink()
    commit = upstream.commit({"a": "2"})
    assert mirrored.fetch() is True
    assert mirrored.revision("main").commit == commit
    assert mirrored.revision("main").tree.read("a") == b"2"


def test_a_mirror_found_broken_while_reading_is_made_anew_by_the_next_fetch(upstream, mirrored, tmp_path):
    upstream.commit({"a": "1"})
    mirrored.fetch()
    shutil.rmtree(mirror_of(tmp_path) / "objects")
    (mirror_of(tmp_path) / "objects").mkdir()
    with pytest.raises(GitopsdError, match="broken") as caught:
        mirrored.revision("main")
    assert (caught.value.code, caught.value.next) == ("mirror-broken", "retry")
    mirrored.fetch()
    assert mirrored.revision("main").tree.read("a") == b"1"


def test_a_lost_record_of_what_was_fetched_is_made_again(upstream, mirrored, tmp_path):
    upstream.commit({"a": "1"})
    mirrored.fetch()
    (mirror_of(tmp_path).parent / "current.json").write_text("")
    assert mirrored.fetch() is True
    assert mirrored.revision("main").tree.read("a") == b"1"


def test_git_s_processes_that_were_killed_are_started_again(upstream, mirrored):
    upstream.commit({"a": "1"})
    mirrored.fetch()
    tree = mirrored.revision("main").tree
    assert tree.read("a") == b"1"
    for command in (mirrored._repo.git.cat_file_all, mirrored._repo.git.cat_file_header):
        os.kill(command.proc.pid, signal.SIGKILL)
        command.proc.wait()
    assert (tree.read("a"), tree.size("a")) == (b"1", 1)


def test_one_repository_keeps_at_most_two_processes_and_none_when_closed(upstream, mirrored):
    upstream.commit({f"f{number}": str(number) for number in range(20)})
    mirrored.fetch()
    for _ in range(5):
        tree = mirrored.revision("main").tree
        for path in tree.paths():
            tree.read(path)
            tree.size(path)
    assert len(children()) <= 2
    mirrored.close()
    assert children() == []


def children() -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == os.getpid() and words[0] != "Z" and "cat-file" in (stat.parent / "cmdline").read_text():
            found.append(int(stat.parent.name))
    return found


def test_a_remote_that_is_gone_is_unreachable_and_what_was_fetched_stays(upstream, mirrored):
    upstream.commit({"a": "1"})
    mirrored.fetch()
    upstream.path.rename(upstream.path.with_name("moved"))
    with pytest.raises(GitopsdError) as caught:
        mirrored.fetch()
    assert (caught.value.code, caught.value.next) == ("repository-unreachable", "retry")
    assert str(upstream.path) in caught.value.message
    assert mirrored.revision("main").tree.read("a") == b"1"


def test_objects_that_git_finds_wrong_are_not_taken_in_and_the_mirror_stays(upstream, mirrored, tmp_path):
    upstream.commit({"a": "1"})
    mirrored.fetch()
    good = mirrored.revision("main").commit
    tree = subprocess.run(
        ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
        cwd=upstream.path,
        input=b"100644 .git\0" + bytes.fromhex(upstream.git("rev-parse", "HEAD:a")),
        capture_output=True,
        check=True,
    ).stdout.decode()
    upstream.git("update-ref", "refs/heads/main", upstream.git("commit-tree", "-m", "bad", tree.strip()))
    inode = mirror_of(tmp_path).stat().st_ino
    with pytest.raises(GitopsdError, match=r"hasDotgit"):
        mirrored.fetch()
    assert mirrored.revision("main").commit == good
    assert mirror_of(tmp_path).stat().st_ino == inode, "a whole mirror is not thrown away because of a bad remote"


def test_nothing_of_the_caller_s_environment_or_configuration_reaches_git(upstream, tmp_path, monkeypatch):
    upstream.commit({"a": "1"})
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / ".gitconfig").write_text(f'[url "{tmp_path}/nowhere"]\n insteadOf = {upstream.path}\n')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_SSH_COMMAND", "false")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.gitProxy")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "false")
    with Repository(str(upstream.path), tmp_path / "mirrors") as repository:
        assert repository.fetch() is True
        assert repository.revision("main").tree.read("a") == b"1"


def test_hooks_of_either_side_do_not_run(upstream, mirrored, tmp_path):
    witness = tmp_path / "ran"
    upstream.commit({"a": "1"})
    mirrored.fetch()
    for hooks in (upstream.path / ".git" / "hooks", mirror_of(tmp_path) / "hooks"):
        hooks.mkdir(exist_ok=True)
        for name in ("post-checkout", "reference-transaction", "post-update", "pre-auto-gc"):
            (hooks / name).write_text(f"#!/bin/sh\ntouch {witness}\n")
            (hooks / name).chmod(0o755)
    (mirror_of(tmp_path) / "hooks" / "reference-transaction").chmod(0o755)
    upstream.git("-c", "core.hooksPath=/dev/null", "commit", "--quiet", "--allow-empty", "--message", "x")
    assert mirrored.fetch() is True
    assert not witness.exists()


def test_a_repository_that_belongs_to_another_user_can_be_mirrored(upstream, mirrored):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    upstream.commit({"a": "1"})
    for path in [upstream.path, *upstream.path.rglob("*")]:
        os.chown(path, 12345, 12345, follow_symlinks=False)
    assert mirrored.fetch() is True


def test_a_linked_worktree_and_a_bare_repository_can_be_mirrored(upstream, tmp_path):
    upstream.commit({"a": "1"})
    upstream.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "linked"))
    upstream.git("clone", "--quiet", "--bare", str(upstream.path), str(tmp_path / "bare.git"))
    for place in ("linked", "bare.git"):
        with Repository(str(tmp_path / place), tmp_path / "mirrors") as repository:
            assert repository.fetch() is True
            assert repository.revision("main").tree.read("a") == b"1"


def test_a_subject_cannot_move_the_cursor(upstream, mirrored):
    upstream.commit({"a": "1"}, "\x1b[2J\x1b]0;owned\x07fix")
    mirrored.fetch()
    assert "\x1b" not in mirrored.revision("main").subject


def test_reading_from_many_threads_gives_each_its_own_bytes(upstream, mirrored):
    upstream.commit({f"f{number}": str(number) * 1000 for number in range(40)})
    mirrored.fetch()
    tree = mirrored.revision("main").tree
    wrong: list[str] = []

    def read(start: int) -> None:
        for step in range(40):
            number = (start + step) % 40
            if tree.read(f"f{number}") != str(number).encode() * 1000:
                wrong.append(f"f{number}")

    threads = [threading.Thread(target=read, args=(start,)) for start in range(0, 40, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


KILLED = """
import sys, pathlib
sys.path.insert(0, {root!r})
from gitopsd.source import Repository
repository = Repository({address!r}, pathlib.Path({mirrors!r}))
print("go", flush=True)
while True:
    repository.fetch()
"""


def test_a_fetch_killed_at_any_moment_leaves_a_mirror_that_works(upstream, tmp_path):
    commits = [upstream.commit({"a": "0"})]
    mirrors = tmp_path / "mirrors"
    root = str(Path(__file__).parents[3])
    script = KILLED.format(root=root, address=str(upstream.path), mirrors=str(mirrors))
    for round_ in range(6):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
        assert child.stdout.readline() == b"go\n"
        for number in range(3):
            commits.append(upstream.commit({"a": f"{round_}.{number}"}))
            upstream.git("branch", "--force", f"b{number}")
        time.sleep(0.013 * round_)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with Repository(str(upstream.path), mirrors) as repository:
            if repository.references():
                assert repository.revision("main").commit in commits
            repository.fetch()
            assert repository.revision("main").commit == commits[-1]
            assert repository.revision("main").tree.read("a") == f"{round_}.2".encode()
