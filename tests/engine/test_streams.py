"""Output, input and logs: byte for byte, in order, bounded, and never in a container's way."""

from __future__ import annotations

import hashlib
import os
import socket
import time

import pytest

from gitopsd.dockerapi.frames import FrameReader
from tests.engine.running import Engine, fails, until

pytestmark = pytest.mark.host

_BOUND = 5 * (4 << 20)


def log_bytes(engine: Engine, container: str) -> int:
    folder = engine.data_root / "containers" / container / "log"
    return sum(file.stat().st_size for file in folder.iterdir())


def attach(engine: Engine, container: str, **query: object) -> socket.socket:
    """A raw attach without an upgrade, as docker-py does it."""
    words = "&".join(f"{name}={value}" for name, value in {"stream": 1, "stdout": 1, "stderr": 1, **query}.items())
    return engine.take_over(f"/containers/{container}/attach?{words}", 200)


def read_frames(sock: socket.socket) -> dict[int, bytes]:
    reader, found = FrameReader(), {1: b"", 2: b""}
    while data := sock.recv(65536):
        for stream, text in reader.feed(data):
            found[stream] += text
    return found


def test_output_and_errors_are_apart_and_binary(engine: Engine) -> None:
    made = engine.run("sh", "-c", r"printf '\000\001\377\r\n\200no newline'; printf '\376err' >&2")
    engine.wait(made)
    assert engine.raw_logs(made) == b"\x00\x01\xff\r\n\x80no newline"
    assert engine.raw_logs(made, 2) == b"\xfeerr"


def test_a_megabyte_of_noise_comes_through_attach_as_it_was(engine: Engine) -> None:
    made = engine.create(
        "sh", "-c", "head -c 5000000 /dev/urandom | tee /dev/stderr | sha256sum > /sum; cat /sum >&2", OpenStdin=False
    )
    with attach(engine, made, stderr=1) as sock:
        engine.start_container(made)
        errors = read_frames(sock)[2]
    noise, line = errors[:5_000_000], errors[5_000_000:]
    assert hashlib.sha256(noise).hexdigest() == line.split()[0].decode()


def test_input_is_half_closed_and_the_answer_still_arrives(engine: Engine) -> None:
    made = engine.create("sh", "-c", "sha256sum; echo after the end", OpenStdin=True, StdinOnce=True, AttachStdin=True)
    data = os.urandom(3_000_000)
    with attach(engine, made, stdin=1) as sock:
        engine.start_container(made)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        out = read_frames(sock)[1].decode()
    assert out == f"{hashlib.sha256(data).hexdigest()}  -\nafter the end\n"
    assert engine.wait(made) == 0


def test_input_stays_open_when_a_client_leaves_unless_it_is_for_once(engine: Engine) -> None:
    made = engine.run("sh", "-c", "while read line; do echo got $line; done; echo closed", OpenStdin=True)
    for word in ("one", "two"):
        with attach(engine, made, stdin=1) as sock:
            sock.sendall(f"{word}\n".encode())
            until(lambda word=word: f"got {word}" in engine.logs(made), "the word arrives")
    assert engine.status(made)["Running"]
    assert "closed" not in engine.logs(made)


def test_without_input_a_container_reads_an_end(engine: Engine) -> None:
    assert engine.shell("cat; echo done").out == "done\n"


def test_a_hundred_megabytes_are_bounded_on_disk_and_do_not_block(engine: Engine) -> None:
    made = engine.run("sh", "-c", "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo the end")
    assert engine.wait(made) == 0
    assert log_bytes(engine, made) <= _BOUND
    began = time.monotonic()
    assert engine.raw_logs(made, tail=1) == b"the end\n", "also where one line is all of a log"
    assert time.monotonic() - began < 10


def test_a_client_that_does_not_read_holds_nobody_up(engine: Engine) -> None:
    made = engine.create("sh", "-c", "head -c 60000000 /dev/zero; exit 4")
    with attach(engine, made):
        engine.start_container(made)
        assert engine.wait(made) == 4
        assert engine.client.call("GET", "/version")["ApiVersion"]


def test_a_flood_of_output_leaves_the_engine_answering(engine: Engine) -> None:
    made = engine.run("yes", "the quick brown fox")
    other = engine.run("sleep", "100")
    for _ in range(20):
        began = time.monotonic()
        engine.inspect(other)
        assert time.monotonic() - began < 2
    assert log_bytes(engine, made) <= _BOUND


def test_logs_are_cut_by_tail_since_and_until_and_stamped(engine: Engine) -> None:
    made = engine.run("sh", "-c", "for i in 1 2 3 4; do echo line $i; sleep 0.02; done; echo open; printf rest")
    engine.wait(made)
    stamped = engine.raw_logs(made, timestamps=1).decode().splitlines()
    times = [line.split()[0] for line in stamped]
    assert [line.split(" ", 1)[1] for line in stamped] == ["line 1", "line 2", "line 3", "line 4", "open", "rest"]
    assert times == sorted(times)
    assert all(len(stamp) == len("2026-01-02T03:04:05.678901234Z") for stamp in times)
    assert engine.raw_logs(made, tail=2) == b"open\nrest"
    assert engine.raw_logs(made, tail=0) == b""
    assert engine.raw_logs(made, tail=100) == b"line 1\nline 2\nline 3\nline 4\nopen\nrest"
    assert engine.raw_logs(made, since=times[2]) == b"line 3\nline 4\nopen\nrest"
    assert engine.raw_logs(made, until=times[2]) == b"line 1\nline 2\n"
    assert engine.raw_logs(made, since=times[1], until=times[3]) == b"line 2\nline 3\n"
    with fails(400):
        engine.raw_logs(made, since="yesterday")
    with fails(400):
        engine.raw_logs(made, tail="some")
    with fails(400):
        list(engine.client.frames("GET", f"/containers/{made}/logs"))


def test_following_logs_gives_what_comes_and_ends_with_the_container(engine: Engine) -> None:
    made = engine.run("sh", "-c", "echo one; while [ ! -e /go ]; do sleep 0.01; done; echo two; echo three >&2")
    following = engine.client.frames("GET", f"/containers/{made}/logs", stdout=1, stderr=1, follow=1)
    assert next(following) == (1, b"one\n")
    engine.execute(made, "touch", "/go")
    assert sorted(following) == [(1, b"two\n"), (2, b"three\n")]


def test_who_attaches_to_what_has_ended_gets_what_its_next_run_says(engine: Engine) -> None:
    made = engine.run("echo", "word")
    engine.wait(made)
    with attach(engine, made) as sock:
        engine.start_container(made)
        assert read_frames(sock) == {1: b"word\n", 2: b""}


def test_following_goes_on_from_one_file_to_the_next(engine: Engine) -> None:
    made = engine.create("sh", "-c", "i=0; while [ $i -lt 9 ]; do head -c 1000000 /dev/zero | tr '\\0' $i; i=$((i+1)); done")
    with attach(engine, made) as sock:
        engine.start_container(made)
        out = read_frames(sock)[1]
    assert out == b"".join(str(number).encode() * 1_000_000 for number in range(9))


def test_logs_go_on_over_a_restart_and_vanish_with_the_container(engine: Engine) -> None:
    made = engine.run("sh", "-c", "echo run")
    engine.wait(made)
    engine.start_container(made)
    engine.wait(made)
    assert engine.logs(made) == "run\nrun\n"
    engine.remove(made)
    with fails(404):
        engine.logs(made)


def test_a_container_whose_standard_output_another_one_holds_still_ends(engine: Engine) -> None:
    """A pipe's end can be handed on through a socket in a shared volume; whoever has it could write for ever."""
    give = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.bind('/v/s'); s.listen(); c = s.accept()[0]; "
        "socket.send_fds(c, [b'x'], [1]); c.recv(1)"
    )
    take = (
        "import os, socket, time\nwhile not os.path.exists('/v/s'): time.sleep(.01)\ns = socket.socket(socket.AF_UNIX); "
        "s.connect('/v/s'); fd = socket.recv_fds(s, 1, 1)[1][0]\nos.write(fd, b'mine'); s.close()\n"
        "try:\n    while True: os.write(fd, b'y' * 65536)\nexcept OSError: print('closed', flush=True)"
    )
    binds = ["/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro", "handed:/v"]
    if not os.path.exists("/usr/bin/python3"):
        pytest.skip("the machine has no /usr/bin/python3 to run in a container")
    giver = engine.run("/usr/bin/python3", "-I", "-c", give, Binds=binds)
    taker = engine.run("/usr/bin/python3", "-I", "-c", take, Binds=binds)
    assert engine.wait(giver) == 0
    assert engine.wait(taker) == 0
    assert engine.logs(taker) == "closed\n"
    assert log_bytes(engine, giver) <= _BOUND
