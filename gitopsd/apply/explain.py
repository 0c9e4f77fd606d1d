"""An engine's no in the words of the stack file.  [pure]

In: an error of a step and the container it is about.  Out: the same error, with the place in the stack file and the names that people gave;
an engine knows a container by its id.
"""

from __future__ import annotations

import re
from dataclasses import replace

from gitopsd.model.desired import DesiredContainer
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.plan import Plan, Step

_ID = re.compile(r"[0-9a-f]{64}\Z")
_EXEC = re.compile(r'exec: "(?P<name>.*)": (?P<why>executable file not found in \$PATH|no such file or directory)')


def explain(error: GitopsdError, plan: Plan, step: Step) -> GitopsdError:
    wanted = next(
        (
            each.container
            for each in plan.steps
            if (each.host, each.object) == (step.host, step.object) and each.container is not None
        ),
        None,
    )
    found = _EXEC.search(error.message) if step.operation == "start_container" else None
    if found and wanted is not None:
        where = Where(wanted.where.file, wanted.where.line, f"services.{wanted.service}.{_key(wanted, found['name'])}")
        hint = f"{step.object} on {step.host} was not started: {error.message}"
        return GitopsdError(error.code, f'"{found["name"]}" is not in the image', where, hint, error.next)
    if error.where.object is not None and _ID.match(error.where.object):
        error.where = replace(error.where, object=None)
    error.at(Where(host=step.host or None, object=step.object))
    return error.at(Where(wanted.where.file, wanted.where.line)) if wanted is not None else error


def _key(wanted: DesiredContainer, name: str) -> str:
    """Which key named the program; where none did, the image does."""
    if (wanted.spec.entrypoint or ())[:1] == (name,):
        return "entrypoint"
    return "command" if (wanted.spec.command or ())[:1] == (name,) else "image"
