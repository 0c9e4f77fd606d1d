"""The one error that the engine's API answers with, in Docker's form.  [pure]

In: what went wrong, as `verb object: reason`, and its HTTP status.  Out: the JSON body that clients read.

Rule: whoever knows the reason raises it; nobody wraps it in another, and nobody logs what is raised.
"""

from __future__ import annotations

from typing import Any, Optional


class ApiError(Exception):
    """An answer other than success: `status` is HTTP's, `code` one of the words of docs/engine-api.md where it has one.

    `fields` stand beside the message in the body (`generation`, `missing`, `holder` …).
    """

    def __init__(self, status: int, message: str, code: Optional[str] = None, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.fields = fields

    def body(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"message": self.message, **({"code": self.code} if self.code else {}), **self.fields}
