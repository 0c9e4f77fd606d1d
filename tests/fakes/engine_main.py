"""`gitopsd/engine/main.py` of a stand-in engine: what bootstrap needs of a daemon, in a real zipapp and real processes.

`supervise -- daemon …` starts the daemon again when it ends; the daemon answers ping, state and PUT host on its socket, keeps
what it was told in its data root, and says which command line it runs with.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import socketserver
import sys
import time

MARK = "one"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.reply(200, {"host": host(), "mark": MARK, "command": sys.argv, "pid": os.getpid()})

    def do_PUT(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(option("--data-root") + "/fleet.json", "w") as file:
            json.dump(body, file)
        self.reply(200, None)

    def log_message(self, *arguments: object) -> None:
        pass


def host() -> dict[str, object]:
    try:
        with open(option("--data-root") + "/fleet.json") as file:
            return json.load(file)
    except FileNotFoundError:
        return {"fleet": None}


def daemon() -> int:
    root, run = option("--data-root"), option("--exec-root")
    os.makedirs(run, exist_ok=True)
    with open(root + "/VERSION", "w") as file:
        file.write('{"layout": 1, "instance": "fake2"}\n')
    path = option("--host")[len("unix://") :]
    if os.path.exists(path):
        os.unlink(path)
    server = Server(path, Handler)
    os.chmod(path, 0o600)
    os.chown(path, int(option("--socket-user")), -1)
    with open(run + "/engine.pid", "w") as file:
        file.write(f"{os.getpid()}\n")
    server.serve_forever()
    return 0


def supervise() -> int:
    child = 0

    def leave(*_: object) -> None:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    with open("/proc/self/cmdline") as file:
        archive = next(word for word in file.read().split("\0") if word.endswith(".pyz"))
    while True:
        child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-I", "-S", archive, *sys.argv[3:]])
        os.waitpid(child, 0)
        time.sleep(0.05)


def main() -> int:
    if sys.argv[1] == "uninstall":
        with open("/tmp/uninstalled", "w") as file:
            file.write(" ".join(sys.argv[1:]))
        return 0
    return {"daemon": daemon, "supervise": supervise}[sys.argv[1]]()
