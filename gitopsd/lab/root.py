"""What a lab host has other than this machine: users, sshd, names, and programs hidden.

In: the folder that will be the upper layer of the host's root.  Out: files in it.

Rule: nothing with which a container could be run, a packet filter changed or an archive unpacked is visible on a lab host, so
that what works there needs only python3, sshd and a shell. Hidden by whiteouts, as overlayfs has them: character device 0:0.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from pathlib import Path

HIDDEN = (
    "docker*", "containerd*", "ctr", "podman*", "runc", "crun", "kata*", "youki", "buildah", "buildkit*", "skopeo", "conmon*",
    "nerdctl", "rootlesskit*", "slirp4netns", "netavark", "kubectl", "kubelet",
    "iptables*", "ip6tables*", "arptables*", "ebtables*", "xtables*", "nft", "ufw", "firewall-cmd", "firewalld", "conntrack*",
    "ip", "bridge", "tc", "ss", "rtmon", "ifconfig", "route", "brctl", "ipvsadm", "wg", "wg-quick",
    "tar", "bsdtar", "cpio", "git", "git-*", "dnsmasq", "tini", "docker-init",
)  # fmt: skip
PROGRAM_FOLDERS = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
HIDDEN_FOLDERS = ("usr/lib/git-core", "usr/libexec/docker", "usr/libexec/podman", "usr/lib/podman", "var/lib/docker", "opt/cni")

SSHD_CONFIG = """\
HostKey /etc/ssh/lab_host_key
PidFile none
AuthorizedKeysFile .ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
# what a test may want otherwise, for the whole host
Include /etc/ssh/lab.d/*.conf
"""


def hidden_programs(root: Path) -> list[str]:
    """Paths below `root`, relative to it, that a lab host must not have."""
    found = [folder for folder in HIDDEN_FOLDERS if (root / folder).is_dir()]
    for folder in PROGRAM_FOLDERS:
        if (root / folder).is_symlink() or not (root / folder).is_dir():
            continue
        names = sorted(os.listdir(root / folder))
        found += [f"{folder}/{name}" for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in HIDDEN)]
    return found


def prepare(upper: Path, machine: Path, name: str, host_key: Path, authorized: str, hosts: dict[str, str]) -> None:
    """Fill `upper` for host `name`; `machine` is the root it will lie over, `hosts` the names and addresses of the lab."""
    upper.chmod(0o755)
    for path in hidden_programs(machine):
        _parents(upper, machine, path)
        os.mknod(upper / path, stat.S_IFCHR, os.makedev(0, 0))
    _add_user(upper, machine)
    for home, uid, gid in (("root", 0, 0), ("home/deploy", *_ids(upper))):
        ssh = _parents(upper, machine, f"{home}/.ssh/authorized_keys")
        ssh.write_text(authorized)
        for path, mode in ((ssh.parent.parent, 0o700), (ssh.parent, 0o700), (ssh, 0o600)):
            os.chown(path, uid, gid)
            path.chmod(mode)
    os.setxattr(upper / "root", "trusted.overlay.opaque", b"y")  # not this machine's dot files
    names = "".join(f"{address} {host}\n" for host, address in hosts.items())
    _write(upper, machine, "etc/hosts", f"127.0.0.1 localhost {name}\n::1 localhost\n{names}")
    _write(upper, machine, "etc/hostname", f"{name}\n")
    _write(upper, machine, "etc/resolv.conf", "# no way out: every question is answered with no, at once\n")
    _write(upper, machine, "etc/sudoers.d/deploy", "deploy ALL=(ALL) NOPASSWD:ALL\n", 0o440)
    _write(upper, machine, "etc/ssh/sshd_config", SSHD_CONFIG)
    _write(upper, machine, "etc/ssh/lab_host_key", host_key.read_text(), 0o600)
    _write(upper, machine, "etc/ssh/lab.d/README", "files *.conf in here are read by sshd\n")


def _write(upper: Path, machine: Path, path: str, text: str, mode: int = 0o644) -> None:
    target = _parents(upper, machine, path)
    target.write_text(text)
    target.chmod(mode)


def _parents(upper: Path, machine: Path, path: str) -> Path:
    """Make the folders above `path` in the upper layer, as the machine has them, and return where the file goes."""
    made = upper
    for part in Path(path).parent.parts:
        made = made / part
        if not made.exists():
            made.mkdir()
            same = machine / made.relative_to(upper)
            if same.is_dir():
                there = same.stat()
                os.chown(made, there.st_uid, there.st_gid)
                made.chmod(stat.S_IMODE(there.st_mode))
    return upper / path


def _add_user(upper: Path, machine: Path) -> None:
    """The user `deploy`: no password, but not locked either (sshd without PAM refuses a locked one)."""
    passwd, shadow, group = ((machine / f"etc/{file}").read_text() for file in ("passwd", "shadow", "group"))
    taken = {int(line.split(":")[2]) for line in (passwd + group).splitlines() if line.count(":") >= 3}
    number = next(uid for uid in range(1500, 60000) if uid not in taken)

    def without(text: str) -> str:
        return "".join(line + "\n" for line in text.splitlines() if not line.startswith("deploy:"))

    _write(upper, machine, "etc/passwd", f"{without(passwd)}deploy:x:{number}:{number}::/home/deploy:/bin/sh\n")
    _write(upper, machine, "etc/group", f"{without(group)}deploy:x:{number}:\n")
    _write(upper, machine, "etc/shadow", f"{without(shadow)}deploy:*:19000::::::\n", 0o640)


def _ids(upper: Path) -> tuple[int, int]:
    row = next(line for line in (upper / "etc/passwd").read_text().splitlines() if line.startswith("deploy:"))
    return int(row.split(":")[2]), int(row.split(":")[3])
