"""A Git repository, mirrored, and its commits as revisions.

In: an address, and a folder for mirrors.  Out: whether anything moved; a `Revision` whose files are read when asked.

Rule 1: a fetch arrives in a namespace of its own (`refs/gitopsd/<n>/`) and counts only when `current.json` was replaced to
name it. Killed at any point, what was known before is what is known; branches that become folders, or back, are no conflict.
Rule 2: the mirror is a cache. One that Git finds broken is made anew beside it and takes its place when it is whole.
Rule 3: a commit is named by what `references()` says, not by ancestry: a force-push is a change like another.
Rule 4: one GitPython Repo for the mirror's life, behind a lock; a Repo for each use would leave two processes behind each time.

HEAD, the remote's default branch, is asked for when a branch or tag moved, so polling costs one call.
Not here: running Git safely (git.py), the files of a commit (tree.py), noticing (watch.py).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from git import Git, GitCommandError, Repo
from git.exc import GitError, ODBError

from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.revision import Revision
from gitopsd.source.address import Address, parse_address
from gitopsd.source.git import Ssh, command_in, failure, git_folders, open_repository, write_config
from gitopsd.source.tree import GitTree

Result = TypeVar("Result")

_NAME = re.compile(r"(?!.*(?:\.\.|//|@\{|/\.|\.lock(?:/|$)))[^\x00-\x20\x7f~^:?*\[\\/.-][^\x00-\x20\x7f~^:?*\[\\]*(?<![/.])")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_ASK_TIMEOUT_S = 60.0
_FETCH_TIMEOUT_S = 1800.0
_MOST_PACKS = 40
_STALE_NS = 3600 * 10**9  # of a lock that Git left when it was killed; no call of ours takes that long
_BROKEN = (GitError, ODBError, ValueError, OSError)


class Repository:
    """`root` keeps the mirrors of all repositories; this one's folder in it is named by the address."""

    def __init__(self, address: str, root: Path, ssh: Ssh | None = None) -> None:
        self.address: Address = parse_address(address)
        self._ssh = ssh or Ssh()
        self._folder = root / hashlib.sha256(self.address.text.encode(errors="surrogateescape")).hexdigest()[:16]
        self._home = self._folder / "home"
        self._mirror = self._folder / "mirror.git"
        self._reading = threading.RLock()
        self._fetching = threading.Lock()
        self._repo: Repo | None = None
        self._is_broken = False
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_config(self._home, self.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends Git's processes. A revision taken before can still be read: that opens it again."""
        with self._reading:
            if self._repo:
                self._repo.close()
            self._repo = None

    def fetch(self) -> bool:
        """Brings the mirror up to date; whether any branch or tag moved. Raises `repository-unreachable`."""
        with self._fetching, self._alone():
            offered = self._ask()
            if offered == self._known()["references"] and not self._is_broken:
                return False
            try:
                return self._bring(self._mirror)
            except _BROKEN as error:
                if self._is_whole():
                    raise self._unreachable(error) from error
                return self._make_anew()

    def has_moved(self) -> bool:
        """Whether a fetch would bring something: one question to the remote, nothing written."""
        return self._is_broken or self._ask() != self._known()["references"]

    def references(self) -> dict[str, str]:
        """Branches and tags as of the last fetch, `refs/heads/main` to commit (or tag object)."""
        return dict(self._known()["references"])

    def revision(self, reference: str = "HEAD") -> Revision:
        """The commit that a branch, a tag, HEAD or (the start of) a commit's name means, as of the last fetch."""
        if reference != "HEAD" and not _NAME.fullmatch(reference):
            raise self._no_such(reference, "is not a name that Git allows")
        known = self._known()
        named: dict[str, str] = known["references"]
        if not named:
            raise self._no_such(reference, "is not there: the repository is empty, or was never fetched")
        candidates = (
            (known["head"], "")
            if reference == "HEAD"
            else (named.get(name) for name in (reference, f"refs/heads/{reference}", f"refs/tags/{reference}"))
        )
        found = next((commit for commit in candidates if commit), None)
        if not found and not _COMMIT.fullmatch(reference):
            raise self._no_such(reference, "is no branch, tag or commit")
        return self._revision(reference, found)

    def read_blob(self, blob: str) -> bytes:
        """The bytes of a blob by its id."""
        return self._with(lambda repo: repo.git.get_object_data(blob)[3])

    def blob_size(self, blob: str) -> int:
        return self._with(lambda repo: int(repo.git.get_object_header(blob)[2]))

    def list_tree(self, commit: str) -> bytes:
        """`git ls-tree` of all files and folders of a commit, NUL-separated."""
        flags = ("-r", "-t", "-z", "--full-tree")
        return self._with(lambda repo: cast("bytes", repo.git.ls_tree(*flags, _checked(commit), stdout_as_string=False)))

    def root_tree(self, commit: str) -> str:
        return self._with(lambda repo: str(repo.commit(_checked(commit)).tree.hexsha))

    def touched_at(self, commit: str, path: str) -> int:
        """When the last commit up to this one that touched `path` was made; 0 if none did."""
        words = ("-1", "--format=%ct", "--end-of-options", _checked(commit), "--", f":(top,literal){path}")
        said = self._with(lambda repo: str(repo.git.log(*words)))
        return int(said) if said.strip() else 0

    def commits(self, commit: str, path: str, limit: int = 200) -> tuple[str, ...]:
        """The last commits up to this one that touched `path`, the newest first."""
        words = (f"-{limit}", "--format=%H", "--end-of-options", _checked(commit), "--", f":(top,literal){path}")
        return tuple(self._with(lambda repo: str(repo.git.log(*words))).split())

    def _revision(self, reference: str, commit: str | None) -> Revision:
        def read(repo: Repo) -> Revision:
            spelled = f"{commit or reference}^{{commit}}"
            try:
                full = str(repo.git.rev_parse("--verify", "--quiet", "--end-of-options", spelled))
            except GitCommandError:
                if commit:
                    repo.git.get_object_header(commit)  # ValueError: it is missing, not something else
                raise self._no_such(reference, "is no commit of this repository") from None
            found = repo.commit(_checked(full))
            return Revision(
                repository=self.address.text,
                reference=reference,
                commit=full,
                subject=_one_line(found.summary),
                author=_one_line(found.author.name or ""),
                committed_at=int(found.committed_date),
                tree=GitTree(self, full),
            )

        return self._with(read)

    def _ask(self) -> dict[str, str]:
        try:
            said = self._outside().ls_remote("--heads", "--tags", "--", self.address.text, kill_after_timeout=_ASK_TIMEOUT_S)
        except GitCommandError as error:
            raise self._unreachable(error) from error
        lines = (line.split("\t", 1) for line in str(said).splitlines())
        return {name: commit for commit, name in lines if not name.endswith("^{}")}

    def _ask_head(self) -> str:
        said = self._outside().ls_remote("--", self.address.text, "HEAD", kill_after_timeout=_ASK_TIMEOUT_S)
        lines = (line.split("\t", 1) for line in str(said).splitlines())
        return next((commit for commit, name in lines if name == "HEAD"), "")

    def _bring(self, mirror: Path) -> bool:
        """Fetches into a new namespace of `mirror` and makes it the current one."""
        before = self._known()
        if not mirror.exists():
            self._outside().init("--bare", "--quiet", "--template=", "--", str(mirror))
        git = command_in(mirror, self._home, self._ssh)
        number = max(before["namespace"], *_namespaces(git, mirror)) + 1
        space = f"refs/gitopsd/{number}"
        head = self._ask_head()
        wanted = [f"+refs/heads/*:{space}/heads/*", f"+refs/tags/*:{space}/tags/*", *([f"+HEAD:{space}/head"] if head else [])]
        flags = ["--quiet", "--atomic", "--force", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"]
        git.fetch(*flags, "--", self.address.text, *wanted, kill_after_timeout=_FETCH_TIMEOUT_S)
        arrived = _references(git, space)
        head = arrived.pop(f"{space}/head", "")
        named = {name.replace(space, "refs", 1): commit for name, commit in arrived.items()}
        if mirror == self._mirror:
            self._write({"namespace": number, "references": named, "head": head})
            with suppress(GitError):  # it is done next time
                self._tidy(git, number)
        else:
            self._replace(mirror, {"namespace": number, "references": named, "head": head})
        self._is_broken = False
        return named != before["references"] or head != before["head"]

    def _make_anew(self) -> bool:
        beside = self._folder / "mirror.new"
        shutil.rmtree(beside, ignore_errors=True)  # noqa: TID251  our own files
        try:
            return self._bring(beside)
        except GitError as error:
            raise self._unreachable(error) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)  # noqa: TID251  our own files

    def _replace(self, whole: Path, known: dict[str, Any]) -> None:
        self.close()
        shutil.rmtree(self._mirror, ignore_errors=True)  # noqa: TID251  our own files
        whole.rename(self._mirror)
        self._write(known)

    def _is_whole(self) -> bool:
        """Whether Git finds the mirror in order; asked only when something went wrong."""
        if self._is_broken or not self._mirror.exists():
            return False
        try:
            command_in(self._mirror, self._home, self._ssh).fsck("--connectivity-only", "--no-dangling", "--no-progress")
        except GitError:
            return False
        return True

    def _tidy(self, git: Git, number: int) -> None:
        """Drops the namespaces before this one, and repacks when there are many packs."""
        stale = self._mirror / "packed-refs.lock"
        if stale.exists() and time.time_ns() - stale.stat().st_mtime_ns > _STALE_NS:
            stale.unlink(missing_ok=True)
        _drop_all_but(git, number)
        if len(list((self._mirror / "objects" / "pack").glob("*.pack"))) > _MOST_PACKS:
            git.gc("--quiet", kill_after_timeout=_FETCH_TIMEOUT_S)

    def _with(self, read: Callable[[Repo], Result]) -> Result:
        """Runs `read` on the one Repo. Git's processes may have ended with the mirror they read, hence a second try."""
        with self._reading:
            for attempt in (1, 2):
                try:
                    if not self._repo:
                        self._repo = open_repository(self._mirror, self._home, self._ssh)
                    return read(self._repo)
                except _BROKEN as error:
                    self.close()
                    if attempt == 2:
                        self._is_broken = True
                        what = f"the mirror of {self.address.text} is broken"
                        hint = "it is made anew by the next fetch"
                        raise GitopsdError("mirror-broken", what, hint=hint, next="retry") from error
        raise AssertionError

    def _outside(self) -> Git:
        return command_in(self._folder, self._home, self._ssh)

    def _known(self) -> dict[str, Any]:
        """What the last fetch that was completed brought; nothing when there was none or the record cannot be read."""
        try:
            known = json.loads((self._folder / "current.json").read_text())
            return {"namespace": int(known["namespace"]), "references": dict(known["references"]), "head": str(known["head"])}
        except (OSError, ValueError, KeyError, TypeError):
            return {"namespace": 0, "references": {}, "head": ""}

    def _write(self, known: dict[str, Any]) -> None:
        path = self._folder / "current.json"
        with (path.with_suffix(".new")).open("w") as file:
            json.dump(known, file)
            file.flush()
            os.fsync(file.fileno())
        path.with_suffix(".new").replace(path)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Keeps other processes that share `root` out while this one writes."""
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _unreachable(self, error: Exception) -> GitopsdError:
        what = f"cannot fetch {self.address.text}"
        if isinstance(error, GitCommandError):
            hint = "what was fetched last stays in force" if self._known()["references"] else "nothing was ever fetched from it"
            if self.address.kind == "local" and not git_folders(self.address.text):
                hint = "make it a repository: git init, then git add and git commit; or name another with --repo"
            return failure(error, "repository-unreachable", what, hint=hint)
        return GitopsdError("repository-unreachable", f"{what}: {type(error).__name__}", next="retry")

    def _no_such(self, reference: str, why: str) -> GitopsdError:
        named = (name.partition("refs/heads/") for name in self._known()["references"])
        branches = sorted(branch for before, _, branch in named if not before and branch)
        hint = f"branches: {', '.join(branches[:10])}" if branches else None
        return GitopsdError("no-such-reference", f"{reference[:100]!r} {why}", where=Where(object=self.address.text), hint=hint)


def _references(git: Git, prefix: str) -> dict[str, str]:
    said = git.for_each_ref("--format=%(objectname) %(refname)", "--", prefix)
    return {name: commit for commit, _, name in (line.partition(" ") for line in str(said).splitlines())}


def _namespaces(git: Git, mirror: Path) -> list[int]:
    """Numbers that are or were in use: a fetch that was killed leaves lock files, which a new number does not meet."""
    names = [name.split("/")[2] for name in _references(git, "refs/gitopsd")]
    names += [path.name for path in (mirror / "refs" / "gitopsd").glob("*")]
    return [0, *(int(name) for name in names if name.isdecimal())]


def _drop_all_but(git: Git, number: int) -> None:
    old = [name for name in _references(git, "refs/gitopsd") if not name.startswith(f"refs/gitopsd/{number}/")]
    with tempfile.TemporaryFile() as commands:
        commands.write(b"".join(b"delete " + os.fsencode(name) + b"\n" for name in old))
        commands.seek(0)
        git.update_ref("--stdin", istream=commands)


def _checked(commit: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise ValueError(f"{commit[:60]!r} is not a commit")
    return commit


def _one_line(text: str | bytes) -> str:
    """For terminals and logs: what a commit says may hold escape sequences."""
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    return "".join(character if character.isprintable() else " " for character in text)[:200]
