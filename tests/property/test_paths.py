from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gitopsd.engine.paths.resolve import open_by_kernel, open_by_walk

part = st.sampled_from(["a", "b", "c", "..", ".", "", "l", "m"])
path = st.lists(part, min_size=1, max_size=7).map("/".join)
link = st.tuples(path, st.booleans()).map(lambda pair: ("/" if pair[1] else "") + pair[0] or ".")


def landed(opener: object, root: int, where: str, flags: int) -> str:
    try:
        descriptor = opener(root, where, flags, 0)  # type: ignore[operator]
    except OSError as error:
        return f"errno {error.errno}"
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(["l", "m", "a/l", "a/m", "a/b/l"]), link), max_size=4), path, st.booleans())
def test_walking_by_hand_lands_where_the_kernel_lands_and_inside_the_root(
    links: list[tuple[str, str]], where: str, follow: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder, "root")
        Path(inside, "a/b/c").mkdir(parents=True)
        for name, text in links:
            if not os.path.lexists(inside / name):
                os.symlink(text, inside / name)
        root = os.open(inside, os.O_RDONLY)
        try:
            flags = os.O_PATH | (0 if follow else os.O_NOFOLLOW)
            by_kernel = landed(open_by_kernel, root, where, flags)
            assert landed(open_by_walk, root, where, flags) == by_kernel
            assert by_kernel.startswith(("errno", str(inside)))
        finally:
            os.close(root)
