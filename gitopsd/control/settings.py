"""Where this controller keeps its things and which repository it works for.

Every value has a default, an environment variable and an option, the later one winning.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from gitopsd.model.errors import GitopsdError

DEFAULT_STATE_DIR = "/var/lib/gitopsd"
_LONGEST = 60
"""Unix sockets below the state folder end at 107 bytes; a builder's monitors add 20 and their folders."""


@dataclass(frozen=True)
class Settings:
    state_dir: Path
    repository: str
    """An address or a folder, as Git takes it."""
    reference: str
    """A branch, tag or commit."""
    key: Path | None = None
    """The private key for hosts that name none."""
    registry_listen: str = ""
    """The one address beside loopback at which the embedded registry may listen, should the fleet file ask for it."""

    @property
    def store(self) -> Path:
        return self.state_dir / "store.sqlite"

    @property
    def repositories(self) -> Path:
        return self.state_dir / "repositories"

    @property
    def lock(self) -> Path:
        return self.state_dir / "lock"

    @property
    def socket(self) -> Path:
        """Where `serve` takes requests of commands."""
        return self._sockets / "serve.sock"

    @property
    def engine_data(self) -> Path:
        """The data root of the engine that builds, and of the embedded registry."""
        return self.state_dir / "engine"

    @property
    def engine_run(self) -> Path:
        return self._sockets / "run"

    @property
    def lab(self) -> Path:
        return self.state_dir / "lab"

    @property
    def instance(self) -> str:
        """Tells several controllers on one machine apart."""
        return hashlib.sha256(str(self.state_dir).encode()).hexdigest()[:8]

    def remove_sockets(self) -> None:
        """Remove the folder that sockets have where the state folder's name is too long for theirs, if none is in it."""
        if self._sockets != self.state_dir:
            with contextlib.suppress(OSError):
                self._sockets.rmdir()

    @property
    def _sockets(self) -> Path:
        return self.state_dir if len(str(self.state_dir)) <= _LONGEST else Path("/run") / f"gitopsd-{self.instance}"


def read_settings(
    repository: str | None = None, reference: str | None = None, state_dir: str | None = None, key: str | None = None
) -> Settings:
    """Options over the environment over defaults."""
    folder = Path(state_dir or os.environ.get("GITOPSD_STATE_DIR") or DEFAULT_STATE_DIR).absolute()
    address = repository or os.environ.get("GITOPSD_REPO") or str(_repository_around(Path.cwd()))
    if Path(address).expanduser().is_dir():
        address = str(_repository_around(Path(address).expanduser().absolute()))
    named = reference or os.environ.get("GITOPSD_REF") or checked_out(Path(address))
    private = key or os.environ.get("GITOPSD_KEY")
    return Settings(folder, address, named, Path(private).expanduser() if private else None, registry_listen())


def registry_listen() -> str:
    """From the environment alone: no file in Git may say it."""
    return os.environ.get("GITOPSD_REGISTRY_LISTEN", "")


def _repository_around(folder: Path) -> Path:
    """The repository that a folder is in; itself if it is in none, which Git will then say."""
    for place in (folder, *folder.parents):
        if (place / ".git").exists() or ((place / "HEAD").is_file() and (place / "objects").is_dir()):
            return place
    return folder


def checked_out(folder: Path) -> str:
    """The branch that a repository on this machine has checked out; of another, HEAD: its default branch."""
    for head in (folder / ".git" / "HEAD", folder / "HEAD"):
        try:
            text = head.read_text().strip()
        except OSError:
            continue
        return text.removeprefix("ref: refs/heads/") if text.startswith("ref: refs/heads/") else text
    return "HEAD"


def check_state_dir(settings: Settings) -> None:
    """Make it, or say why not."""
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        hint = "choose another with --state-dir or GITOPSD_STATE_DIR"
        raise GitopsdError("state-dir", f"{settings.state_dir}: {error.strerror}", hint=hint) from error
