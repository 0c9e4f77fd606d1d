"""What commands print and how they end, on a fleet of which no host answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gitopsd.cli import group
from gitopsd.model.record import Applied
from gitopsd.model.revision import RevisionName
from gitopsd.store.sql import SqlStore
from tests.fakes.fakework import Upstream

TOP = Path(__file__).parents[3]
FLEET = """\
name: test
registry: {address: "127.0.0.1:9", embedded: false, mirrors: {docker.io: "127.0.0.1:9"}}
hosts:
  a: {address: 127.0.0.1, port: 9, host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJhJhUmTKgBLUXz8Av2iRBRXJnpZvvMNQ3Y1b0Y0pC0g}
stacks:
  shop: {file: stacks/shop.yaml}
"""
SHOP = "services:\n  web:\n    image: busybox:stable\n    deploy: {mode: global}\n"
DATA = (
    "apply",
    "drift",
    "history",
    "host list",
    "host facts",
    "lab list",
    "plan",
    "registry status",
    "render",
    "status",
    "sync",
    "validate",
)


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    upstream = Upstream(tmp_path / "fleet")
    upstream.commit({"gitopsd.yaml": FLEET, "stacks/shop.yaml": SHOP}, "first")
    return upstream.path


def run(fleet: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(TOP), "GITOPSD_STATE_DIR": str(fleet.parent / "state")}
    command = [sys.executable, "-c", "from gitopsd.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=fleet, env=env)


@pytest.mark.parametrize("name", DATA)
def test_what_prints_data_prints_json_too(name: str) -> None:
    words = name.split()
    found = group.gitopsd.get_command(click.Context(group.gitopsd), words[0])
    for word in words[1:]:
        assert isinstance(found, click.Group)
        found = found.commands[word]
    assert found is not None
    assert any("--json" in option.opts for option in found.params)


def test_validate_says_that_all_is_well(fleet: Path) -> None:
    done = run(fleet, "validate")
    assert (done.returncode, done.stdout) == (0, "fleet test: 1 host, 1 stack, 1 service: all is well\n")


def test_validate_prints_every_error_with_its_line(fleet: Path) -> None:
    (fleet / "stacks" / "shop.yaml").write_text(SHOP.replace("deploy", "depoly") + "    restrat: always\n")
    done = run(fleet, "validate")
    assert done.returncode == 1
    assert done.stderr.count("error: unknown-key") == 2
    assert "stacks/shop.yaml:4" in done.stderr
    said = json.loads(run(fleet, "validate", "--json").stdout)
    assert (said["valid"], len(said["errors"])) == (False, 2)


def test_render_fills_everything_in(fleet: Path) -> None:
    assert "mode: global" in run(fleet, "render", "shop").stdout
    assert json.loads(run(fleet, "render", "--json").stdout)["stacks"][0]["name"] == "shop"
    done = run(fleet, "render", "nosuch")
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "error: no-such-stack")


def test_plan_names_what_it_does_not_know_and_does_not_end_as_if_all_were_well(fleet: Path) -> None:
    done = run(fleet, "plan")
    assert done.returncode == 3, done.stderr
    assert "Nothing can be done now: 1 stack is blocked, 1 host is unknown; 0 objects are as they should be." in done.stdout
    assert "unknown   host a: " in done.stdout
    assert "blocked   stack shop" in done.stdout
    assert json.loads(run(fleet, "plan", "--json").stdout)["version"] == 1


def test_status_ends_with_3_while_a_host_is_unknown(fleet: Path) -> None:
    done = run(fleet, "status")
    assert done.returncode == 3
    assert "Unknown" in done.stdout
    assert json.loads(run(fleet, "status", "--json").stdout)["hosts"][0]["state"] == "Unknown"


def test_plan_names_edits_that_are_not_committed(fleet: Path) -> None:
    (fleet / "stacks" / "shop.yaml").write_text(SHOP + "    restart: always\n")
    assert "not committed: stacks/shop.yaml; to plan them: gitopsd plan --revision -\n" in run(fleet, "plan").stderr
    assert "not committed" not in run(fleet, "plan", "--revision", "-").stderr


def test_serve_does_not_wait_for_a_folder_to_become_a_repository(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    done = run(tmp_path / "bare", "serve")
    assert done.returncode == 1
    assert "error: repository-unreachable" in done.stderr
    assert "hint: make it a repository: git init, then git add and git commit" in done.stderr


def test_who_looks_while_the_fleet_file_is_gone_sees_what_was_applied_last_and_the_error(fleet: Path) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=fleet, capture_output=True, text=True, check=True).stdout.strip()
    store = SqlStore.at(fleet.parent / "state" / "store.sqlite")
    store.set_applied(Applied("shop", RevisionName(str(fleet), "main", commit, "first"), "2026-11-24T12:00:00Z"), None)
    store.close()
    subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b", "rm", "-q", "gitopsd.yaml"], cwd=fleet, check=True)
    subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "gone"], cwd=fleet, check=True)
    for words, shown in ((("status",), "shop"), (("drift",), "No drift in what could be looked at."), (("host", "list"), "a ")):
        done = run(fleet, *words)
        assert done.returncode == 3, done.stderr
        assert shown in done.stdout
        assert "error: no-such-file" in done.stderr
        assert f"The fleet is held at what was applied last, main@{commit[:7]}" in done.stderr
    assert run(fleet, "plan").returncode == 1


@pytest.mark.parametrize("name", ["plan", "sync", "status"])
def test_an_error_is_json_too_where_json_was_asked_for(fleet: Path, name: str) -> None:
    subprocess.run(["git", "rm", "--quiet", "gitopsd.yaml"], cwd=fleet, check=True)
    author = ["-c", "user.name=Ada", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *author, "commit", "--quiet", "--message", "gone"], cwd=fleet, check=True)
    done = run(fleet, name, "--json")
    said = json.loads(done.stdout)
    assert said["version"] == 1
    assert "no-such-file" in said["errors"][0]
    assert "no-such-file" in done.stderr


def test_what_a_sync_did_has_a_version(fleet: Path) -> None:
    assert json.loads(run(fleet, "sync", "--json").stdout)["version"] == 1


def test_history_of_nothing(fleet: Path) -> None:
    assert run(fleet, "history").stdout == "No sync yet.\n"
    done = run(fleet, "history", "7")
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "error: no-such-sync")


def test_drift_of_nothing(fleet: Path) -> None:
    done = run(fleet, "drift")
    assert (done.returncode, done.stdout) == (3, "No drift in what could be looked at.\n")
    assert "unknown  host a" in done.stderr


def test_validate_looks_into_dockerfiles_and_at_ports(fleet: Path) -> None:
    (fleet / "web").mkdir()
    (fleet / "web" / "Dockerfile").write_text("FORM busybox\n")
    (fleet / "stacks" / "shop.yaml").write_text("services:\n  web: {build: ../web}\n")
    done = run(fleet, "validate")
    assert done.returncode == 1
    assert "web/Dockerfile:1  services.web.build: unknown instruction FORM; did you mean FROM?" in done.stderr
    port = SHOP.replace("    deploy", '    ports: ["80:80"]\n    deploy')
    (fleet / "stacks" / "shop.yaml").write_text(port + port.partition("\n")[2].replace("web", "other"))
    done = run(fleet, "validate", "--json")
    assert done.returncode == 1
    assert ["port-taken" in error for error in json.loads(done.stdout)["errors"]] == [True]


def test_sync_and_apply_end_with_3_while_a_host_is_unknown(fleet: Path) -> None:
    for words in (("sync",), ("apply", "--yes")):
        done = run(fleet, *words)
        assert done.returncode == 3, done.stderr
        assert done.stdout.endswith("nothing can be done now: 1 stack is blocked, 1 host is unknown\n")
        assert "unknown  host a: " in done.stderr
    said = json.loads(run(fleet, "sync", "--json").stdout)
    assert (said["exit"], said["unknown"][0][0], said["blocked"][0][0]) == (3, "a", "shop")


def test_an_option_that_does_not_exist_is_an_error_and_not_changes(fleet: Path) -> None:
    assert run(fleet, "plan", "--nosuch").returncode == 1


def test_a_stack_that_does_not_exist_is_an_error_everywhere(fleet: Path) -> None:
    for words in (("sync", "--stack"), ("history", "--stack"), ("render",)):
        done = run(fleet, *words, "nosuch")
        assert (done.returncode, done.stderr.splitlines()[0]) == (1, "error: no-such-stack"), words
    assert run(fleet, "history", "--stack", "shop").stdout == "No sync yet.\n"


def test_a_saved_plan_that_is_none_is_an_error(fleet: Path) -> None:
    (fleet / "x.plan").write_text('{"version": 7}')
    done = run(fleet, "apply", "x.plan")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: not-a-plan\n  x.plan: has version 7, expected a plan of version 1\n  hint: make one with"
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("nosuch", "nosuch: there is no such file"),
        ("/etc/passwd", "/etc/passwd: is no plan: it is not JSON"),
        ("binary", "binary: is no plan: it is not JSON"),
        ("list", "list: has no version, expected a plan of version 1"),
        ("half", "half: has not the form of a plan: "),
    ],
)
def test_what_is_no_plan_is_told_in_plain_words(path: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "list").write_text("[]")
    (tmp_path / "half").write_text('{"version": 1}')
    done = run(tmp_path, "apply", path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: not-a-plan\n  {expected}")
    assert "hint: make one with: gitopsd plan -o FILE\n" in done.stderr


def test_a_revision_that_does_not_exist_is_an_error(fleet: Path) -> None:
    done = run(fleet, "plan", "--revision", "nosuch")
    assert done.returncode == 1
    assert "error: no-such-reference" in done.stderr


def test_schemas_are_printed_as_they_are_in_the_repository(fleet: Path) -> None:
    for name in ("fleet", "stack", "plan"):
        assert json.loads(run(fleet, "schema", name).stdout) == json.loads((TOP / "schemas" / f"{name}.schema.json").read_text())


def test_hosts_are_listed(fleet: Path) -> None:
    done = run(fleet, "host", "list")
    assert done.returncode == 3
    assert "Unknown" in done.stdout


def test_a_commit_cannot_open_a_port_of_the_controllers_machine(fleet: Path) -> None:
    port = a_free_port()
    registry = f'registry: {{address: "0.0.0.0:{port}"}}'
    (fleet / "gitopsd.yaml").write_text(FLEET.replace(FLEET.splitlines()[1], registry))
    for words in (["plan", "--revision", "-"], ["validate"]):
        done = run(fleet, *words)
        assert done.returncode == 1
        assert done.stderr.startswith("error: not-loopback\n  gitopsd.yaml:2  registry.address: ")
    assert not (fleet.parent / "state" / "registry.pid").exists()
    os.environ["GITOPSD_REGISTRY_LISTEN"] = f"0.0.0.0:{port}"
    try:
        assert run(fleet, "validate").returncode == 0, "the controller's own environment may allow it"
    finally:
        del os.environ["GITOPSD_REGISTRY_LISTEN"]


def test_plan_starts_no_service(fleet: Path) -> None:
    port = a_free_port()
    registry = f'registry: {{address: "127.0.0.1:{port}", mirrors: {{docker.io: "127.0.0.1:{port}"}}}}'
    (fleet / "gitopsd.yaml").write_text(FLEET.replace(FLEET.splitlines()[1], registry))
    (fleet / "Dockerfile").write_text("FROM scratch\n")
    (fleet / "stacks" / "shop.yaml").write_text("services:\n  web:\n    build: ..\n    deploy: {mode: global}\n")
    done = run(fleet, "plan", "--revision", "-", "--json")
    blocked = json.loads(done.stdout)["blocked"]
    assert not [why for _, why in blocked if "registry" in why], "an image that was never built is not a registry that is silent"
    assert not (fleet.parent / "state" / "registry.pid").exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def a_free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
