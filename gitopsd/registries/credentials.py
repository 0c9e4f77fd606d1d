"""Credentials for registries, out of a Docker config file.

In: `config.json` as `docker login` writes it.  Out: user and password by registry.

Rule: no credential helper is run. A helper is a program named by a file, and nothing on the controller runs what a file names.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from gitopsd.model.secret import Redacted

Credentials = Mapping[str, tuple[str, Redacted]]
_HUB = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")


def read_credentials(path: Path) -> dict[str, tuple[str, Redacted]]:
    """Registry to user and password; {} if there is no such file. ValueError names the file and the entry that is wrong."""
    try:
        document: Any = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ValueError(f"{path} is not JSON") from None
    auths: Any = cast("dict[str, Any]", document).get("auths", {}) if isinstance(document, dict) else None
    if not isinstance(auths, dict):
        raise ValueError(f"{path}: auths is not an object")
    found: dict[str, tuple[str, Redacted]] = {}
    for name, entry in cast("dict[str, Any]", auths).items():
        encoded: Any = cast("dict[str, Any]", entry).get("auth") if isinstance(entry, dict) else None
        if not encoded:
            continue  # kept by a helper
        try:
            user, password = base64.b64decode(str(encoded), validate=True).decode().split(":", 1)
        except ValueError:
            raise ValueError(f"{path}: auths of {name} is not base64 of user:password") from None
        found[_registry(name)] = (user, Redacted(password))
    return found


def _registry(name: str) -> str:
    if name in _HUB:
        return "docker.io"
    return name.removeprefix("https://").removeprefix("http://").split("/")[0]
