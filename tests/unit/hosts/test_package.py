"""The engine's zipapp."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from gitopsd.hosts.package import pack, package


def names() -> list[str]:
    return zipfile.ZipFile(io.BytesIO(package().data)).namelist()


def test_the_same_files_give_the_same_bytes_in_any_order_and_at_any_time() -> None:
    assert pack({"b": b"2", "a": b"1"}) == pack({"a": b"1", "b": b"2"})
    assert pack({"a": b"1"}) != pack({"a": b"2"})
    code = "from gitopsd.hosts.package import package; print(package().digest)"
    env = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    again = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert again.stdout.strip() == package().digest == hashlib.sha256(package().data).hexdigest()


def test_it_has_the_engine_and_what_the_engine_imports_and_nothing_of_the_controller() -> None:
    rooms = {name.split("/")[1] for name in names() if name.count("/") > 1}
    assert rooms == {"oci", "dockerapi", "dockerfile", "engine"}
    assert {"__main__.py", "gitopsd/__init__.py", "gitopsd/engine/main.py", "gitopsd/engine/_vendor/h11/LICENSE"} <= set(names())
    assert not [name for name in names() if name.endswith(".pyc")]


def test_every_file_of_it_is_python_3_9() -> None:
    archive = zipfile.ZipFile(io.BytesIO(package().data))
    for name in names():
        if name.endswith(".py"):
            ast.parse(archive.read(name), name, feature_version=(3, 9))


def test_it_starts_by_itself_and_imports_of_the_package_come_from_it() -> None:
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]; import gitopsd, gitopsd.engine, gitopsd.oci, gitopsd.dockerapi;"
        "assert gitopsd.__file__.startswith(sys.argv[1]), gitopsd.__file__"
    )
    path = Path("/tmp") / f"gitopsd-test-{os.getpid()}.pyz"
    try:
        path.write_bytes(package().data)
        subprocess.run([sys.executable, "-I", "-S", "-c", code, str(path)], check=True)
    finally:
        path.unlink()
