"""Instructions, their flags and their forms; whole files are in tests/golden/dockerfile."""

from typing import Any

import pytest

from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.instructions import (
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Run,
    User,
    Workdir,
    expanded,
)
from gitopsd.dockerfile.parse import parse

SECOND = 10**9


def one(text: str) -> Any:
    """The instruction that stands on line 2, after a FROM."""
    (stage,) = parse(f"FROM a\n{text}\n".encode()).stages
    (instruction,) = stage.instructions
    return instruction


def shell(text: str) -> Command:
    return Command((text,), in_shell=True)


def exec_form(*words: str) -> Command:
    return Command(words, in_shell=False)


FORMS = {
    "run in a shell": ('RUN echo "a  b" | c', Run, {"command": shell('echo "a  b" | c')}),
    "run words": ('RUN ["a", "b c"]', Run, {"command": exec_form("a", "b c")}),
    "broken json is shell": ("RUN [ -f x ]", Run, {"command": shell("[ -f x ]")}),
    "small letters": ("run a", Run, {"command": shell("a")}),
    "env": ('ENV a=1 b="x y" c=d\\ e', Env, {"pairs": (("a", "1"), ("b", '"x y"'), ("c", "d\\ e"))}),
    "env, the old form": ("ENV a  b c=d", Env, {"pairs": (("a", "b c=d"),)}),
    "env with an empty value": ("ENV a=", Env, {"pairs": (("a", ""),)}),
    "label": ("LABEL a.b=c 'd e'=f", Label, {"pairs": (("a.b", "c"), ("'d e'", "f"))}),
    "arg": ("ARG a b=c", Arg, {"items": (("a", None), ("b", "c"))}),
    "workdir": ("WORKDIR /a b", Workdir, {"path": "/a b"}),
    "user": ("USER a:b", User, {"user": "a:b"}),
    "expose": ("EXPOSE 80 53/udp $p", Expose, {"ports": ("80", "53/udp", "$p")}),
    "cmd": ('CMD ["a"]', Cmd, {"command": exec_form("a")}),
    "cmd emptied": ("CMD []", Cmd, {"command": exec_form()}),
    "entrypoint": ("ENTRYPOINT exec a", Entrypoint, {"command": shell("exec a")}),
    "copy": ("COPY a b/ c/", Copy, {"sources": ("a", "b/"), "destination": "c/"}),
    "copy with blanks": ('COPY ["a b", "c d"]', Copy, {"sources": ("a b",), "destination": "c d"}),
    "copy with flags": (
        "COPY --from=x --chown=1:2 --chmod=0755 a b",
        Copy,
        {"from_": "x", "chown": "1:2", "chmod": "0755", "sources": ("a",)},
    ),
    "no health check": ("HEALTHCHECK none", Healthcheck, {"command": None}),
    "health check": (
        "HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0 --start-interval=100ms --retries=3 CMD a b",
        Healthcheck,
        {
            "command": shell("a b"),
            "interval_ns": 90 * SECOND,
            "timeout_ns": 1_500_000_000,
            "start_interval_ns": 10**8,
            "retries": 3,
        },
    ),
    "health check words": ('HEALTHCHECK CMD\t["a"]', Healthcheck, {"command": exec_form("a")}),
}


@pytest.mark.parametrize(("text", "kind", "fields"), FORMS.values(), ids=FORMS)
def test_an_instruction_is_read(text: str, kind: type[Instruction], fields: dict[str, Any]) -> None:
    instruction = one(text)
    assert type(instruction) is kind
    assert (instruction.line, instruction.text) == (2, text)
    assert {name: getattr(instruction, name) for name in fields} == fields


ERRORS = {
    "unknown": ("RUNN a", "unknown instruction RUNN"),
    "add": ("ADD a b", "ADD is not there yet"),
    "volume": ("VOLUME /a", "VOLUME is not there yet"),
    "shell": ('SHELL ["a"]', "SHELL is not there yet"),
    "onbuild": ("ONBUILD RUN a", "ONBUILD is not there yet"),
    "run mount": ("RUN --mount=type=cache,target=/a b", "RUN: the flag --mount is not there yet"),
    "run network": ("RUN --network=none b", "RUN: the flag --network is not there yet"),
    "copy link": ("COPY --link a b", "COPY: the flag --link is not there yet"),
    "unknown flag": ("COPY --form=x a b", "COPY: unknown flag --form; there are --from, --chown, --chmod"),
    "flag where there is none": ("WORKDIR --x /a", "WORKDIR: unknown flag --x; there are none"),
    "flag without a value": ("COPY --from a b", "COPY: expected --from=VALUE"),
    "flag twice": ("COPY --chown=1 --chown=2 a b", "COPY: the flag --chown stands here twice"),
    "variable in from": ("COPY --from=$x a b", "knows no variables"),
    "nothing to run": ("RUN", "RUN: expected a command"),
    "empty array": ("RUN []", "found an empty array"),
    "array of numbers": ("CMD [1]", "expected strings alone"),
    "copy without a destination": ("COPY a", "COPY: expected at least one SOURCE and a DESTINATION"),
    "heredoc as a destination": ("COPY a <<E\nE", "cannot be a heredoc"),
    "heredoc with words": ('RUN ["cat"] <<E\nE', ""),
    "env without a value": ("ENV a", "ENV: expected NAME=VALUE, found 'a'"),
    "env with a stray word": ("ENV a=b c", "ENV: expected NAME=VALUE, found 'c'"),
    "empty env": ("ENV", "ENV: expected NAME=VALUE"),
    "empty arg": ("ARG", "ARG: expected NAME or NAME=DEFAULT"),
    "bad arg": ("ARG 1a=b", "'1a' cannot name a variable"),
    "no ports": ("EXPOSE", "EXPOSE: expected at least one port"),
    "no path": ("WORKDIR", "WORKDIR: expected a path"),
    "health check of something else": ("HEALTHCHECK RUN a", "expected CMD and a command, or NONE alone"),
    "health check none with words": ("HEALTHCHECK NONE a", "expected CMD and a command, or NONE alone"),
    "health check without a command": ("HEALTHCHECK CMD", "HEALTHCHECK: expected a command"),
    "bad duration": ("HEALTHCHECK --interval=5 CMD a", "--interval=5: expected a duration"),
    "short duration": ("HEALTHCHECK --interval=10us CMD a", "at least 1ms"),
    "bad retries": ("HEALTHCHECK --retries=-1 CMD a", "--retries=-1: expected a whole number"),
}


@pytest.mark.parametrize(
    ("text", "message"), [row for row in ERRORS.values() if row[1]], ids=[k for k, v in ERRORS.items() if v[1]]
)
def test_a_wrong_instruction_is_refused_by_name_and_line(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        one(text)
    assert message in caught.value.message
    assert caught.value.line == 2


def test_all_problems_are_reported_in_the_order_of_the_lines() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(b"USER a\nFROM\nRUN --mount=x y\nADD a b\nRUN ok\nFROM a AS 9\n")
    assert [(problem.line, problem.message.split(":")[0]) for problem in caught.value.problems] == [
        (1, "USER before the first FROM"),
        (2, "FROM"),
        (3, "RUN"),
        (4, "ADD is not there yet"),
        (6, "FROM"),
    ]
    assert str(caught.value).splitlines()[1] == "line 2: FROM: expected IMAGE or IMAGE AS NAME"


def test_an_empty_file_wants_a_from() -> None:
    with pytest.raises(DockerfileError, match="at least one FROM"):
        parse(b"# nothing\nARG a\n")


def test_stages_have_names_in_small_letters_and_a_platform() -> None:
    dockerfile = parse(b"ARG v=1\nFROM --platform=$BUILDPLATFORM a:$v AS Build-1\nRUN b\nFROM scratch\n")
    first, second = dockerfile.stages
    assert (first.base.image, first.name, first.base.platform) == ("a:$v", "build-1", "$BUILDPLATFORM")
    assert (second.index, second.base.image, second.name, second.instructions) == (1, "scratch", "", ())
    assert dockerfile.args[0].items == (("v", "1"),)


def test_heredocs_of_copy_are_files_of_their_own() -> None:
    copy = one("COPY a <<E <<'F' /d/\n$v\nE\n$v\nF")
    assert (copy.sources, copy.destination) == (("a",), "/d/")
    assert [(heredoc.name, heredoc.body, heredoc.expand) for heredoc in copy.heredocs] == [
        ("E", "$v\n", True),
        ("F", "$v\n", False),
    ]
    assert [heredoc.body for heredoc in expanded(copy, {"v": "1"}, "\\").heredocs] == ["1\n", "$v\n"]


EXPANDED = {
    "env": ("ENV a$v='$v' b=\"$v\"", {"pairs": (("a1", "$v"), ("b", "1"))}),
    "copy": ("COPY --chown=$v --chmod=$v $v/a /$v", {"sources": ("1/a",), "destination": "/1", "chown": "1", "chmod": "1"}),
    "expose": ("EXPOSE $ports $v", {"ports": ("80", "443/udp", "1")}),
    "workdir": ('WORKDIR /$v/"b c"', {"path": "/1/b c"}),
    "user": ("USER ${u:-$v}", {"user": "1"}),
    "run is left to the shell": ("RUN echo $v", {"command": shell("echo $v")}),
    "and so is cmd": ('CMD ["$v"]', {"command": exec_form("$v")}),
}


@pytest.mark.parametrize(("text", "fields"), EXPANDED.values(), ids=EXPANDED)
def test_variables_count_where_the_reference_says(text: str, fields: dict[str, Any]) -> None:
    instruction = expanded(one(text), {"v": "1", "ports": "80 443/udp"}, "\\")
    assert {name: getattr(instruction, name) for name in fields} == fields


def test_from_sees_variables_in_its_image_and_platform() -> None:
    base = expanded(parse(b"FROM --platform=$p a:${v:-2} AS b\n").stages[0].base, {"p": "linux/arm64"}, "\\")
    assert isinstance(base, From)
    assert (base.image, base.platform, base.name) == ("a:2", "linux/arm64", "b")
