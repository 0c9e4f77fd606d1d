"""This machine as a host, without SSH: for the engine that builds, where the controller runs."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import socket
import subprocess
from collections.abc import Sequence

from gitopsd.hosts import writefile
from gitopsd.hosts.link import Finished, Stream, StreamFiles
from gitopsd.model.errors import GitopsdError, Where


class SocketStream(StreamFiles):
    """A stream over a connected socket."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def recv(self, size: int) -> bytes:
        return self._socket.recv(size)

    def sendall(self, data: bytes | memoryview) -> None:
        self._socket.sendall(data)

    def shutdown_write(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def settimeout(self, timeout_s: float | None) -> None:
        self._socket.settimeout(timeout_s)

    def is_stale(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def close_now(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # ends a read that waits in another thread
        self._socket.close()


class LocalLink:
    def __init__(self, name: str = "localhost", *, dial_timeout_s: float = 10) -> None:
        self.name = name
        self.login = pwd.getpwuid(os.geteuid()).pw_name
        self._dial_timeout_s = dial_timeout_s

    def dial(self, socket_path: str, *, bulk: bool = False) -> Stream:
        del bulk  # each has a connection of its own anyway
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.settimeout(self._dial_timeout_s)
            connected.connect(socket_path)
        except OSError as error:
            connected.close()
            raise engine_unreachable(self.name, socket_path, error.strerror or str(error)) from error
        return SocketStream(connected)

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, as_root: bool = False, timeout_s: float = 60) -> Finished:
        command = with_sudo(argv, self.login, as_root)
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout_s, check=False)
        except FileNotFoundError as error:
            return Finished(127, b"", str(error).encode())  # as a shell answers over SSH
        except subprocess.TimeoutExpired as error:
            raise command_timeout(self.name, argv, timeout_s) from error
        return Finished(done.returncode, done.stdout, done.stderr)

    def put(self, data: bytes, path: str, *, mode: int = 0o600, as_root: bool = False) -> None:
        writefile.write(self, data, path, mode, as_root)

    def close(self) -> None:
        pass


def with_sudo(argv: Sequence[str], login: str, as_root: bool) -> list[str]:
    return ["sudo", "-n", "--", *argv] if as_root and login != "root" else list(argv)


def engine_unreachable(host: str, socket_path: str, reason: str) -> GitopsdError:
    hint = "its engine does not run, or bootstrap has not been there: gitopsd host bootstrap"
    if "ermission" in reason:
        hint = "the socket is another user's: gitopsd host bootstrap gives it to the one who logs in"
    return GitopsdError("engine-unreachable", f"no answer on {socket_path}: {reason}", Where(host=host), hint, "retry")


def command_timeout(host: str, argv: Sequence[str], timeout_s: float) -> GitopsdError:
    return GitopsdError("host-timeout", f"{argv[0]} did not end within {timeout_s:g} s", Where(host=host), next="retry")
