"""5. place: what each host should have.  [pure]

`place(rendered, pins, observed, held=()) -> Desired` is the verb.
"""

from __future__ import annotations

from gitopsd.place.place import place

__all__ = ["place"]
