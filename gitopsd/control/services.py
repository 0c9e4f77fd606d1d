"""What runs on the controller's own machine: the engine that builds, and the embedded registry.

Both are the same zipapp that hosts get, below the state folder, and share one store of blobs. They outlive the command that started them;
`gitopsd engine` and `gitopsd registry` say how they are and take them away.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from gitopsd.control.settings import Settings
from gitopsd.hosts.bootstrap import Place, bootstrap, read_installed, remove, stop
from gitopsd.hosts.engineapi import EngineApi
from gitopsd.hosts.local import LocalLink
from gitopsd.hosts.package import package
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.fleet import Registry

_UP_WITHIN_S = 20.0
_DOWN_WITHIN_S = 10.0


class LocalServices:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._builder: EngineApi | None = None
        self._registry_is_up = False

    def place(self, registry: Registry | None = None) -> Place:
        """Where the engine that builds lives."""
        run = self._settings.engine_run
        mirrors = [
            word
            for name, address in (registry.mirrors if registry else ())
            for word in ("--registry-mirror", f"{name}={address}")
        ]
        return Place(
            data_root=str(self._settings.engine_data),
            exec_root=str(run),
            unit_path=f"/etc/systemd/system/gitopsd-builder-{self._settings.instance}.service",
            log_path=str(self._settings.state_dir / "engine.log"),
            options=tuple(mirrors),
        )

    def builder(self, registry: Registry) -> EngineApi:
        """The engine that builds, started if it does not run."""
        with self._lock:
            if self._builder is None:
                place = self.place(registry)
                bootstrap(LocalLink("this machine"), None, place)
                self._builder = EngineApi(LocalLink("this machine"), place.socket)
            return self._builder

    def ensure_registry(self, registry: Registry) -> None:
        """Have the embedded registry answer at its address."""
        with self._lock:
            if not registry.embedded or self._registry_is_up:
                return
            if self._pid() == 0:
                if _answers(registry.address):
                    hint = "stop it, or give the fleet file another registry.address"
                    raise GitopsdError("registry-taken", f"something else answers at {registry.address}", hint=hint)
                self._start(registry)
            deadline = time.monotonic() + _UP_WITHIN_S
            while not _answers(registry.address):
                if time.monotonic() > deadline:
                    where = Where(file=str(self._log))
                    raise GitopsdError(
                        "registry-not-up", f"the registry does not answer at {registry.address}", where, next="retry"
                    )
                time.sleep(0.05)
            self._registry_is_up = True

    def registry_answers(self, registry: Registry) -> bool:
        """Whether the embedded registry runs, and at its address."""
        return self._pid() != 0 and _answers(registry.address)

    def status(self) -> dict[str, str | int | None]:
        installed = read_installed(LocalLink(), self.place())
        return {
            "engine": installed.digest[:12] or "not running",
            "engine_pid": installed.pid or None,
            "registry": "running" if self._pid() else "not running",
            "registry_pid": self._pid() or None,
            "data": str(self._settings.engine_data),
        }

    def stop_registry(self) -> bool:
        """Whether it ran."""
        pid = self._pid()
        if not pid:
            return False
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _DOWN_WITHIN_S
        while self._pid():
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        self._pid_file.unlink(missing_ok=True)
        return True

    def stop_engine(self) -> None:
        stop(LocalLink(), self.place())

    def remove(self) -> None:
        """Take both away, with everything that was built and pushed."""
        self.stop_registry()
        remove(LocalLink(), self.place(), delete_volumes=True)
        self._settings.remove_sockets()

    def close(self) -> None:
        if self._builder is not None:
            self._builder.close()

    @property
    def _pid_file(self) -> Path:
        return self._settings.state_dir / "registry.pid"

    @property
    def _log(self) -> Path:
        return self._settings.state_dir / "registry.log"

    def _pid(self) -> int:
        """The registry's parent, if it still is what it was: numbers come again."""
        try:
            pid = int(self._pid_file.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return 0
        return pid if b"registry" in words and str(self._settings.engine_data).encode() in words else 0

    def _start(self, registry: Registry) -> None:
        engine = package()
        archive = self._settings.engine_data / "engine" / f"{engine.digest}.pyz"
        if not archive.exists():
            archive.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = archive.with_suffix(f".{os.getpid()}.tmp")
            partial.write_bytes(engine.data)
            partial.chmod(0o600)
            partial.rename(archive)
        words = ["supervise", "--", "registry", "--data-root", str(self._settings.engine_data), "--listen", registry.address]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(archive), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        process.returncode = 0  # nobody here waits for it
        self._pid_file.write_text(str(process.pid))


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        host, _, port = address.rpartition(":")
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=2)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in (200, 401)
        finally:
            connection.close()
    return False
