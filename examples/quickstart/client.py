"""A client that opens a new connection for each fetch, as fast as one can be asked to: `client.py ADDRESS:PORT`, until its standard input ends.

Prints what it counted as JSON.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

AT_MOST = 400.0
"""Fetches a second: enough to catch a gap of a few milliseconds, little enough to leave the machine to the hosts."""


def fetch(address: tuple[str, int]) -> str:
    """Empty when the answer is 200, else what went wrong."""
    try:
        with socket.create_connection(address, timeout=5) as sock:
            sock.sendall(b"GET /version HTTP/1.0\r\n\r\n")
            data = b""
            while part := sock.recv(65536):
                data += part
        return "" if data.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200")) else repr(data[:80])
    except OSError as error:
        return repr(error)


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    fetches, errors, started = 0, [], time.monotonic()
    while not select.select([sys.stdin], [], [], 0)[0]:
        error = fetch((host, int(port)))
        fetches += 1
        if error:
            errors.append(error)
        ahead = fetches / AT_MOST - (time.monotonic() - started)
        if ahead > 0:
            time.sleep(ahead)
    seconds = time.monotonic() - started
    print(json.dumps({"fetches": fetches, "failed": len(errors), "rate": fetches / seconds, "errors": errors[:5]}))


if __name__ == "__main__":
    main()
