"""What the instructions of a stage mean: the image's config as it grows, and the work that changes files.  [pure]

In: a stage, the config it starts from, the build's arguments.  Out: `Steps`: one for each instruction, with its work resolved,
and the config at the end.

Rule 1: config is made here in every build, from the base's and the instructions alone; no cache has a say in it.
Rule 2: ENV wins over an ARG of its name. An ARG without a value takes that of the ARG before the first FROM, if there is one.
Rule 3: proxies may be given without an ARG; they are seen by RUN, and count neither for the cache nor in the history.
"""

from __future__ import annotations

import copy as copying
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Union

from gitopsd.dockerfile.errors import DockerfileError
from gitopsd.dockerfile.expand import expand_word
from gitopsd.dockerfile.instructions import (
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Run,
    User,
    Workdir,
    expanded,
)
from gitopsd.dockerfile.lex import as_heredoc
from gitopsd.dockerfile.parse import Stage
from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.mode import ModeChange

MOST_SAID = 4 << 20
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELL = ("/bin/sh", "-c")
PROXIES = frozenset(
    name for word in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY") for name in (word, word.lower())
)
PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
SCRATCH_CONFIG: Mapping[str, Any] = {"Env": [f"PATH={PATH}"]}


@dataclass(frozen=True)
class RunWork:
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    """What the command sees and the key covers."""
    proxies: tuple[str, ...]
    """What it sees besides."""
    directory: str
    user: str


@dataclass(frozen=True)
class CopyWork:
    copy: Copy
    """With variables replaced; its destination is absolute."""
    files: tuple[tuple[str, str], ...]
    """Those whose content stands in the Dockerfile."""


@dataclass(frozen=True)
class FolderWork:
    path: str
    user: str


Work = Union[RunWork, CopyWork, FolderWork]


@dataclass(frozen=True)
class Step:
    instruction: Instruction
    created_by: str
    work: Optional[Work] = None
    """None: it changes no files."""


@dataclass
class Meaning:
    """A stage while its instructions are gone through; at the end `steps` and `config` are what it means."""

    stage: Stage
    escape: str
    config: dict[str, Any]
    """The `config` of an image config document."""
    given: Mapping[str, str]
    """The build's arguments."""
    defaults: Mapping[str, str]
    """Variables of FROM lines, which an ARG takes up: those before the first FROM, and those about the platform."""
    used: set[str] = field(default_factory=set[str])
    steps: list[Step] = field(default_factory=list[Step])
    args: dict[str, str] = field(default_factory=dict[str, str])
    has_cmd: bool = False
    said: int = 0
    """Characters that ENV, LABEL and ARG gave: `ENV A=$A$A` doubles with each line."""

    def count(self, *texts: str) -> None:
        self.said += sum(len(text) for text in texts)
        if self.said > MOST_SAID:
            raise BuildError(f"ENV, LABEL and ARG of this stage grew beyond {MOST_SAID} characters")

    def variables(self) -> dict[str, str]:
        return {**self.args, **dict(_split(text) for text in self.config.get("Env") or ())}


def meaning_of(
    stage: Stage, escape: str, config: Mapping[str, Any], given: Mapping[str, str], defaults: Mapping[str, str]
) -> Meaning:
    """Go through a stage; raises DockerfileError with the line of what cannot be."""
    found = Meaning(stage, escape, copying.deepcopy(dict(config)), given, defaults)
    for instruction in stage.instructions:
        try:
            work, created_by = _meaning(found, expanded(instruction, found.variables(), escape))
        except BuildError as error:
            raise DockerfileError(error.message, instruction.line) from None
        found.steps.append(Step(instruction, created_by or instruction.text, work))
    return found


def _meaning(found: Meaning, step: Instruction) -> tuple[Optional[Work], str]:
    config = found.config
    if isinstance(step, Run):
        return _run(found, step)
    if isinstance(step, Copy):
        return _copy(found, step), ""
    if isinstance(step, Workdir):
        path = posixpath.normpath(posixpath.join(config.get("WorkingDir") or "/", step.path))
        config["WorkingDir"] = "/" + path.lstrip("/")
        return FolderWork(config["WorkingDir"], config.get("User") or ""), ""
    if isinstance(step, Arg):
        _arg(found, step)
    elif isinstance(step, Env):
        for name, value in step.pairs:
            found.count(name, value)
            if not name or "=" in name:
                raise BuildError(f"ENV: {name!r} cannot name a variable")
            _set(config, name, value)
    elif isinstance(step, Label):
        if not all(name for name, _ in step.pairs):
            raise BuildError("LABEL: a name is empty")
        found.count(*(text for pair in step.pairs for text in pair))
        config["Labels"] = {**(config.get("Labels") or {}), **dict(step.pairs)}
    elif isinstance(step, Expose):
        config["ExposedPorts"] = {
            **(config.get("ExposedPorts") or {}),
            **{port: {} for text in step.ports for port in _ports(text)},
        }
    elif isinstance(step, User):
        if not step.user.strip():
            raise BuildError(f"USER: {step.text[5:].strip()} is empty")
        config["User"] = step.user
    elif isinstance(step, Cmd):
        config["Cmd"] = _words(config, step.command)
        found.has_cmd = True
    elif isinstance(step, Entrypoint):
        config["Entrypoint"] = _words(config, step.command)
        if not found.has_cmd:
            config.pop("Cmd", None)  # it was meant for the base's entrypoint
    elif isinstance(step, Healthcheck):
        config["Healthcheck"] = _healthcheck(step)
    else:
        raise BuildError(f"{type(step).__name__.upper()} is not there yet")
    return None, ""


def _run(found: Meaning, step: Run) -> tuple[Work, str]:
    command = step.command
    if step.heredocs:
        command = Command((_script(step),), in_shell=True)
    arguments = tuple(_words(found.config, command))
    environment = found.variables()
    environment.setdefault("PATH", PATH)
    proxies = {name: value for name, value in found.given.items() if name in PROXIES and name not in environment}
    found.used.update(proxies)
    seen = [f"{name}={value}" for name, value in sorted(found.args.items())]
    prefix = f"|{len(seen)} {' '.join(seen)} " if seen else ""
    work = RunWork(
        arguments,
        tuple(f"{name}={value}" for name, value in environment.items()),
        tuple(f"{name}={value}" for name, value in proxies.items()),
        found.config.get("WorkingDir") or "/",
        found.config.get("User") or "",
    )
    return work, f"RUN {prefix}{' '.join(arguments)}"


def _script(step: Run) -> str:
    """A heredoc alone is the script; with words around it, it is put back for the shell to read."""
    (text,) = step.command.words
    if as_heredoc(text) and len(step.heredocs) == 1:
        body = step.heredocs[0].content
        if body.startswith("#!"):
            raise BuildError("RUN: a heredoc that begins with #! is not there yet")
        return body
    return text + "".join(f"\n{heredoc.body}{heredoc.name}" for heredoc in step.heredocs)


def _copy(found: Meaning, step: Copy) -> Work:
    destination = posixpath.join(found.config.get("WorkingDir") or "/", step.destination)
    is_folder = destination.endswith(("/", "/.")) or step.destination == "."
    destination = "/" + posixpath.normpath(destination).lstrip("/")
    if is_folder and destination != "/":
        destination += "/"
    if not all(step.sources) or not step.destination:
        raise BuildError("COPY: a path is empty")
    if len(step.sources) + len(step.heredocs) > 1 and not destination.endswith("/"):
        raise BuildError(f"COPY: several sources need a folder to go to: expected a / at the end of {step.destination}")
    if step.chmod:
        ModeChange(step.chmod)
    files = tuple((heredoc.name, heredoc.content) for heredoc in step.heredocs)
    if any("/" in name or name in (".", "..") for name, _ in files):
        raise BuildError("COPY: the name of a heredoc is a file's name, without a slash")
    return CopyWork(replace(step, destination=destination), files)


def _arg(found: Meaning, step: Arg) -> None:
    for name, default in step.items:
        found.used.add(name)
        if name in found.given:
            found.args[name] = found.given[name]
        elif default is not None:
            found.args[name] = expand_word(default, found.variables(), found.escape, step.line)
            found.count(found.args[name])
        elif name in found.defaults:
            found.args[name] = found.defaults[name]


def _words(config: Mapping[str, Any], command: Command) -> list[str]:
    return [*(config.get("Shell") or SHELL), *command.words] if command.in_shell else list(command.words)


def _healthcheck(step: Healthcheck) -> dict[str, Any]:
    if step.command is None:
        return {"Test": ["NONE"]}
    times = {
        "Interval": step.interval_ns,
        "Timeout": step.timeout_ns,
        "StartPeriod": step.start_period_ns,
        "StartInterval": step.start_interval_ns,
        "Retries": step.retries,
    }
    kind = "CMD-SHELL" if step.command.in_shell else "CMD"
    return {"Test": [kind, *step.command.words], **{name: value for name, value in times.items() if value}}


def _ports(text: str) -> list[str]:
    match = PORTS.fullmatch(text)
    first = int(match.group(1)) if match else 0
    last = int(match.group(2) or first) if match else 0
    if not match or not 1 <= first <= last <= 65535:
        raise BuildError(f"EXPOSE: {text!r}: expected a port such as 80, 53/udp or 8000-8010/tcp")
    return [f"{port}/{(match.group(3) or 'tcp').lower()}" for port in range(first, last + 1)]


def _set(config: dict[str, Any], name: str, value: str) -> None:
    kept = [text for text in config.get("Env") or () if _split(text)[0] != name]
    at = next((at for at, text in enumerate(config.get("Env") or ()) if _split(text)[0] == name), len(kept))
    config["Env"] = [*kept[:at], f"{name}={value}", *kept[at:]]


def _split(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value
