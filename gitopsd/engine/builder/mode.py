"""What `--chmod` says: `0755`, or chmod's own language, `u=rwX,go=rX`.  [pure]

Without a letter in front of the operator all three are meant; no umask takes part. `X` is execution for folders and for what somebody may
execute already.
"""

from __future__ import annotations

import re

from gitopsd.engine.builder.errors import BuildError

OCTAL = re.compile(r"0?[0-7]{3,4}")
CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
SHIFTS = {"u": 6, "g": 3, "o": 0}


class ModeChange:
    """A change of permission bits; raises BuildError for text that is none."""

    def __init__(self, text: str) -> None:
        self._set = int(text, 8) if OCTAL.fullmatch(text) else None
        self._clauses: list[tuple[str, list[tuple[str, str]]]] = []
        for clause in [] if self._set is not None else text.split(","):
            match = CLAUSE.fullmatch(clause)
            if not match:
                raise BuildError(f"--chmod={text[:60]}: expected octal digits such as 0755, or a change such as u=rwX,go=rX")
            who = match.group(1).replace("a", "ugo") or "ugo"
            self._clauses.append((who, ACTION.findall(match.group(2))))

    def apply(self, mode: int, is_folder: bool) -> int:
        """The bits that `mode` becomes."""
        if self._set is not None:
            return self._set
        for who, actions in self._clauses:
            for operator, what in actions:
                bits = _bits(who, what, mode, is_folder)
                if operator == "+":
                    mode |= bits
                elif operator == "-":
                    mode &= ~bits
                else:
                    mode = mode & ~_bits(who, "rwxs" + ("t" if who == "ugo" else ""), mode, is_folder) | bits
        return mode


def _bits(who: str, what: str, mode: int, is_folder: bool) -> int:
    if what in SHIFTS and what:
        copied = mode >> SHIFTS[what] & 7
        return sum(copied << SHIFTS[one] for one in set(who))
    triple = (4 if "r" in what else 0) | (2 if "w" in what else 0)
    if "x" in what or ("X" in what and (is_folder or mode & 0o111)):
        triple |= 1
    bits = sum(triple << SHIFTS[one] for one in set(who))
    if "s" in what:
        bits |= (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
    return bits | (0o1000 if "t" in what else 0)
