"""The contract of a Link (gitopsd/hosts/link.py), over every kind, against a real sshd and real unix sockets."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gitopsd.hosts.link import Link, Stream
from gitopsd.hosts.links import Links
from gitopsd.hosts.local import LocalLink
from gitopsd.hosts.ssh import SshLink
from gitopsd.lab import Lab, execute, join_argv
from gitopsd.model.errors import GitopsdError
from gitopsd.model.fleet import Fleet, Host, Registry

pytestmark = pytest.mark.host
SERVER = (Path(__file__).parent / "unixserver.py").read_text()
KINDS = ("local", "ssh", "ssh as deploy", "ssh without forwarding", "ssh through a jump host")


@dataclass(frozen=True)
class Reached:
    """A link of some kind and where the sockets of the test server are on its machine."""

    link: Link
    sockets: str


def fleet_of(lab: Lab, **changes: object) -> Fleet:
    first, second = lab.hosts
    key = str(lab.key)
    hosts = (
        Host("ssh", first.address, key=key, host_keys=(first.host_key,)),
        Host("ssh as deploy", first.address, user="deploy", key=key, host_keys=(first.host_key,)),
        Host("ssh without forwarding", second.address, key=key, host_keys=(second.host_key,)),
        Host("ssh through a jump host", first.address, key=key, host_keys=(first.host_key,), jump="hop"),
        Host("hop", first.address, key=key, host_keys=(first.host_key,)),
    )
    return Fleet("test", hosts, Registry("127.0.0.1:5000"), (), **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def machines(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, str]]:
    """The test server on both hosts and here; lab-2's sshd forbids forwarding to unix sockets."""
    execute(lab, "lab-2", ["sh", "-ec", "echo AllowStreamLocalForwarding no > /etc/ssh/lab.d/no.conf; pkill -o -HUP sshd"])
    here = str(tmp_path_factory.mktemp("sockets"))
    commands = [join_argv(lab, name, ["python3", "-c", SERVER, "/run/test"]) for name in ("lab-1", "lab-2")]
    commands.append([sys.executable, "-c", SERVER, here])
    servers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for command in commands]
    try:
        for server in servers:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
        yield lab, here
    finally:
        for server in servers:
            server.communicate()


@pytest.fixture(params=KINDS)
def reached(request: pytest.FixtureRequest, machines: tuple[Lab, str]) -> Iterator[Reached]:
    lab, here = machines
    if request.param == "local":
        yield Reached(LocalLink(), here)
        return
    links = Links(fleet_of(lab))
    yield Reached(links.link(request.param), "/run/test")
    links.close()


@pytest.fixture
def ssh(machines: tuple[Lab, str]) -> Iterator[SshLink]:
    links = Links(fleet_of(machines[0]))
    yield links.link("ssh")
    links.close()


def receive(stream: Stream, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := stream.recv(65536)):
        data += piece
    return data


def test_bytes_go_both_ways_and_each_way_ends_by_itself(reached: Reached) -> None:
    stream = reached.link.dial(f"{reached.sockets}/echo")
    stream.settimeout(10)
    stream.sendall(bytes(range(256)))
    assert receive(stream, 256) == bytes(range(256))
    stream.shutdown_write()
    assert receive(stream, 10) == b"end"
    stream.close()


def test_much_more_than_any_window_passes_unchanged_both_ways_at_once(reached: Reached) -> None:
    data = os.urandom(12 << 20)
    stream = reached.link.dial(f"{reached.sockets}/echo", bulk=True)
    stream.settimeout(20)
    got = hashlib.sha256()
    count = 0

    def read() -> None:
        nonlocal count
        while piece := stream.recv(262144):
            got.update(piece)
            count += len(piece)

    reader = threading.Thread(target=read)
    reader.start()
    stream.sendall(data)
    stream.shutdown_write()
    reader.join(60)
    stream.close()
    assert count == len(data) + 3
    assert got.digest() == hashlib.sha256(data + b"end").digest()


def test_a_reader_keeps_its_stream_open_and_reads_lines(reached: Reached) -> None:
    stream = reached.link.dial(f"{reached.sockets}/echo")
    stream.settimeout(10)
    lines = stream.makefile()
    stream.sendall(b"one\ntwo\n")
    stream.shutdown_write()
    stream.close()
    with lines:
        assert [lines.readline(), lines.readline(), lines.read()] == [b"one\n", b"two\n", b"end"]
    with pytest.raises(OSError, match=r".*"):
        stream.sendall(b"more")


def test_many_streams_at_once_do_not_mix(reached: Reached) -> None:
    def talk(number: int) -> None:
        stream = reached.link.dial(f"{reached.sockets}/echo")
        stream.settimeout(20)
        word = f"stream {number} ".encode() * 1000
        stream.sendall(word)
        answers[number] = receive(stream, len(word)) == word
        stream.close()

    answers: dict[int, bool] = {}
    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == dict.fromkeys(range(8), True)


def test_a_read_ends_when_its_time_is_over(reached: Reached) -> None:
    stream = reached.link.dial(f"{reached.sockets}/silent")
    stream.settimeout(0.1)
    with pytest.raises(TimeoutError):
        stream.recv(1)
    stream.close()


def test_an_idle_stream_knows_when_the_other_side_has_gone(reached: Reached) -> None:
    stream = reached.link.dial(f"{reached.sockets}/sink")
    assert not stream.is_stale()
    stream.shutdown_write()
    deadline = time.monotonic() + 10
    while not stream.is_stale():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stream.close()


def test_a_socket_where_nobody_listens_is_an_error_that_names_host_and_socket(reached: Reached) -> None:
    with pytest.raises(GitopsdError) as caught:
        reached.link.dial(f"{reached.sockets}/nobody")
    assert (caught.value.code, caught.value.next) == ("engine-unreachable", "retry")
    assert caught.value.where.host == reached.link.name
    assert f"{reached.sockets}/nobody: No such file or directory" in caught.value.message
    reached.link.dial(f"{reached.sockets}/echo").close()


def test_arguments_and_input_arrive_as_they_were_given(reached: Reached) -> None:
    program = "import sys; sys.stdout.write(repr(sys.argv[1:])); sys.stderr.write(sys.stdin.read()); sys.exit(7)"
    arguments = ["two words", "", "quote's", '"', "$HOME;`id`", "*", "line\nline", "ü"]
    done = reached.link.run(["python3", "-X", "utf8", "-c", program, *arguments], b"input " * 50_000)
    assert (done.exit, done.stdout.decode(), done.stderr) == (7, repr(arguments), b"input " * 50_000)


def test_a_command_that_does_not_end_is_given_up(reached: Reached) -> None:
    with pytest.raises(GitopsdError) as caught:
        reached.link.run(["sleep", "20"], timeout_s=0.3)
    assert caught.value.code == "host-timeout"


def test_a_program_that_is_not_there_is_exit_127(reached: Reached) -> None:
    assert reached.link.run(["no-such-program"]).exit == 127


def test_root_is_reached_through_sudo_where_the_login_is_another(reached: Reached) -> None:
    assert reached.link.run(["id", "-un"], as_root=True).stdout == b"root\n"


def test_a_file_is_put_whole_with_its_mode_and_nothing_else(reached: Reached) -> None:
    folder = "/var/tmp" if reached.link.name == "localhost" else "/run"
    path = f"{folder}/gitopsd-put-{os.getpid()}"
    try:
        reached.link.put(bytes(range(256)) * 1000, path, mode=0o640, as_root=True)
        reached.link.put(bytes(range(256)) * 2000, path, mode=0o640, as_root=True)
        done = reached.link.run(["sh", "-c", f"sha256sum < {path}; stat -c '%a %U' {path}; ls {path}*"], as_root=True)
    finally:
        reached.link.run(["rm", "-f", path], as_root=True)
    assert done.stdout.decode().split() == [hashlib.sha256(bytes(range(256)) * 2000).hexdigest(), "-", "640", "root", path]


def test_a_file_that_cannot_be_put_is_an_error_that_names_it(reached: Reached) -> None:
    with pytest.raises(GitopsdError, match="cannot write /no/such/folder/file") as caught:
        reached.link.put(b"", "/no/such/folder/file", as_root=True)
    assert caught.value.code == "host-put"


def test_which_way_leads_to_a_socket_is_found_out_once(machines: tuple[Lab, str]) -> None:
    links = Links(fleet_of(machines[0]))
    for name, forwarded in (("ssh", True), ("ssh without forwarding", False)):
        link = links.link(name)
        link.dial("/run/test/echo").close()
        connection = link._connection(bulk=False)
        assert connection.is_streamlocal is forwarded
        assert connection.remote_cipher == "aes128-gcm@openssh.com"
    links.close()


def test_a_link_connects_again_after_its_connection_was_cut(ssh: SshLink) -> None:
    stream = ssh.dial("/run/test/silent")
    stream.settimeout(10)
    pid = ssh.run(["sh", "-c", "echo $PPID"]).stdout.decode().strip()
    with pytest.raises(GitopsdError) as caught:
        ssh.run(["kill", "-9", pid])
    assert (caught.value.code, caught.value.next) == ("host-unreachable", "retry")
    with pytest.raises(ConnectionResetError):
        stream.recv(1)
    assert ssh.run(["echo", "again"]).stdout == b"again\n"


def test_a_host_that_falls_silent_is_noticed(machines: tuple[Lab, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gitopsd.hosts.ssh.KEEPALIVE_S", 0.4)
    links = Links(fleet_of(machines[0]))
    link = links.link("ssh")
    stream = link.dial("/run/test/silent")
    stream.settimeout(None)
    pid = int(link.run(["sh", "-c", "echo $PPID"]).stdout)
    execute(machines[0], "lab-1", ["kill", "-STOP", str(pid)])  # sshd lives, its kernel acknowledges, and nobody answers
    try:
        started = time.monotonic()
        with pytest.raises(ConnectionResetError):
            stream.recv(1)
        assert 0.8 < time.monotonic() - started < 6
    finally:
        execute(machines[0], "lab-1", ["kill", "-KILL", str(pid)])
        links.close()


def is_busy_no_more(link: SshLink) -> bool:
    try:
        return link.run(["true"]).exit == 0
    except GitopsdError as error:
        if error.code != "host-busy":
            raise
        return False


def test_a_command_that_does_not_stop_writing_is_not_listened_to(ssh: SshLink) -> None:
    with pytest.raises(GitopsdError) as caught:
        ssh.run(["cat", "/dev/zero"], timeout_s=60)
    assert caught.value.code == "answer-too-long"
    with pytest.raises(GitopsdError) as caught:
        ssh.run(["sh", "-c", "exec cat /dev/zero >&2"], timeout_s=1)  # no more than a window, and its output is waited for
    assert caught.value.code == "host-timeout"
    assert ssh.run(["echo", "well"]).stdout == b"well\n"


def test_a_host_that_gives_no_further_session_is_busy_and_not_lost(ssh: SshLink) -> None:
    connection = ssh._connection(bulk=False)
    sessions = [connection.open_session() for _ in range(10)]  # what sshd allows if it is not told otherwise
    with pytest.raises(GitopsdError) as caught:
        ssh.run(["true"])
    assert (caught.value.code, caught.value.next) == ("host-busy", "retry")
    sessions[0].close()
    deadline = time.monotonic() + 10
    while not is_busy_no_more(ssh):  # sshd lets go of a session a moment after its end
        assert time.monotonic() < deadline
    assert ssh._connection(bulk=False) is connection


def test_an_idle_connection_stays(machines: tuple[Lab, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gitopsd.hosts.ssh.KEEPALIVE_S", 0.2)
    links = Links(fleet_of(machines[0]))
    link = links.link("ssh")
    connection = link._connection(bulk=False)
    time.sleep(2)
    assert link._connection(bulk=False) is connection
    links.close()


def test_a_wrong_host_key_stops_before_anything_is_sent(machines: tuple[Lab, str]) -> None:
    lab = machines[0]
    first, second = lab.hosts
    host = Host("web", first.address, key=str(lab.key), host_keys=(second.host_key,))
    links = Links(Fleet("test", (host,), Registry("127.0.0.1:5000"), ()))
    with pytest.raises(GitopsdError) as caught:
        links.link("web").run(["true"])
    assert (caught.value.code, caught.value.where.host) == ("host-key-changed", "web")
    assert "ssh-keygen -lf" in (caught.value.hint or "")
    shown = subprocess.run(["ssh-keygen", "-lf", str(first.folder / "host_key.pub")], capture_output=True, text=True, check=True)
    assert shown.stdout.split()[1] in caught.value.message
    deadline = time.monotonic() + 10
    while "preauth" not in (first.folder / "log").read_text():  # sshd's word for who left before saying who it is
        assert time.monotonic() < deadline
        time.sleep(0.02)
    links.close()


def test_an_unknown_host_key_is_refused_and_a_known_hosts_file_makes_it_known(machines: tuple[Lab, str], tmp_path: Path) -> None:
    lab = machines[0]
    host = Host("web", lab.hosts[0].address, key=str(lab.key))
    known = tmp_path / "known_hosts"
    links = Links(Fleet("test", (host,), Registry("127.0.0.1:5000"), (), known_hosts=str(known)))
    with pytest.raises(GitopsdError) as caught:
        links.link("web").run(["true"])
    assert caught.value.code == "host-key-unknown"
    known.write_text(f"{host.address} {lab.hosts[0].host_key}\n")
    assert links.link("web").run(["true"]).exit == 0
    links.close()


def test_a_refused_key_is_named_by_its_fingerprint(machines: tuple[Lab, str], tmp_path: Path) -> None:
    lab = machines[0]
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(key)], check=True)
    printed = subprocess.run(["ssh-keygen", "-lf", str(key)], capture_output=True, text=True, check=True).stdout.split()[1]
    host = Host("web", lab.hosts[0].address, key=str(key), host_keys=(lab.hosts[0].host_key,))
    links = Links(Fleet("test", (host,), Registry("127.0.0.1:5000"), ()))
    with pytest.raises(GitopsdError) as caught:
        links.link("web").run(["true"])
    assert caught.value.code == "host-auth-failed"
    assert printed in caught.value.message
    links.close()


@pytest.mark.parametrize("valid", [True, False], ids=["a certificate that holds", "one that does not, and then the key"])
def test_a_certificate_is_offered_and_then_the_key(machines: tuple[Lab, str], tmp_path: Path, valid: bool) -> None:
    lab = machines[0]
    for name in ("ca", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    sign = [
        "ssh-keygen",
        "-q",
        "-s",
        str(tmp_path / "ca"),
        "-I",
        "test",
        "-n",
        "root" if valid else "somebody",
        str(tmp_path / "user.pub"),
    ]
    subprocess.run(sign, check=True, capture_output=True)
    line = ("cert-authority " + (tmp_path / "ca.pub").read_text()) if valid else (tmp_path / "user.pub").read_text()
    execute(lab, "lab-1", ["sh", "-ec", "cat >> /root/.ssh/authorized_keys"], line.encode())
    host = Host("web", lab.hosts[0].address, key=str(tmp_path / "user"), host_keys=(lab.hosts[0].host_key,))
    links = Links(Fleet("test", (host,), Registry("127.0.0.1:5000"), ()))
    assert links.link("web").run(["id", "-un"]).stdout == b"root\n"
    links.close()


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_a_host_whose_known_key_is_not_its_first_is_asked_for_that_one(machines: tuple[Lab, str], kind: str) -> None:
    lab = machines[0]
    script = f"""f=/etc/ssh/extra_{kind}; [ -e $f ] || ssh-keygen -q -t {kind} -N '' -f $f
        echo HostKey $f > /etc/ssh/lab.d/{kind}.conf; pkill -o -HUP sshd; cat $f.pub; sleep 0.3"""
    public = execute(lab, "lab-1", ["sh", "-ec", script]).stdout.decode()
    host = Host("web", lab.hosts[0].address, key=str(lab.key), host_keys=(" ".join(public.split()[:2]),))
    links = Links(Fleet("test", (host,), Registry("127.0.0.1:5000"), ()))
    assert links.link("web").run(["true"]).exit == 0
    links.close()


def test_a_host_that_does_not_answer_is_unreachable_within_its_time() -> None:
    hosts = (Host("nobody", "127.0.0.1", port=1, key="none"), Host("silent", "127.0.0.1", port=0, key="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryDirectory() as folder:
        key = f"{folder}/key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        hosts = (
            Host("nobody", "127.0.0.1", port=1, key=key),
            Host("silent", "127.0.0.1", port=listener.getsockname()[1], key=key),
        )
        links = Links(Fleet("test", hosts, Registry("127.0.0.1:5000"), ()), connect_s=0.5)
        for name in ("nobody", "silent"):
            started = time.monotonic()
            with pytest.raises(GitopsdError) as caught:
                links.link(name).run(["true"])
            assert (caught.value.code, caught.value.next, caught.value.where.host) == ("host-unreachable", "retry", name)
            assert time.monotonic() - started < 3
        links.close()


def test_hosts_that_jump_in_a_circle_are_an_error() -> None:
    hosts = (Host("a", "x", jump="b"), Host("b", "y", jump="a"), Host("c", "z", jump="nobody"))
    links = Links(Fleet("test", hosts, Registry("127.0.0.1:5000"), ()))
    with pytest.raises(GitopsdError, match="a → b → a"):
        links.link("a")
    with pytest.raises(GitopsdError, match="no host nobody, through which c is reached"):
        links.link("c")
