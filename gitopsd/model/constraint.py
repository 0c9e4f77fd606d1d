"""A placement constraint, `node.labels.zone == a`.  [pure]

In: its text.  Out: what it asks of a host. `render` checks with it, `place` decides with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gitopsd.model.fleet import Host

_FORM = re.compile(r"\s*([A-Za-z0-9._/-]+?)\s*(==|!=)\s*(\S(?:.*\S)?)\s*")
_LABEL = re.compile(r"node\.labels\.[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?")
_SWARM = ("node.id", "node.role", "node.ip", "node.platform.", "engine.labels.")


@dataclass(frozen=True)
class Constraint:
    """A label's value or the host's name, equal or not equal to `value`."""

    label: str | None
    """None: the host's name is meant."""
    is_equal: bool
    value: str

    def accepts(self, host: Host) -> bool:
        """Whether `host` meets it. A label that a host does not have equals nothing."""
        found = host.name if self.label is None else dict(host.labels).get(self.label)
        return (found == self.value) == self.is_equal


def parse_constraint(text: str) -> Constraint:
    """The constraint that `text` spells; ValueError with a sentence for a person otherwise."""
    form = _FORM.fullmatch(text)
    if not form:
        raise ValueError(f"constraint {text!r} is not of the form `node.labels.<name> == <value>` or `!=`")
    subject, operator, value = form.groups()
    if subject == "node.hostname":
        return Constraint(None, operator == "==", value)
    if _LABEL.fullmatch(subject):
        return Constraint(subject.removeprefix("node.labels."), operator == "==", value)
    if subject.startswith(_SWARM):
        raise ValueError(f"constraint {text!r}: {subject} is not there yet; node.hostname and node.labels.<name> are")
    raise ValueError(f"constraint {text!r}: {subject} is not known; node.hostname and node.labels.<name> are")
