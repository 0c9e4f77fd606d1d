"""The fleet and its stacks together, in this process and in the child with limits."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gitopsd.model.errors import Errors, GitopsdError
from gitopsd.render import Renderer, render, validate
from gitopsd.source import folder_revision

FLEET = "name: demo\nhosts: {a: {address: 10.0.0.1}}\nstacks:\n"
GOOD = "services: {web: {image: busybox}}\n"
CPU_S = 1.0


@pytest.fixture
def revision(tmp_path):
    """Writes stack files, each a stack of its own by the file's first word, and gives the revision."""

    def write(files):
        stacks = {name: text for name, text in files.items() if "/" not in name}
        text = FLEET + "".join(f"  {name.split('.')[0]}: {{file: {name}}}\n" for name in stacks)
        for name, content in {"gitopsd.yaml": text, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder_revision(tmp_path)

    return write


@pytest.fixture(scope="module")
def child():
    with Renderer(cpu_s=CPU_S, wall_s=20) as renderer:
        yield renderer


@pytest.fixture(params=["here", "in the child"])
def rendering(request):
    return render if request.param == "here" else request.getfixturevalue("child").render


def blocked_of(rendered):
    return {stack.name: "\n".join(stack.errors) for stack in rendered.blocked}


def test_a_stack_that_is_wrong_blocks_itself_alone(rendering, revision):
    rendered = rendering(revision({"good.yaml": GOOD, "bad.yaml": "services: {web: {imgae: x}}\n", "worse.yaml": "a: b: c"}))
    assert [stack.name for stack in rendered.stacks] == ["good"]
    assert blocked_of(rendered) == {
        "bad": 'error: unknown-key\n  bad.yaml:1  services.web.imgae: unknown key\n  hint: did you mean "image"?\n'
        "error: missing-key\n  bad.yaml:1  services.web: has neither image nor build\n  hint: say which image to run, or how to build it",
        "worse": "error: bad-yaml\n  worse.yaml:1: a `: ` where no key can stand (column 5)\n"
        "  hint: put a text that has a colon or a sign in it into quotes, or check the indentation",
    }


def test_a_fleet_file_that_is_wrong_or_missing_is_an_error_for_all(rendering, tmp_path):
    with pytest.raises(Errors, match="no-such-file") as caught:
        rendering(folder_revision(tmp_path))
    assert "there is no gitopsd.yaml in this folder\n  hint: it lies at the root" in str(caught.value)
    (tmp_path / "gitopsd.yaml").write_text("name: demo\nhosts: {}\nstakcs: {}\n")
    with pytest.raises(Errors) as caught:
        rendering(folder_revision(tmp_path))
    assert [error.where.key for error in caught.value.errors] == ["hosts", "stakcs"]


def test_a_stack_file_that_is_missing_is_reported_where_it_is_named(rendering, revision, tmp_path):
    made = revision({"shop.yaml": GOOD})
    (tmp_path / "shop.yaml").unlink()
    assert "gitopsd.yaml:4  stacks.shop.file: there is no shop.yaml" in blocked_of(rendering(made))["shop"]


def test_an_empty_context_is_said_to_have_no_dockerfile(rendering, revision, tmp_path):
    made = revision({"shop.yaml": "services: {web: {build: web}}\n"})
    (tmp_path / "web").mkdir()
    assert 'services.web.build: "web" is empty: there is no Dockerfile in it' in blocked_of(rendering(made))["shop"]


def test_every_file_that_was_read_is_remembered(rendering, revision):
    files = {
        "shop.j2": "{% include 'parts/a' %}services: {web: {build: web}}\n",
        "parts/a": "# a\n",
        "web/Dockerfile": "FROM a\n",
        "web/x": "",
    }
    assert rendering(revision(files)).stacks[0].read == ("parts/a", "shop.j2", "web/Dockerfile")


@pytest.mark.parametrize("place", ["stack", "fleet", "include", "folder", "context", "dockerfile", "within"])
def test_a_symlink_is_refused_wherever_it_stands_and_shows_nothing(rendering, revision, tmp_path, place):
    made = revision(
        {"shop.j2": "{% include 'parts/a' %}services: {web: {build: web}}\n", "parts/a": "# a\n", "web/Dockerfile": "FROM a\n"}
    )
    assert not rendering(made).blocked
    linked = {
        "stack": "shop.j2",
        "fleet": "gitopsd.yaml",
        "include": "parts/a",
        "folder": "parts",
        "context": "web",
        "dockerfile": "web/Dockerfile",
        "within": "web/link",
    }[place]
    path = tmp_path / linked
    secret = tmp_path.parent / "secret"
    secret.mkdir(exist_ok=True)
    (secret / "a").write_text("s3cret: [")
    (secret / "Dockerfile").write_text("FROM s3cret")
    if path.exists():
        path.rename(tmp_path / "moved")
    path.symlink_to(secret if place in ("folder", "context") else secret / "a")
    if place == "within":
        assert not rendering(made).blocked, "what a context holds is packed as it is; the builder resolves inside of it"
        return
    try:
        said = "\n".join(blocked_of(rendering(made)).values())
    except Errors as errors:
        said = str(errors)
    assert "is a symlink, and symlinks are not followed" in said
    assert "s3cret" not in said


def test_a_context_with_a_submodule_or_nothing_in_it_is_refused(rendering, revision, tmp_path):
    made = revision({"shop.yaml": "services: {web: {build: web}}\n"})
    (tmp_path / "web").mkdir()
    assert 'services.web.build: "web" is empty' in blocked_of(rendering(made))["shop"]


def test_a_person_s_own_file_is_validated_with_the_values_it_will_get(tmp_path, revision):
    made = revision({"shop.yaml": "services: {web: {image: 'busybox:${TAG}'}}\n", "bad.yaml": "services: {web: {imgae: x}}\n"})
    (tmp_path / "gitopsd.yaml").write_text(FLEET + "  shop: {file: shop.yaml, values: {TAG: 1}}\n  bad: {file: bad.yaml}\n")
    assert validate(made.tree, "shop.yaml") == ()
    assert [error.where.key for error in validate(made.tree, "bad.yaml")] == ["services.web.imgae", "services.web"]
    assert [error.where.file for error in validate(made.tree, "gitopsd.yaml")] == ["bad.yaml", "bad.yaml"]
    (tmp_path / "gitopsd.yaml").write_text("name: [\n")
    assert [error.code for error in validate(made.tree, "gitopsd.yaml")] == ["bad-yaml"]
    assert [error.code for error in validate(made.tree, "shop.yaml")] == ["undeclared-value"]
    assert [error.code for error in validate(made.tree, "nosuch.yaml")] == ["no-such-file"]


BOMBS = {
    "alias": "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
    "power.j2": "{{ 10**9999999 }}",
    "range.j2": "{{ range(10**9) | list }}",
    "loop.j2": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "grow.j2": "{% for a in range(99999) %}{% for b in range(99999) %}" + "x" * 1000 + "{% endfor %}{% endfor %}",
    "repeat.j2": "{{ 'a' * 10**12 }}",
    "pad.j2": "{{ '%999999999999d' % 1 }}",
    "cycle.j2": "{% include 'cycle.j2' %}",
    "nested.j2": "services: " + "[" * 100_000,
    "deep": "services: " + "{a: " * 400 + "}" * 400,
    "large": b"x" * 100_000_000,
    "output.j2": "{{ '#' * 2 * 10**6 }}\nservices: {web: {image: busybox}}",
    "values": "services: {web: {image: busybox, command: ['" + "${A:-" * 10_000 + "']}}",
    "expanding": "services: {web: {image: busybox, environment: {A: '" + "$" * 500_001 + "'}}}",
    "binary": b"\xff\xfe\x00",
    "numbers": "services: {web: {image: busybox, cpus: " + "9" * 100_000 + "}}",
    "ports": "services: {web: {image: busybox, ports: [" + "1-65535:1-65535," * 1000 + "]}}",
}


def test_a_bomb_costs_little_and_harms_its_own_stack_alone(child, revision):
    names = {name: name if "." in name else f"{name}.yaml" for name in BOMBS}
    made = revision({**{names[name]: bomb for name, bomb in BOMBS.items()}, "good.yaml": GOOD})
    start = time.monotonic()
    rendered = child.render(made)
    took = time.monotonic() - start
    assert [stack.name for stack in rendered.stacks] == ["good"]
    said = blocked_of(rendered)
    assert set(said) == {name.split(".")[0] for name in BOMBS}
    for name in ("power", "loop"):
        assert f"took more than {CPU_S:g} s of CPU time to render" in said[name], name
    assert "100000000 bytes long" in said["large"]
    assert took < 30
    assert child.render(revision({"good.yaml": GOOD})).stacks, "and the child works on"


def test_a_fleet_file_that_is_a_bomb_is_an_error(child, tmp_path):
    (tmp_path / "gitopsd.yaml").write_text(BOMBS["alias"])
    with pytest.raises(Errors, match="aliases followed"):
        child.render(folder_revision(tmp_path))


def test_a_child_that_hangs_is_killed_and_the_next_one_works(revision):
    made = revision({"slow.j2": "{{ 10**99999999 }}", "good.yaml": GOOD})
    with Renderer(cpu_s=1000, wall_s=3) as renderer:
        rendered = renderer.render(made)
        assert "took longer than 3 s to render" in blocked_of(rendered)["slow"]
        assert [stack.name for stack in rendered.stacks] == ["good"]


def test_a_child_that_was_killed_is_replaced(child, revision):
    made = revision({"good.yaml": GOOD})
    child.render(made)
    os.kill(child._child.pid, 9)
    child._child.wait()
    assert child.render(made).stacks


def test_closing_leaves_no_process(revision):
    renderer = Renderer()
    renderer.render(revision({"good.yaml": GOOD}))
    pid = renderer._child.pid
    renderer.close()
    assert not Path(f"/proc/{pid}").exists()


def test_a_commit_is_rendered_once_and_a_folder_each_time(child, revision):
    made = revision({"good.yaml": GOOD})
    assert child.render(made) is not child.render(made)
    committed = replace(made, commit="1" * 40)
    assert child.render(committed) is child.render(committed)


def test_the_trouble_of_the_mirror_is_not_the_stack_s(child, revision):
    made = revision({"good.yaml": GOOD})

    class Broken(type(made.tree)):
        def read(self, path):
            if path == "good.yaml":
                raise GitopsdError("mirror-broken", "x", next="retry")
            return super().read(path)

    with pytest.raises(GitopsdError) as caught:
        child.render(replace(made, tree=Broken(made.tree._root)))
    assert caught.value.code == "mirror-broken"
    assert child.render(made).stacks


PROBE = """
import os, resource, socket, subprocess, sys
sys.path.insert(0, {root!r})
from gitopsd.render import child
child._confine(1 << 28)
def tries(what):
    try:
        what()
        return "done"
    except BaseException as error:
        return type(error).__name__
print(tries(lambda: open("/etc/passwd")), tries(lambda: socket.socket()), tries(os.fork), tries(lambda: os.setuid(0)),
      tries(lambda: bytearray(1 << 30)), tries(lambda: os.write(1, b"")), os.geteuid())
"""


def test_the_fork_that_renders_can_open_no_file_no_socket_and_no_process():
    import subprocess
    import sys

    if os.geteuid() != 0:
        pytest.skip("only root becomes nobody")
    root = str(Path(__file__).parents[3])
    done = subprocess.run([sys.executable, "-I", "-c", PROBE.format(root=root)], env={}, capture_output=True, text=True)
    assert done.stdout.split() == ["OSError", "OSError", "BlockingIOError", "PermissionError", "MemoryError", "done", "65534"], (
        done
    )
