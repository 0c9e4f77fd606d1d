"""The systemd unit that keeps the engine's daemon running.  [pure]

Containers are not in it: each has a scope in a slice of its own (docs/state.md). `KillMode=process` lets helpers of the daemon
finish when it is stopped; the default would kill them all, and would have killed containers if they were here.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

NAME = "gitopsd-engine.service"
PATH = f"/etc/systemd/system/{NAME}"

_TEXT = """\
# written by gitopsd host bootstrap, and again whenever it comes by
[Unit]
Description=gitopsd container engine
After=network.target local-fs.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={command}
KillMode=process
Delegate=yes
Restart=always
RestartSec=1
TasksMax=infinity
LimitNOFILE=1048576
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
"""


def render_unit(command: Sequence[str]) -> str:
    return _TEXT.format(command=" ".join(_word(word) for word in command))


def _word(word: str) -> str:
    """A word of ExecStart: systemd expands % and $, and reads quotes nearly as a shell does."""
    escaped = word.replace("%", "%%").replace("$", "$$")
    return escaped if shlex.quote(word) == word else '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'
