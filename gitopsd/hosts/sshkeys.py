"""The private keys that the controller may show a host.

In: a path, or nothing.  Out: keys, in the order in which they are offered.

Rule: keys are read here and nowhere else. paramiko, given a file name, silently uses a certificate that lies beside the key
and then never tries the key; here the certificate is offered, then the key.
"""

from __future__ import annotations

import os
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from gitopsd.model.errors import GitopsdError, Where

USUAL = ("id_ed25519", "id_ecdsa", "id_rsa")


def load(path: Path, where: Where) -> list[paramiko.PKey]:
    """The key in a file, after its certificate if `<file>-cert.pub` is there."""
    path = path.expanduser()
    try:
        key = paramiko.PKey.from_path(path)
        if key.public_blob is None:
            return [key]
        return [key, type(key).from_private_key_file(str(path))]
    except FileNotFoundError as error:
        raise GitopsdError("ssh-key-missing", f"no private key {path}", where, "key: in the fleet file names it") from error
    except (TypeError, paramiko.PasswordRequiredException) as error:
        hint = (
            "the controller asks nobody for a passphrase: give it a key of its own without one, or load this one into ssh-agent"
        )
        raise GitopsdError("ssh-key-encrypted", f"private key {path} has a passphrase", where, hint) from error
    except (OSError, ValueError, paramiko.SSHException, UnknownKeyType) as error:
        raise GitopsdError("ssh-key-unreadable", f"private key {path}: {error}", where) from error


def usual(where: Where) -> list[paramiko.PKey]:
    """What a person who types `ssh` would use: the agent's keys, then those in ~/.ssh."""
    keys: list[paramiko.PKey] = []
    if os.environ.get("SSH_AUTH_SOCK"):
        keys += paramiko.Agent().get_keys()
    for path in (Path.home() / ".ssh" / name for name in USUAL):
        if path.exists():
            try:
                keys += load(path, where)
            except GitopsdError as error:
                if error.code != "ssh-key-encrypted":  # that one is in the agent, or not meant for this
                    raise
    return keys
