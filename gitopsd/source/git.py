"""Git, run so that nothing but what is said here decides what it does.

In: a folder of ours and an address.  Out: GitPython's `Repo` over a command that starts from an empty environment.

Rule 1: no configuration but the file written here: not the system's, not the user's (GIT_CONFIG_NOSYSTEM, HOME), no hooks,
no prompt, no credential helper, no protocol but the address's own (protocol.allow). What arrives is checked (fsckObjects).
Rule 2: nothing that a user wrote is a keyword argument of GitPython, and what they wrote stands after `--` or `--end-of-options`
(GitPython's advisories of 2026).

GitPython hands its own environment on, so `Command.execute` puts `env -i` before Git: a GIT_DIR or GIT_SSH_COMMAND that the
controller inherited reaches nothing.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from git import Git, GitCommandError, Repo

from gitopsd.model.errors import GitopsdError
from gitopsd.source.address import Address

_KEPT = (
    "PATH",
    "SSH_AUTH_SOCK",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "GIT_SSL_CAINFO",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "TMPDIR",
)

_SAYS_NOTHING = (
    "fatal: Could not read from remote repository",
    "Please make sure you have the correct access rights",
    "and the repository exists",
    "warning:",
)

_CONFIG = """\
[core]
    hooksPath = /dev/null
    attributesFile = /dev/null
    fsync = committed,reference
    askPass =
[protocol]
    allow = never
[protocol "{protocol}"]
    allow = always
[transfer]
    fsckObjects = true
    bundleURI = false
[fetch]
    fsckObjects = true
    recurseSubmodules = no
    writeCommitGraph = false
[fetch "fsck"]
    zeroPaddedFilemode = ignore
    badTimezone = ignore
    missingSpaceBeforeDate = ignore
[gc]
    auto = 0
    autoDetach = false
[maintenance]
    auto = false
[http]
    lowSpeedLimit = 1000
    lowSpeedTime = 60
[safe]
"""


@dataclass(frozen=True)
class Ssh:
    """How ssh is run for a repository: which key, and which file knows the host. None: what the user's ssh does."""

    key: str | None = None
    known_hosts: str | None = None

    def command(self) -> str:
        """For GIT_SSH_COMMAND, which Git gives to a shell."""
        words = ["ssh", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "-oConnectTimeout=20", "-oServerAliveInterval=15"]
        if self.key:
            words += ["-i", self.key, "-oIdentitiesOnly=yes"]
        if self.known_hosts:
            words += ["-oUserKnownHostsFile=" + self.known_hosts]
        return shlex.join(words)


class Command(Git):
    """GitPython's command with an environment of ours alone: what `update_environment` was given."""

    def execute(self, command: Any, *args: Any, **kwargs: Any) -> Any:
        given = [f"{name}={value}" for name, value in self.environment().items()]
        return cast("Any", super().execute(["/usr/bin/env", "-i", *given, *command], *args, **kwargs))


class _Mirror(Repo):
    GitCommandWrapperType = Command


def environment(home: Path, ssh: Ssh) -> dict[str, str]:
    """What Git sees."""
    return {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_SSH_COMMAND": ssh.command(),
        "GIT_SSH_VARIANT": "ssh",
    }


def write_config(home: Path, address: Address) -> None:
    """Git's whole configuration, in a home of its own."""
    protocol = "file" if address.kind == "local" else address.kind
    lines = [_CONFIG.format(protocol=protocol)]
    if address.kind == "local":
        # Git refuses a repository of another user; that this one is meant was said by whoever named it.
        folders = (address.text, f"{address.text}/.git", *git_folders(address.text))
        lines += [f"    directory = {_quoted(path)}\n" for path in folders]
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / ".gitconfig").write_text("".join(lines))


def command_in(folder: Path, home: Path, ssh: Ssh) -> Git:
    """A command for calls that need no repository."""
    command = Command(folder)
    command.update_environment(**environment(home, ssh))
    return command


def open_repository(path: Path, home: Path, ssh: Ssh) -> Repo:
    """GitPython's Repo over `path`; the caller closes it, and uses it from one thread at a time."""
    repo = _Mirror(path, expand_vars=False)
    repo.git.update_environment(**environment(home, ssh))
    return cast("Repo", repo)


def git_folders(path: str) -> tuple[str, ...]:
    """The folders that hold the references of a local repository: of a linked worktree its own and the common one.

    Read from the files themselves, as gitrepository-layout(5) describes them; () for what is no repository.
    """
    here = Path(path)
    dot_git = here / ".git"
    if dot_git.is_file():
        named = dot_git.read_text(errors="replace").strip()
        if not named.startswith("gitdir:"):
            return ()
        folder = (here / named.removeprefix("gitdir:").strip()).resolve()
    elif dot_git.is_dir():
        folder = dot_git.resolve()
    elif (here / "HEAD").is_file() and (here / "objects").is_dir():
        folder = here.resolve()
    else:
        return ()
    common = folder / "commondir"
    if not common.is_file():
        return (str(folder),)
    return (str(folder), str((folder / common.read_text(errors="replace").strip()).resolve()))


def failure(error: GitCommandError, code: str, what: str, hint: str | None = None) -> GitopsdError:
    """What Git said, in one clause: its last word, without the command line."""
    lines = [line.strip() for line in str(error.stderr).replace("stderr:", "").strip().strip("'").splitlines() if line.strip()]
    if lines and lines[0].startswith("Timeout:"):
        return GitopsdError(code, f"{what}: no answer in time", hint=hint, next="retry")
    lines = [line for line in lines if not line.startswith(_SAYS_NOTHING)]  # what ssh said stands before it
    fatal = [line for line in lines if line.startswith(("fatal:", "error:", "ERROR:"))] or lines[-1:]
    reason = "".join(character if character.isprintable() else "?" for character in (fatal or ["git failed"])[0])[:300]
    if "ost key verification failed" in reason:
        hint = "ask whoever runs that host for its key, and put it into the known_hosts file"
    return GitopsdError(code, f"{what}: {reason}", hint=hint, next="retry")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
