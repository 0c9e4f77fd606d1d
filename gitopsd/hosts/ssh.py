"""A host over SSH: one connection for everything, a second for bulk, a channel for each stream.

In: a `Host` of the fleet, what is known of its key, the keys to show it, and the link to go through, if any.  Out: a `Link`.

Rule 1: nothing is sent, no user name and no key, before the host's key was checked (`knownhosts.py`).
Rule 2: an engine is spoken to through channels that sshd connects to its socket (`direct-streamlocal@openssh.com`, 0.1 ms), or,
where sshd forbids that, through a program on the host (`relay.py`, 90 ms). Which one is found out once for each connection.
Rule 3: a host that is gone is noticed within about 20 s: every 5 s without traffic it is asked to answer, and three missing
answers end the connection.

paramiko has no streamlocal channels (its issue 544), so the message that opens one is completed as it leaves, and that message
passes through a private method of 5.1: hence the exact pin, and tests/hosts/test_link.py against a real sshd.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import socket
import threading
import time
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, cast

import paramiko
from paramiko.common import cMSG_GLOBAL_REQUEST
from paramiko.packet import Packetizer

from gitopsd.hosts import knownhosts, writefile
from gitopsd.hosts.knownhosts import HostKey, Trust
from gitopsd.hosts.link import PYTHON, Finished, Stream, StreamFiles
from gitopsd.hosts.local import command_timeout, engine_unreachable, with_sudo
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.fleet import Host

CONNECT_S = 10.0
KEEPALIVE_S = 5.0
MISSED_BEATS = 3
# Together: 4 MiB of window with 32 KiB packets is slower than the default, with 256 KiB packets faster (721 against 562 MB/s).
WINDOW_BYTES = 4 << 20
PACKET_BYTES = 256 << 10
# aes128-gcm first: 562 MB/s against 347 of paramiko's first choice. CBC and 3DES are left out.
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
_LOG = "gitopsd.hosts.ssh"
_MOST_OUTPUT = 16 << 20
"""Of a command: a host is not trusted with our memory."""
logging.getLogger(_LOG).addHandler(logging.NullHandler())


class SshLink:
    def __init__(
        self,
        host: Host,
        read_trust: Callable[[], Trust],
        read_keys: Callable[[], Sequence[paramiko.PKey]],
        jump: SshLink | None = None,
        connect_s: float = CONNECT_S,
    ) -> None:
        """`read_trust` and `read_keys` are called for each connection, so that an edited file counts at once."""
        self.name = host.name
        self.login = host.user
        self._host = host
        self._read_trust = read_trust
        self._read_keys = read_keys
        self._jump = jump
        self._connect_s = connect_s
        self._lines = {False: _Line(), True: _Line()}

    def dial(self, socket_path: str, *, bulk: bool = False) -> Stream:
        connection = self._connection(bulk)
        if connection.is_streamlocal is False:
            return self._dial_relay(connection, socket_path)
        try:
            channel = connection.open_streamlocal(socket_path, self._connect_s)
        except paramiko.ChannelException:
            # sshd answers "forbidden" and "nobody listens" alike; the relay knows which it is
            stream = self._dial_relay(connection, socket_path)
            connection.is_streamlocal = connection.is_streamlocal or False
            return stream
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(connection, error) from error
        connection.is_streamlocal = True
        return ChannelStream(channel)

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, as_root: bool = False, timeout_s: float = 60) -> Finished:
        connection = self._connection(bulk=False)
        deadline = time.monotonic() + timeout_s
        channel = self._open_session(connection, min(self._connect_s, timeout_s))
        stream = ChannelStream(channel)
        with contextlib.closing(channel):
            try:
                channel.settimeout(timeout_s)
                channel.exec_command(shlex.join(with_sudo(argv, self.login, as_root)))
                with contextlib.suppress(OSError):  # it ended without reading all: its exit code says why
                    stream.sendall(stdin)
                    stream.shutdown_write()
                output = self._read_all(channel.recv, channel, deadline, argv[0])
                errors = self._read_all(channel.recv_stderr, channel, deadline, argv[0])
                if not channel.status_event.wait(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
            except TimeoutError as error:
                raise command_timeout(self.name, argv, timeout_s) from error
            except (paramiko.SSHException, EOFError, OSError) as error:
                raise self._lost(connection, error) from error
            if channel.exit_status < 0 and not connection.is_active():
                raise self._lost(connection, EOFError("the connection ended"))
            return Finished(channel.exit_status, output, errors)

    def _read_all(self, read: Callable[[int], bytes], channel: paramiko.Channel, deadline: float, program: str) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while size <= _MOST_OUTPUT:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            channel.settimeout(remaining)
            piece = read(65536)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
        message = f"{program} has written more than {_MOST_OUTPUT} bytes"
        raise GitopsdError("answer-too-long", message, Where(host=self.name), next="retry")

    def put(self, data: bytes, path: str, *, mode: int = 0o600, as_root: bool = False) -> None:
        writefile.write(self, data, path, mode, as_root)

    def close(self) -> None:
        for line in self._lines.values():
            with line.lock:
                if line.connection is not None:
                    line.connection.close()
                    line.connection = None

    def open_hop(self, address: str, port: int) -> paramiko.Channel:
        """A TCP connection from this host to another one, for a link that jumps through here."""
        connection = self._connection(bulk=True)
        try:
            return connection.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=self._connect_s)
        except paramiko.ChannelException as error:
            message = f"{self.name} cannot reach {address} port {port} for it: {error.text}"
            raise GitopsdError("host-unreachable", message, next="retry") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(connection, error) from error

    def _dial_relay(self, connection: Connection, socket_path: str) -> Stream:
        program = resources.files("gitopsd.hosts").joinpath("relay.py").read_text()
        channel = self._open_session(connection, self._connect_s)
        try:
            channel.settimeout(self._connect_s)
            channel.exec_command(shlex.join([*PYTHON, "-c", program, socket_path]))
            said = b""
            while not said.endswith(b"\n") and len(said) < 1000:
                byte = channel.recv(1)
                if not byte:
                    errors = channel.recv_stderr(4096).decode(errors="replace").strip()
                    raise engine_unreachable(self.name, socket_path, errors or "the relay on the host said nothing")
                said += byte
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(connection, error) from error
        if said != b"ok\n":
            channel.close()
            raise engine_unreachable(self.name, socket_path, said.decode(errors="replace").removeprefix("error").strip())
        return ChannelStream(channel)

    def _open_session(self, connection: Connection, timeout_s: float) -> paramiko.Channel:
        try:
            return connection.open_session(timeout=timeout_s)
        except paramiko.ChannelException as error:
            message = "its sshd gives no further session on this connection"
            raise GitopsdError("host-busy", message, Where(host=self.name), "MaxSessions in its sshd_config", "retry") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(connection, error) from error

    def _connection(self, bulk: bool) -> Connection:
        line = self._lines[bulk]
        with line.lock:
            if line.connection is None or not line.connection.is_active():
                line.connection = self._connect()
            return line.connection

    def _connect(self) -> Connection:
        host = self._host
        where = Where(host=host.name)
        trust, keys = self._read_trust(), self._read_keys()
        if not keys:
            raise GitopsdError(
                "ssh-key-missing", "there is no private key to log in with", where, "key: in the fleet file names one"
            )
        connection: Connection | None = None
        try:
            if self._jump is not None:
                connection = Connection(_Hop(self._jump.open_hop(host.address, host.port)))
            else:
                connection = Connection(_open_socket(host.address, host.port, self._connect_s))
            shown = connection.greet(trust, self._connect_s)
            knownhosts.check(shown, trust, host.name, host.address, host.port)
            self._log_in(connection, keys, where)
        except GitopsdError as error:
            if connection is not None:
                connection.close()
            raise error.at(where) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if connection is not None:
                connection.close()
            message = f"cannot reach {host.address} port {host.port}: {_reason(error)}"
            raise GitopsdError("host-unreachable", message, where, next="retry") from error
        return connection

    def _log_in(self, connection: Connection, keys: Sequence[paramiko.PKey], where: Where) -> None:
        for key in keys:
            try:
                connection.auth_publickey(self.login, key)
            except paramiko.BadAuthenticationType as error:
                message = f"{self.login} may not log in with a key, only by {', '.join(error.allowed_types)}"
                raise GitopsdError("host-auth-failed", message, where) from error
            except paramiko.AuthenticationException:
                continue
            if connection.is_authenticated():
                connection.keep_alive()
                return
        shown = ", ".join(f"{key.get_name()} {key.fingerprint}" for key in keys)
        hint = f"put the public key into ~{self.login}/.ssh/authorized_keys on the host"
        raise GitopsdError("host-auth-failed", f"{self.login} was refused with {shown}", where, hint)

    def _lost(self, connection: Connection, error: Exception) -> GitopsdError:
        connection.close()
        return GitopsdError("host-unreachable", f"the connection broke: {_reason(error)}", Where(host=self.name), next="retry")


class _Line:
    """One of the two connections of a link, made when it is first wanted."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: Connection | None = None


class Connection(paramiko.Transport):
    """paramiko's transport with streamlocal channels, our ciphers, and a pulse that notices death."""

    def __init__(self, over: socket.socket | _Hop) -> None:
        super().__init__(
            cast("socket.socket", over),
            default_window_size=WINDOW_BYTES,
            default_max_packet_size=PACKET_BYTES,
            packetizer_class=_Packetizer,
        )
        self.set_log_channel(_LOG)
        self.is_streamlocal: bool | None = None
        """Whether sshd forwards to unix sockets; None: not tried yet."""
        self._opening = _Opening()

    def greet(self, trust: Trust, timeout_s: float) -> HostKey:
        """Agree on keys with the host and return the key that it proved to have."""
        options = self.get_security_options()
        options.ciphers = tuple(cipher for cipher in CIPHERS if cipher in options.ciphers)
        # ask first for the kinds of key that are known, as ssh does: a host has several
        known = {key.kind for key in trust.accepted}
        if "ssh-rsa" in known:
            known |= {"rsa-sha2-512", "rsa-sha2-256"}
        options.key_types = tuple(sorted(options.key_types, key=lambda kind: kind not in known))
        self.banner_timeout = self.handshake_timeout = self.auth_timeout = self.channel_timeout = timeout_s
        self.start_client(timeout=timeout_s)
        try:
            key = self.get_remote_server_key()
        except paramiko.SSHException as error:
            raise TimeoutError(f"no SSH greeting within {timeout_s:g} s") from error
        return HostKey(key.get_name(), key.asbytes())

    def open_channel(self, *arguments: Any, **keywords: Any) -> paramiko.Channel:
        try:
            return super().open_channel(*arguments, **keywords)
        except paramiko.ChannelException:
            raise
        except paramiko.SSHException as error:
            # paramiko keeps one last error for all threads: of two refusals at once, the second thread finds none
            if self.is_active() and not str(error).startswith("Timeout"):
                raise paramiko.ChannelException(2, "refused") from error
            raise

    def open_streamlocal(self, path: str, timeout_s: float) -> paramiko.Channel:
        self._opening.path = path
        try:
            return self.open_channel("direct-streamlocal@openssh.com", timeout=timeout_s)
        finally:
            self._opening.path = None

    def keep_alive(self) -> None:
        cast("Any", self.packetizer).set_keepalive(KEEPALIVE_S, self._beat)

    def _beat(self) -> None:
        """Called by the reading thread when nothing was sent for a while.

        paramiko's own keepalive wants no answer, so it notices nothing.
        """
        packetizer = cast("_Packetizer", self.packetizer)
        if time.monotonic() - packetizer.heard_at > KEEPALIVE_S * MISSED_BEATS:
            raise EOFError(f"no answer for {KEEPALIVE_S * MISSED_BEATS:g} s")
        message = paramiko.Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        self._send_user_message(message)

    def _send_user_message(self, data: paramiko.Message) -> None:
        path, self._opening.path = self._opening.path, None
        if path is not None:  # the rest of this channel's open message, PROTOCOL 2.4 of OpenSSH
            data.add_string(path)
            data.add_string("")
            data.add_int(0)
        cast("Any", super())._send_user_message(data)


class _Opening(threading.local):
    """The socket that this thread is opening a channel to."""

    path: str | None = None


class _Packetizer(Packetizer):
    """Remembers when the host was last heard."""

    heard_at = 0.0

    def read_message(self) -> tuple[int, paramiko.Message]:
        message = super().read_message()
        self.heard_at = time.monotonic()
        return message


class _Hop:
    """A channel through another host, as the socket of a connection. One that takes nothing for long is dead."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._closed = False
        """The name that a socket has for it, and paramiko asks."""
        self._stuck_since: float | None = None

    def send(self, data: bytes) -> int:
        try:
            sent = self._channel.send(data)
        except TimeoutError:
            now = time.monotonic()
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since > KEEPALIVE_S * MISSED_BEATS:
                raise ConnectionResetError("the hop takes no data any more") from None
            raise
        self._stuck_since = None
        return sent

    def recv(self, size: int) -> bytes:
        return self._channel.recv(size)

    def settimeout(self, timeout_s: float | None) -> None:
        self._channel.settimeout(timeout_s)

    def close(self) -> None:
        self._closed = True
        self._channel.close()


class ChannelStream(StreamFiles):
    """A stream over a channel."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def recv(self, size: int) -> bytes:
        data = self._channel.recv(size)
        if not data and not self._channel.get_transport().is_active():
            raise ConnectionResetError("the SSH connection ended")  # paramiko shows this as an orderly end
        return data

    def sendall(self, data: bytes | memoryview) -> None:
        view = memoryview(data).cast("B")
        while view:
            # paramiko's sendall copies all that is left for every packet
            sent = self._channel.send(bytes(view[:PACKET_BYTES]))
            if not sent:
                raise BrokenPipeError("the other side takes no more")
            view = view[sent:]

    def shutdown_write(self) -> None:
        self._channel.shutdown_write()

    def settimeout(self, timeout_s: float | None) -> None:
        self._channel.settimeout(timeout_s)

    def is_stale(self) -> bool:
        channel = self._channel
        return (
            bool(channel.closed) or bool(channel.eof_received) or channel.recv_ready() or not channel.get_transport().is_active()
        )

    def close_now(self) -> None:
        self._channel.close()


def _open_socket(address: str, port: int, timeout_s: float) -> socket.socket:
    connected = socket.create_connection((address, port), timeout_s)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # data that nobody acknowledges ends the connection as the missing pulse does
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(KEEPALIVE_S * MISSED_BEATS * 1000))
    return connected


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
