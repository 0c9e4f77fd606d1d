r"""Text of strangers as it may go to a terminal.  [pure]

A commit, a container's output or a host's answer may hold characters that a terminal obeys instead of showing: escape sequences that
erase lines, carriage returns, marks that turn the reading direction. Each is shown as Python would write it, `\x1b`.

Rule: everything that the controller prints goes through here at the edge (`cli/options.py` say, `control/log.py`); a text that is to be
one line or one cell of a table, also where that line is put together.
"""

from __future__ import annotations


def visible(text: str, keep: str = "") -> str:
    """The text with all that cannot be printed replaced, but the characters in `keep`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else each.encode("unicode_escape").decode() for each in text)


def visible_json(text: str) -> str:
    """A JSON text with the same characters as JSON writes them: it says what it said."""
    return "".join(each if each.isprintable() or each == "\n" else _json_escape(each) for each in text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
