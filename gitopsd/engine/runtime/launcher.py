"""The daemon's side of the launcher process (forkserver.py): starts it, asks it, starts it again when it has died."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from typing import Any

from gitopsd.engine.runtime import forkserver, messages


class Launcher:
    """Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None

    def launch(self, kind: str, spec: dict[str, Any], descriptors: list[int]) -> int:
        """Fork a child with this specification and these descriptors (which stay the caller's); returns its pid."""
        memory = os.memfd_create("spec", os.MFD_CLOEXEC)
        try:
            data = json.dumps(spec, ensure_ascii=False).encode("utf-8", "surrogateescape")
            while data:
                data = data[os.write(memory, data) :]
            with self._lock:
                try:
                    return self._ask(kind, [memory, *descriptors])
                except messages.Closed:
                    self._stop()
                    return self._ask(kind, [memory, *descriptors])
        finally:
            os.close(memory)

    def start(self) -> None:
        """Start the process now, so that the first launch does not wait for it."""
        with self._lock:
            self._connect()

    def close(self) -> None:
        """End the launcher; what it has started goes on."""
        with self._lock:
            self._stop()

    def _ask(self, kind: str, descriptors: list[int]) -> int:
        sock = self._connect()
        messages.send(sock, {"kind": kind}, descriptors)
        answer, _ = messages.receive(sock)
        if "error" in answer:
            raise OSError(f"start {kind}: {answer['message']}")
        return answer["pid"]

    def _connect(self) -> socket.socket:
        if self._sock is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._process = subprocess.Popen(
                forkserver.command("protect"),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
                start_new_session=True,
            )
            theirs.close()
            self._sock = ours
        return self._sock

    def _stop(self) -> None:
        if self._sock is not None and self._process is not None:
            self._sock.close()
            self._process.wait()
            self._sock = self._process = None
