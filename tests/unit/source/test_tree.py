from __future__ import annotations

import os
from pathlib import Path

import pytest

from gitopsd.model.errors import GitopsdError
from gitopsd.source import folder_revision


@pytest.fixture
def planted(upstream):
    """Files, and what an attacker would put beside them."""
    (upstream.path / "stacks").mkdir()
    (upstream.path / "stacks" / "shop.yaml").write_text("services: {}\n")
    (upstream.path / "run").write_text("#!/bin/sh\n")
    (upstream.path / "run").chmod(0o755)
    (upstream.path / "passwd").symlink_to("/etc/passwd")
    (upstream.path / "linked").symlink_to("stacks")
    (upstream.path / "out").symlink_to("../../etc")
    (upstream.path / 'é\t"x').write_text("odd name")
    upstream.commit({})
    return upstream


@pytest.fixture(params=["commit", "folder"])
def tree(request, planted, mirrored):
    if request.param == "folder":
        return folder_revision(planted.path).tree
    mirrored.fetch()
    return mirrored.revision("main").tree


def test_files_are_listed_and_read(tree):
    assert tree.paths() == ("linked", "out", "passwd", "run", "stacks/shop.yaml", 'é\t"x')
    assert tree.read('é\t"x') == b"odd name"
    assert (tree.mode("run"), tree.mode("stacks/shop.yaml"), tree.mode("passwd")) == (0o100755, 0o100644, 0o120000)


def test_a_symlink_s_bytes_are_its_target_and_no_more(tree):
    assert tree.read("passwd") == b"/etc/passwd"
    assert tree.size("passwd") == len("/etc/passwd")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("linked/shop.yaml", "symlink"),
        ("out/passwd", "symlink"),
        ("passwd/x", "symlink"),
        ("../upstream/run", "no-such-file"),
        ("stacks/../run", "no-such-file"),
        ("./run", "no-such-file"),
        ("/etc/passwd", "no-such-file"),
        ("stacks//shop.yaml", "no-such-file"),
        (".git/config", "no-such-file"),
        ("run\0", "no-such-file"),
        ("RUN", "no-such-file"),
        ("run/x", "no-such-file"),
        ("stacks", "not-a-file"),
    ],
)
def test_no_path_leads_out_or_through_a_symlink(tree, path, code):
    for read in (tree.read, tree.size, tree.blob_id, tree.mode):
        with pytest.raises(GitopsdError) as caught:
            read(path)
        assert caught.value.code == code
        assert "root:" not in str(caught.value)


@pytest.mark.parametrize(("path", "code"), [("linked", "symlink"), ("run", "not-a-folder"), ("nosuch", "no-such-file")])
def test_only_a_folder_has_a_tree(tree, path, code):
    for ask in (tree.tree_id, tree.paths):
        with pytest.raises(GitopsdError) as caught:
            ask(path)
        assert caught.value.code == code


def test_the_ids_of_a_folder_are_those_that_git_gives(planted):
    tree = folder_revision(planted.path).tree
    (planted.path / "stacks" / "empty").mkdir()
    for path in ("", "stacks"):
        assert tree.tree_id(path) == planted.git("rev-parse", f"HEAD:{path}")
    assert tree.blob_id("passwd") == planted.git("rev-parse", "HEAD:passwd")


def test_when_a_path_was_last_touched_is_the_time_of_that_commit(planted, mirrored):
    first = int(planted.git("log", "-1", "--format=%ct"))
    environment = "2030-01-01T00:00:00Z"
    os.environ["GIT_COMMITTER_DATE"] = environment
    try:
        (planted.path / "other").write_text("x")
        planted.git("add", "--all")
        planted.git("commit", "--quiet", "--date", environment, "--message", "later")
    finally:
        del os.environ["GIT_COMMITTER_DATE"]
    mirrored.fetch()
    tree = mirrored.revision("main").tree
    assert tree.touched_at("stacks") == first
    assert tree.touched_at("") >= first


def test_a_submodule_is_refused_by_name(planted, mirrored):
    planted.git("update-index", "--add", "--cacheinfo", f"160000,{planted.git('rev-parse', 'HEAD')},stacks/lib")
    planted.git("commit", "--quiet", "--message", "with a submodule")
    mirrored.fetch()
    tree = mirrored.revision("main").tree
    for ask, path in ((tree.read, "stacks/lib/x"), (tree.paths, "stacks")):
        with pytest.raises(GitopsdError, match="stacks/lib is a submodule"):
            ask(path)


def test_a_stack_file_that_becomes_a_symlink_in_a_later_commit_is_refused_there(planted, mirrored):
    mirrored.fetch()
    assert mirrored.revision("main").tree.read("stacks/shop.yaml")
    (planted.path / "stacks" / "shop.yaml").unlink()
    Path(planted.path / "stacks" / "shop.yaml").symlink_to("/etc/hostname")
    planted.commit({})
    mirrored.fetch()
    tree = mirrored.revision("main").tree
    assert tree.mode("stacks/shop.yaml") == 0o120000
    assert tree.read("stacks/shop.yaml") == b"/etc/hostname"
