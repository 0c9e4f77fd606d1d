"""How a command asks the `serve` that runs: a unix socket in the state folder, only for its owner.

A request is one line of JSON, `{"do": "sync" | "apply", …}`. The answer is lines: `{"line": text}` as things happen, at the end
`{"result": …}` or `{"error": text}`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from gitopsd.model.errors import GitopsdError, Where

Json = dict[str, Any]
_LONGEST = 64 << 20


@dataclass
class Asked:
    """A request, and where its answer goes."""

    request: Json
    say: Callable[[Json], None]
    done: threading.Event = field(default_factory=threading.Event)

    def end(self, last: Json) -> None:
        self.say(last)
        self.done.set()


class Requests:
    """Listens, and puts what it is asked into a queue for the loop. `wake` is called for each."""

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        self.waiting: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        self._path = path
        self._wake = wake
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)  # left by one that was killed: the lock says that nobody else serves
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(mask)
        self._socket.listen(16)
        self._thread = threading.Thread(target=self._accept, name="requests", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        self._socket.shutdown(socket.SHUT_RDWR)  # closing alone does not end a thread that waits in accept
        self._thread.join()
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        lock = threading.Lock()
        with connection, contextlib.suppress(OSError):

            def say(message: Json) -> None:
                with lock, contextlib.suppress(OSError):  # whoever asked may have gone
                    connection.sendall(json.dumps(message).encode() + b"\n")

            with connection.makefile("rb") as lines:
                try:
                    request: Any = json.loads(lines.readline(_LONGEST))
                    if not isinstance(request, dict):
                        raise ValueError
                except ValueError:
                    say({"error": "a request is one line of JSON"})
                    return
            asked = Asked(cast("Json", request), say)
            self.waiting.put(asked)
            self._wake()
            asked.done.wait()


def ask(path: Path, request: Json) -> Iterator[Json] | None:
    """Ask the `serve` that runs; None when none does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
    except OSError:
        connection.close()
        return None
    return _answers(connection, path)


def _answers(connection: socket.socket, path: Path) -> Iterator[Json]:
    with connection, connection.makefile("rb") as lines:
        for line in lines:
            message = json.loads(line)
            yield message
            if "result" in message or "error" in message:
                return
    raise GitopsdError("serve-gone", "it ended before it answered", Where(file=str(path)), "see what its log says", "retry")
