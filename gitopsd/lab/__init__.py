"""Linux hosts on this machine, to try gitopsd on and to test it with.

A lab host has namespaces of its own (network, mount, pid, uts, ipc, cgroup), an overlay of this machine's root, its own
sshd, and nothing of Docker. `up` makes a few of them on a bridge, `down` takes every trace of them away.
"""

from gitopsd.lab.lab import ENVIRONMENT, Lab, LabHost, down, execute, join_argv, read, reset, up

__all__ = ["ENVIRONMENT", "Lab", "LabHost", "down", "execute", "join_argv", "read", "reset", "up"]
