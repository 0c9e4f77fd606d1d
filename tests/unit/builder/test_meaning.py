"""What instructions mean for the config, and what work they leave."""

from typing import Any

import pytest

from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.parse import parse
from gitopsd.engine.builder.meaning import PATH, SCRATCH_CONFIG, CopyWork, FolderWork, Meaning, RunWork, meaning_of


def mean(text: str, config: Any = SCRATCH_CONFIG, given: Any = None, defaults: Any = None) -> Meaning:
    dockerfile = parse(f"FROM a\n{text}\n".encode())
    return meaning_of(dockerfile.stages[0], dockerfile.escape, config, given or {}, defaults or {})


def run(text: str, **options: Any) -> RunWork:
    work = mean(text, **options).steps[-1].work
    assert isinstance(work, RunWork)
    return work


CONFIGS = {
    "env replaces in place": ("ENV B=2 A=3", {"Env": ["A=1", "C=4"]}, {"Env": ["A=3", "C=4", "B=2"]}),
    "env sees what was there": ("ENV A=$A:2 B=$A", {"Env": ["A=1"]}, {"Env": ["A=1:2", "B=1"]}),
    "labels add up": ("LABEL a=1 b='x y'", {"Labels": {"a": "0", "c": "2"}}, {"Labels": {"a": "1", "b": "x y", "c": "2"}}),
    "a working folder below another": ("WORKDIR /a\nWORKDIR b/../c", {}, {"WorkingDir": "/a/c"}),
    "a port range": ("EXPOSE 80 8000-8001/UDP", {}, {"ExposedPorts": {"80/tcp": {}, "8000/udp": {}, "8001/udp": {}}}),
    "a shell command": ("CMD echo hi", {}, {"Cmd": ["/bin/sh", "-c", "echo hi"]}),
    "the base's shell": (
        "CMD echo hi",
        {"Shell": ["/bin/ash", "-ec"]},
        {"Shell": ["/bin/ash", "-ec"], "Cmd": ["/bin/ash", "-ec", "echo hi"]},
    ),
    "an entrypoint takes the base's command away": ('ENTRYPOINT ["a"]', {"Cmd": ["b"]}, {"Entrypoint": ["a"]}),
    "but not one of its own stage": ('CMD ["b"]\nENTRYPOINT ["a"]', {"Cmd": ["c"]}, {"Entrypoint": ["a"], "Cmd": ["b"]}),
    "no health check": ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["CMD", "x"]}}, {"Healthcheck": {"Test": ["NONE"]}}),
    "a health check": (
        'HEALTHCHECK --interval=1s --retries=2 CMD ["x"]',
        {"Healthcheck": {"Test": ["CMD", "y"], "Timeout": 1}},
        {"Healthcheck": {"Test": ["CMD", "x"], "Interval": 10**9, "Retries": 2}},
    ),
    "a user": ("ARG u=web\nUSER $u:staff", {}, {"User": "web:staff"}),
}


@pytest.mark.parametrize(("text", "config", "expected"), CONFIGS.values(), ids=CONFIGS)
def test_the_config_becomes_what_the_instructions_say(text: str, config: Any, expected: Any) -> None:
    assert mean(text, config).config == expected


def test_the_base_s_own_config_is_left_alone() -> None:
    config = {"Labels": {"a": "1"}, "Env": ["A=1"]}
    mean("LABEL b=2\nENV B=2", config)
    assert config == {"Labels": {"a": "1"}, "Env": ["A=1"]}


def test_an_argument_has_the_value_given_else_its_default_else_that_before_from() -> None:
    assert run("ARG A=1 B=$A\nRUN x").environment == ("A=1", "B=1", f"PATH={PATH}")
    assert run("ARG A=1\nRUN x", given={"A": "2"}).environment[0] == "A=2"
    assert run("ARG A\nRUN x", defaults={"A": "3"}).environment[0] == "A=3"
    assert run("ARG A=1\nRUN x", defaults={"A": "3"}).environment[0] == "A=1"
    assert run("ARG A\nRUN x").environment == (f"PATH={PATH}",)
    assert run("RUN x\nARG A=1\nRUN y").environment == ("A=1", f"PATH={PATH}")
    assert mean("RUN x\nARG A=1").steps[0].work == run("RUN x")


def test_the_history_of_a_command_shows_its_arguments() -> None:
    assert mean("ARG B=2\nARG A=1\nRUN x y").steps[-1].created_by == "RUN |2 A=1 B=2 /bin/sh -c x y"
    assert mean('RUN ["x"]').steps[-1].created_by == "RUN x"


def test_a_command_runs_where_and_as_whom_the_stage_says() -> None:
    work = run('WORKDIR /w\nUSER web\nRUN ["x", "$y"]')
    assert (work.directory, work.user, work.arguments) == ("/w", "web", ("x", "$y"))


SCRIPTS = {
    "alone it is the script": ("RUN <<E\n\ta\nb\nE", "\ta\nb\n"),
    "without its tabs": ("RUN <<-E\n\ta\n\tE", "a\n"),
    "with words it is put back": ("RUN cat <<E >x && y <<'F'\na\nE\nb\nF", "cat <<E >x && y <<'F'\na\nE\nb\nF"),
}


@pytest.mark.parametrize(("text", "script"), SCRIPTS.values(), ids=SCRIPTS)
def test_a_heredoc_becomes_what_the_shell_gets(text: str, script: str) -> None:
    assert run(text).arguments == ("/bin/sh", "-c", script)


DESTINATIONS = {"x": "/w/x", "x/": "/w/x/", ".": "/w/", "./": "/w/", "/": "/", "..": "/", "/a/../b": "/b", "a/.": "/w/a/"}


@pytest.mark.parametrize(("written", "destination"), DESTINATIONS.items())
def test_a_destination_is_made_absolute_and_keeps_its_slash(written: str, destination: str) -> None:
    work = mean(f"WORKDIR /w\nCOPY a {written}").steps[-1].work
    assert isinstance(work, CopyWork)
    assert work.copy.destination == destination


def test_a_working_folder_belongs_to_the_user() -> None:
    assert mean("USER web\nWORKDIR /w").steps[-1].work == FolderWork("/w", "web")


ERRORS = {
    "empty user": "ARG u\nUSER $u",
    "empty name": "ENV $nothing=x",
    "no such port": "EXPOSE 0",
    "a range that goes back": "EXPOSE 9-8",
    "several to a file": "COPY a b c",
    "a bad mode": "COPY --chmod=xyz a b",
    "an empty source": "ARG s\nCOPY a$s $s x/",
    "a shebang": "RUN <<E\n#!/usr/bin/python3\nE",
    "variables that multiply": "ENV A=12345678\n" + "ENV A=$A$A$A$A$A$A$A$A\n" * 8,
    "a heredoc named as a path": "COPY <<../x /\nE\n../x",
}


@pytest.mark.parametrize("text", ERRORS.values(), ids=ERRORS)
def test_what_cannot_be_meant_is_an_error_with_its_line(text: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        mean(text)
    assert 2 <= caught.value.line <= 10
