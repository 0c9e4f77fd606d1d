"""Unix sockets on a host that tests talk to; sent there as text: `python3 -c <this> FOLDER`.

`echo` gives back what it gets, and after the end of it `end`. `source` reads a number and a newline and sends as many bytes.
`sink` answers how many bytes came before the end. `silent` accepts and says nothing.
"""

import os
import socket
import sys
import threading


def echo(peer):
    while True:
        data = peer.recv(65536)
        if not data:
            break
        peer.sendall(data)
    peer.sendall(b"end")
    peer.close()


def source(peer):
    line = b""
    while not line.endswith(b"\n"):
        line += peer.recv(1)
    left, block = int(line), bytes(262144)
    while left > 0:
        left -= peer.send(block[:left])
    peer.close()


def sink(peer):
    count = 0
    while True:
        data = peer.recv(262144)
        if not data:
            break
        count += len(data)
    peer.sendall(str(count).encode())
    peer.close()


def silent(peer):
    threading.Event().wait()


def serve(listener, work):
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=work, args=(peer,), daemon=True).start()


os.makedirs(sys.argv[1], exist_ok=True)
for name, work in (("echo", echo), ("source", source), ("sink", sink), ("silent", silent)):
    listener = socket.socket(socket.AF_UNIX)
    path = os.path.join(sys.argv[1], name)
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen(100)
    threading.Thread(target=serve, args=(listener, work), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
