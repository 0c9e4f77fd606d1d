"""The client on the command line: its words, and what it says where no daemon answers."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine import main as engine
from gitopsd.engine.client.connection import DEFAULT_HOST
from gitopsd.engine.client.images import OUTSIDE, context_tar, find_dockerfile
from gitopsd.engine.client.main import ROLES, host_of, make_parser


def say(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and standard error."""
    try:
        code = engine.main(list(words))
    except SystemExit as end:
        code = int(end.code or 0)
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ("unix:///a", {"GITOPSD_ENGINE_HOST": "unix:///b", "DOCKER_HOST": "unix:///c"}, ("unix:///a", "-H")),
        (None, {"GITOPSD_ENGINE_HOST": "unix:///b", "DOCKER_HOST": "unix:///c"}, ("unix:///b", "GITOPSD_ENGINE_HOST")),
        (None, {"GITOPSD_ENGINE_HOST": "", "DOCKER_HOST": "ssh://c"}, ("ssh://c", "DOCKER_HOST")),
        (None, {}, (DEFAULT_HOST, "-H")),
    ],
    ids=["the option", "our variable", "docker's variable", "nothing"],
)
def test_which_daemon_is_asked(given, environment, expected):
    assert host_of(given, environment) == expected


def test_docker_host_counts(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("GITOPSD_ENGINE_HOST", raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    code, said = say(capsys, "ps")
    assert code == 1
    assert f"Cannot connect to the gitopsd engine at {tmp_path}/none.sock: No such file or directory\n" in said
    assert "hint: gitopsd-engine daemon starts one, as root; -H or DOCKER_HOST names the socket of another" in said


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:2375", "npipe:////./pipe/docker", "unix://", "ssh://-oProxyCommand=x"])
def test_an_address_of_another_kind_is_refused_by_the_name_of_what_said_it(monkeypatch, capsys, address):
    monkeypatch.delenv("GITOPSD_ENGINE_HOST", raising=False)
    monkeypatch.setenv("DOCKER_HOST", address)
    code, said = say(capsys, "ps")
    assert code == 1
    assert said.startswith(f"gitopsd-engine: DOCKER_HOST {address}: expected ")
    assert ("tcp:// is not there yet" in said) == address.startswith("tcp:")


@pytest.mark.parametrize("words", [["run", "-it", "busybox"], ["create", "-t", "busybox"], ["exec", "-it", "web", "sh"]])
def test_a_terminal_is_not_there_yet(capsys, tmp_path, words):
    code, said = say(capsys, "-H", f"unix://{tmp_path}/none.sock", *words)
    assert code == (125 if words[0] == "run" else 1)
    assert said == f"gitopsd-engine: {words[0]}: terminals (-t) are not there yet; leave -t out, -i alone passes input on\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rum"], 'gitopsd-engine: there is no command "rum"; did you mean "rm" or "run"? gitopsd-engine --help lists them\n'),
        (["xyzzy"], 'gitopsd-engine: there is no command "xyzzy"; gitopsd-engine --help lists them\n'),
        (
            ["network", "lst"],
            'gitopsd-engine network: there is no command "lst"; did you mean "ls"? gitopsd-engine network --help lists them\n',
        ),
    ],
)
def test_a_command_that_there_is_not(capsys, words, expected):
    assert say(capsys, *words) == (2, expected)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_asks_no_daemon(capsys, role):
    assert say(capsys, "-H", "unix:///x", role, "--data-root", "/x") == (
        2, f"gitopsd-engine: {role} asks no daemon, so it stands first: gitopsd-engine {role}\n",
    )  # fmt: skip


def test_help_lists_the_roles_among_the_commands():
    assert set(ROLES) == set(engine._ROLES)
    text = make_parser().format_help()
    for role, what in ROLES.items():
        assert any(line.split(None, 1) == [role, what] for line in text.splitlines()), role


def test_f_names_a_dockerfile_from_here_as_docker_has_it(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "context" / "sub").mkdir(parents=True)
    for file in ("context/D1", "context/sub/D2", "D3"):
        (tmp_path / file).write_text(file)
    assert find_dockerfile("context", "") == ("Dockerfile", "")
    assert find_dockerfile("context", "context/D1") == ("D1", "")
    assert find_dockerfile("context", str(tmp_path / "context/sub/D2")) == ("sub/D2", "")
    assert find_dockerfile("context", "D1") == ("D1", ""), "in the context, where there is none here"
    assert find_dockerfile("context", "D3") == (OUTSIDE, "D3")
    with pytest.raises(ApiError, match="-f nosuch: there is no such file, neither here nor in context"):
        find_dockerfile("context", "nosuch")
    with pytest.raises(ApiError, match="not a folder"):
        find_dockerfile("D3", "D3")
    data = b"".join(context_tar("context", *find_dockerfile("context", "D3")))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.extractfile(OUTSIDE).read() == b"D3"
        assert "D1" in archive.getnames()


def test_filters_are_sent_as_the_api_has_them():
    from gitopsd.engine.client.containers import filters_of

    assert json.loads(filters_of(["status=running", "status=exited", "label=a=b"])) == {
        "status": ["running", "exited"],
        "label": ["a=b"],
    }
