"""Unpacked layers: folders with short names that overlay mounts, and `layers.json` of docs/state.md.

In: an image's diff ids, bottom first, and its blobs.  Out: short ids of its folders.

Rule 1: a folder gets its name when all in it is on disk (syncfs), and its record after that: what is recorded can be mounted.
Rule 2: a number is never given twice, so that a mount never finds other content under a name it knew.
Rule 3: what is neither recorded nor being made is removed when the daemon starts.
Rule 4: a layer is known by its chain id: the same tar above other layers is another layer.
Rule 5: the layers of an image are unpacked side by side; none is published before those below it.

Unpacking runs in workers. Not here: which layers are needed (images.py).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Optional, cast

from gitopsd.engine.images.unpack import JOB, LOOKS_JOB
from gitopsd.engine.kernel.files import syncfs
from gitopsd.engine.paths.records import make_directories_durably, read_record, sync_directory, write_record
from gitopsd.engine.paths.root import Root
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import chain_ids

_TEMPORARY = ".tmp-"
_LONGEST_SHORT = 6
_AT_ONCE = max(2, min(4, os.cpu_count() or 2))
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
Json = dict[str, Any]
RunWorker = Callable[[str, "dict[str, Any]", "list[int]"], Any]


@dataclass(frozen=True)
class Source:
    """Where a layer's content comes from: its blob, opened when it is needed, and how that is compressed."""

    open: Callable[[], BinaryIO]
    compression: str
    name: str


Told = Callable[[str, str], None]
"""Hears a source's name, and `Extracting`, `Pull complete` or `Already exists`."""


@dataclass
class _Made:
    """A layer that is being made."""

    chain: Digest
    diff_id: Digest
    parent: Optional[Digest]
    source: Optional[Source]
    temporary: str
    size: int = 0
    implied: Sequence[str] = ()


class Layers:
    """Owns `layers/` and `layers.json`. Safe in threads; one process."""

    def __init__(self, data_root: str, run_worker: RunWorker) -> None:
        self.folder = os.path.join(data_root, "layers")
        self._path = os.path.join(data_root, "layers.json")
        self._run_worker = run_worker
        self._lock = threading.Lock()
        self._making: dict[Digest, threading.Lock] = {}
        self._held: dict[Digest, int] = {}
        self._relied: dict[str, float] = {}
        self._began = time.monotonic()
        make_directories_durably(self.folder)
        document: Any = read_record(self._path) or {"version": 1, "next": 1, "layers": {}}
        if document.get("version") != 1:
            raise ValueError(
                f"{self._path}: version {document.get('version')!r} is not 1: it is of another version of the engine"
            )
        self._document = cast("Json", document)
        self._clean_up()

    def short(self, chain: Digest) -> str:
        """The folder of a layer; KeyError when it is not unpacked."""
        return self._document["layers"][chain]["short"]

    def shorts(self, diff_ids: Sequence[Digest]) -> list[str]:
        """The folders of an image, top first, as overlay takes them; KeyError when one is not unpacked."""
        return [self.short(chain) for chain in reversed(chain_ids(diff_ids))]

    def has(self, diff_ids: Sequence[Digest]) -> bool:
        return all(chain in self._document["layers"] for chain in chain_ids(diff_ids))

    def size_bytes(self, diff_ids: Sequence[Digest]) -> int:
        """Of all the files in these layers."""
        known: Json = self._document["layers"]
        return sum(known[chain]["size"] for chain in chain_ids(diff_ids) if chain in known)

    @contextmanager
    def hold(self, diff_ids: Sequence[Digest]) -> Generator[None, None, None]:
        """Meanwhile these layers are not removed, whether they are there yet or not."""
        chains = chain_ids(diff_ids)
        with self._lock:
            for chain in chains:
                self._held[chain] = self._held.get(chain, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                for chain in chains:
                    self._relied[chain] = time.monotonic()
                    self._held[chain] -= 1
                    if not self._held[chain]:
                        del self._held[chain]

    def unpack(self, diff_ids: Sequence[Digest], sources: Sequence[Source], told: Told = lambda name, what: None) -> None:
        """Make all layers of an image that are not there. On an error those that were finished before stay.

        Hold them around this call, until the image is recorded.
        """
        chains = chain_ids(diff_ids)
        with ExitStack() as locks:
            wanted: list[_Made] = []
            for at, (chain, diff_id, source) in enumerate(zip(chains, diff_ids, sources)):
                # Bottom first, and locks are kept: two images that share layers wait for each other in one order only.
                with self._lock:
                    lock = self._making.setdefault(chain, threading.Lock())
                locks.enter_context(lock)
                if chain in self._document["layers"]:
                    told(source.name, "Already exists")
                else:
                    wanted.append(
                        _Made(chain, diff_id, chains[at - 1] if at else None, source, f"{_TEMPORARY}{os.urandom(8).hex()}")
                    )
            if wanted:
                self._make(wanted, chains, told)

    def _make(self, wanted: list[_Made], chains: Sequence[Digest], told: Told) -> None:
        """Unpack side by side, then publish what is whole from the bottom up to the first that failed, whose error is raised."""
        with ThreadPoolExecutor(min(len(wanted), _AT_ONCE)) as pool:
            unpacking = [pool.submit(self._unpack_one, made, made.source, told) for made in wanted if made.source]
        failures = [done.exception() for done in unpacking]
        count = next((at for at, failure in enumerate(failures) if failure), len(wanted))
        whole = wanted[:count]
        try:
            for at, made in enumerate(whole):
                if made.implied:
                    below = [other.temporary for other in reversed(whole[:at])]
                    known: Json = self._document["layers"]
                    below += [known[chain]["short"] for chain in reversed(chains[: chains.index(made.chain)]) if chain in known]
                    self._run(LOOKS_JOB, {"paths": made.implied, "lower": below}, [made.temporary, ""])
            if whole:
                self._publish(whole)
        except BaseException:
            count = 0
            raise
        finally:
            for made in wanted[count:]:
                self._discard(made.temporary)
        for made in whole:
            told(made.source.name if made.source else "", "Pull complete")
        if count < len(wanted):
            failure = failures[count]
            assert failure is not None
            raise failure

    def _unpack_one(self, made: _Made, source: Source, told: Told) -> None:
        told(source.name, "Extracting")
        path = os.path.join(self.folder, made.temporary)
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)  # noqa: S103  the root of a container's root, whatever our umask; the data root is closed
        with source.open() as blob:
            arguments = {"compression": source.compression, "diff_id": made.diff_id}
            done = self._run(JOB, arguments, [made.temporary], [blob.fileno()])
        made.size, made.implied = int(done["size_bytes"]), done["implied"]

    def _run(self, job: str, arguments: dict[str, Any], folders: Sequence[str], descriptors: Sequence[int] = ()) -> Any:
        """A worker with these descriptors, and those of folders below the folder of layers (itself, for an empty name)."""
        with ExitStack() as stack:
            opened: list[int] = []
            for name in folders:
                opened.append(os.open(os.path.join(self.folder, name), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                stack.callback(os.close, opened[-1])
            return self._run_worker(job, arguments, [*descriptors, *opened])

    def adopt(self, diff_ids: Sequence[Digest], path: str, size: int) -> None:
        """Take the folder at `path`, on this file system, as the last of these layers: it is as that would unpack. Those below are there."""
        chains = chain_ids(diff_ids)
        with self._lock:
            lock = self._making.setdefault(chains[-1], threading.Lock())
        with lock:
            if chains[-1] in self._document["layers"]:
                return
            temporary = f"{_TEMPORARY}{os.urandom(8).hex()}"
            os.rename(path, os.path.join(self.folder, temporary))
            parent = chains[-2] if len(chains) > 1 else None
            self._publish([_Made(chains[-1], diff_ids[-1], parent, None, temporary, size)])

    def remove_unneeded(
        self,
        needed: AbstractSet[Digest],
        among: Optional[AbstractSet[Digest]] = None,
        unused_s: float = 0.0,
        now: Optional[float] = None,
    ) -> int:
        """Remove the layers (`among` these) that are not needed, not held, and were not for so long; returns the bytes of their files.

        `now` is from before it was found out what is needed: what was let go since may be needed by somebody who came since.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            known: Json = self._document["layers"]
            gone = {
                chain: known[chain]
                for chain in known
                if chain not in needed
                and chain not in self._held
                and (among is None or chain in among)
                and now - self._relied.get(chain, self._began) >= unused_s
            }
            if not gone:
                return 0
            self._write({chain: value for chain, value in known.items() if chain not in gone}, self._document["next"])
        for value in gone.values():
            aside = f"{_TEMPORARY}{value['short']}"
            os.rename(os.path.join(self.folder, value["short"]), os.path.join(self.folder, aside))
            self._discard(aside)
        return sum(value["size"] for value in gone.values())

    def chains(self) -> set[Digest]:
        """Every layer that is unpacked."""
        return {Digest(chain) for chain in self._document["layers"]}

    def _publish(self, whole: Sequence[_Made]) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(descriptor)
        finally:
            os.close(descriptor)
        with self._lock:
            known: Json = dict(self._document["layers"])
            number: int = self._document["next"]
            for made in whole:
                short = short_name(number)
                number += 1
                os.rename(os.path.join(self.folder, made.temporary), os.path.join(self.folder, short))
                known[made.chain] = {"short": short, "diff_id": made.diff_id, "parent": made.parent, "size": made.size}
            sync_directory(self.folder)
            self._write(known, number)

    def _write(self, layers: Json, following: int) -> None:
        document: Json = {**self._document, "next": following, "layers": layers}
        write_record(self._path, document)
        self._document = document

    def _clean_up(self) -> None:
        """Once, before anything else: leftovers go, and so do records whose folder is gone."""
        known: Json = self._document["layers"]
        recorded = {value["short"] for value in known.values()}
        present = set(os.listdir(self.folder))
        following = int(self._document.get("next", 1))
        for name in present:
            if not name.startswith(_TEMPORARY) and len(name) <= _LONGEST_SHORT and set(name) <= set(_DIGITS):
                following = max(following, int(name, 36) + 1)
        for value in known.values():
            following = max(following, int(value["short"], 36) + 1)
        there = {chain: value for chain, value in known.items() if value["short"] in present}
        if there != known or following != self._document.get("next", 1):
            self._write(there, following)  # before the folders go: their numbers stay used
        for name in present - recorded:
            self._discard(name)

    def _discard(self, name: str) -> None:
        with Root.at(self.folder) as root:
            root.remove(name, missing_ok=True)


def short_name(number: int) -> str:
    """A number in base 36."""
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    if not 1 <= len(text) <= _LONGEST_SHORT:
        raise ValueError(f"layer number {text or 0} has no short name")
    return text
