"""Read a tar archive: ustar, pax, GNU long names, sparse files.

In: pieces of bytes.  Out: entries, each with its data.

Rule 1: nothing is extracted here, and names are given as they stand: what a name may mean is unpack.py's business. Python's
tarfile is not used on strangers' bytes (CVE-2024-12718, CVE-2025-4138, -4330, -4517).
Rule 2: every length is checked before memory is taken for it or a loop runs over it (CVE-2026-32288).
Rule 3: what is not understood is an error, never skipped.

Formats: POSIX.1-2024 pax; GNU tar manual, "Basic Tar Format" and "Storing Sparse Files".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Callable, Optional

from gitopsd.engine.images.stream import LIMITS, BadArchive, Limits
from gitopsd.engine.images.tar.entry import BLOCK, BLOCK_BYTES, CHARACTER, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Entry

_ZERO = bytes(BLOCK_BYTES)
_KINDS = {48: FILE, 0: FILE, 55: FILE, 83: FILE, 49: LINK, 50: SYMLINK, 51: CHARACTER, 52: BLOCK, 53: DIRECTORY, 54: FIFO}
_XATTR = b"SCHILY.xattr."
_SPARSE = b"GNU.sparse."
_GLOBAL_KEYS = (b"uid", b"gid", b"mtime", b"comment", b"uname", b"gname", b"atime", b"ctime", b"hdrcharset")


class Reader:
    """Entries out of pieces of bytes. After each, its data may be taken with `copy`; what is not taken is passed over."""

    def __init__(self, read: Callable[[], bytes], limits: Limits = LIMITS) -> None:
        self._read, self._limits = read, limits
        self._buffer = memoryview(b"")
        self._data_left = 0
        self._padding = 0
        self._position = 0
        self._global: dict[bytes, bytes] = {}

    @property
    def position(self) -> int:
        """How many bytes of the archive were consumed: in front of an entry's data, where the data begins."""
        return self._position

    def __iter__(self) -> Iterator[Entry]:
        count = 0
        while True:
            self._pass_over(self._data_left)
            # The docker CLI ends a context right after the last entry's data when it adds a Dockerfile from elsewhere.
            is_over = not self._pass_over(self._padding, end_ok=True)
            self._data_left = self._padding = 0
            entry = None if is_over else self._next()
            if entry is None:
                return
            count += 1
            if count > self._limits.entries:
                raise BadArchive(f"more than {self._limits.entries} entries")
            yield entry

    def pieces(self) -> Iterator[memoryview]:
        """The data of the current entry as it is stored (of a sparse file, its regions one after the other)."""
        while self._data_left:
            if not self._buffer:
                self._fill()
            piece = self._buffer[: self._data_left]
            self._consume(len(piece))
            self._data_left -= len(piece)
            yield piece

    def _next(self) -> Optional[Entry]:
        pax: dict[bytes, bytes] = {}
        sparse_pairs: list[int] = []
        long_name: Optional[bytes] = None
        long_target: Optional[bytes] = None
        for _ in range(64):
            header = self._header()
            if header is None:
                return None
            flag = header[156]
            if flag in (120, 88, 103):  # x, X (Solaris), g
                records = _pax_records(self._small(_number(header[124:136], "size"), "pax header"), sparse_pairs, self._limits)
                if flag == 103:
                    self._global.update({key: value for key, value in records.items() if key in _GLOBAL_KEYS})
                else:
                    pax.update(records)
            elif flag in (76, 75):  # L, K
                text = self._small(_number(header[124:136], "size"), "long name").rstrip(b"\0")
                if flag == 76:
                    long_name = text
                else:
                    long_target = text
            elif flag == 86:  # V, a volume's label
                label = _number(header[124:136], "size")
                self._pass_over(label + -label % BLOCK_BYTES)
            else:
                return self._entry(header, {**self._global, **pax}, sparse_pairs, long_name, long_target)
        raise BadArchive("too many extension headers before one entry")

    def _entry(
        self, header: bytes, pax: dict[bytes, bytes], pairs: list[int], long_name: Optional[bytes], long_target: Optional[bytes]
    ) -> Entry:
        flag = header[156]
        kind = _KINDS.get(flag)
        if kind is None:
            raise BadArchive(f"an entry of unknown type {bytes([flag])!r}")
        name = pax.get(b"path") or long_name or _ustar_name(header)
        target = pax.get(b"linkpath") or long_target or _text(header[157:257])
        stored = 0
        if kind == FILE:  # the others have no data, whatever their size says; Go's reader agrees
            stored = _pax_number(pax, b"size") if b"size" in pax else _number(header[124:136], "size")
        self._data_left, self._padding = stored, -stored % BLOCK_BYTES
        size = stored
        sparse: Optional[list[tuple[int, int]]] = None
        if flag == 83:
            size = _number(header[483:495], "size")
            sparse = self._regions(self._old_sparse(header), size)
        elif kind == FILE and pax.get(_SPARSE + b"major") == b"1":
            size, name = _pax_number(pax, _SPARSE + b"realsize"), pax.get(_SPARSE + b"name", name)
            sparse = self._regions(self._sparse_in_data(), size)
        elif kind == FILE and _SPARSE + b"size" in pax:
            size, name = _pax_number(pax, _SPARSE + b"size"), pax.get(_SPARSE + b"name", name)
            if _SPARSE + b"map" in pax:
                pairs = [_decimal(part) for part in pax[_SPARSE + b"map"].split(b",") if part]
            sparse = self._regions(pairs, size)
        if kind == FILE and name.endswith(b"/"):
            kind = DIRECTORY  # as tars before POSIX wrote folders
        if kind in (LINK, SYMLINK) and not target:
            raise BadArchive(f"{os.fsdecode(name)!r} is a link to nothing")
        for text in (name, target):
            if len(text) > self._limits.name_bytes or b"\0" in text:
                raise BadArchive(f"a name of {len(text)} bytes, or with a zero byte in it: {os.fsdecode(text[:80])!r}")
        is_device = kind in (CHARACTER, BLOCK)
        return Entry(
            os.fsdecode(name),
            kind,
            _number(header[100:108], "mode") & 0o7777,
            _id(_pax_number(pax, b"uid") if b"uid" in pax else _number(header[108:116], "uid")),
            _id(_pax_number(pax, b"gid") if b"gid" in pax else _number(header[116:124], "gid")),
            size,
            _pax_time(pax[b"mtime"]) if b"mtime" in pax else _number(header[136:148], "mtime") * 1_000_000_000,
            os.fsdecode(target) if kind in (LINK, SYMLINK) else "",
            _number(header[329:337], "device") if is_device else 0,
            _number(header[337:345], "device") if is_device else 0,
            self._xattrs(pax) if pax else {},
            sparse,
        )

    def _xattrs(self, pax: Mapping[bytes, bytes]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for key, value in pax.items():
            if key.startswith(_XATTR):
                if len(value) > self._limits.xattr_bytes or len(key) > 255 + len(_XATTR) or len(found) >= 128:
                    raise BadArchive("more or larger extended attributes than a file can have")
                found[os.fsdecode(key[len(_XATTR) :])] = value
        return found

    def _regions(self, numbers: list[int], size: int) -> list[tuple[int, int]]:
        """Pairs of offset and length, checked: in order, apart, inside the file, and as long as the data."""
        if len(numbers) % 2:
            raise BadArchive("a sparse map with an odd count of numbers")
        regions: list[tuple[int, int]] = []
        end = total = 0
        for offset, length in zip(numbers[::2], numbers[1::2]):
            if offset < end or offset + length > size:
                raise BadArchive("a sparse map that overlaps, goes back, or leaves the file")
            end, total = offset + length, total + length
            if length:
                regions.append((offset, length))
        if total != self._data_left:
            raise BadArchive(f"a sparse map of {total} bytes for data of {self._data_left}")
        return regions

    def _old_sparse(self, header: bytes) -> list[int]:
        """GNU's first form: four pairs in the header, more in blocks after it."""
        numbers = _sparse_numbers(header[386:482], 4)
        goes_on = header[482]
        while goes_on:
            block = self._exactly(BLOCK_BYTES)
            numbers.extend(_sparse_numbers(block, 21))
            goes_on = block[504]
            if len(numbers) > 2 * self._limits.sparse_regions:
                raise BadArchive(f"a sparse file of more than {self._limits.sparse_regions} regions")
        return numbers

    def _sparse_in_data(self) -> list[int]:
        """The form 1.0: decimal numbers, one a line, at the beginning of the data: how many pairs, then the pairs."""
        text, lines, wanted = b"", list[bytes](), 1
        while len(lines) < wanted:
            if self._data_left < BLOCK_BYTES:
                raise BadArchive("a sparse map that is longer than its file")
            text += self._exactly(BLOCK_BYTES)
            self._data_left -= BLOCK_BYTES
            *complete, text = text.split(b"\n")
            lines.extend(complete)
            if lines:
                wanted = 1 + 2 * _decimal(lines[0])
            if wanted > 2 * self._limits.sparse_regions or len(text) > BLOCK_BYTES:
                raise BadArchive(f"a sparse file of more than {self._limits.sparse_regions} regions")
        return [_decimal(line) for line in lines[1:wanted]]

    def _header(self) -> Optional[bytes]:
        """The next header block; None at the end, which two zero blocks or the end of the data are."""
        if not self._buffer:
            self._fill(end_ok=True)
            if not self._buffer:
                return None
        header = self._exactly(BLOCK_BYTES)
        if header == _ZERO:
            return None
        digits = header[148:156].strip(b" \0")
        said = int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else -1
        computed = sum(header) - sum(header[148:156]) + 256
        if said != computed:
            signed = sum(byte - 256 if byte > 127 else byte for byte in header[:148] + header[156:]) + 256
            if said != signed:
                raise BadArchive("not a tar archive, or a damaged one: a header's checksum is wrong")
        return header

    def _small(self, size: int, what: str) -> bytes:
        if size > self._limits.pax_bytes:
            raise BadArchive(f"a {what} of {size} bytes is larger than {self._limits.pax_bytes}")
        data = self._exactly(size)
        self._pass_over(-size % BLOCK_BYTES)
        return data

    def _exactly(self, size: int) -> bytes:
        if len(self._buffer) >= size:
            data = bytes(self._buffer[:size])
            self._consume(size)
            return data
        parts: list[bytes] = []
        while size:
            if not self._buffer:
                self._fill()
            part = bytes(self._buffer[:size])
            self._consume(len(part))
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _pass_over(self, size: int, end_ok: bool = False) -> bool:
        """False when the archive ends before that, which is an error unless it may."""
        while size > 0:
            if not self._buffer:
                self._fill(end_ok)
                if not self._buffer:
                    return False
            step = min(size, len(self._buffer))
            self._consume(step)
            size -= step
        return True

    def _consume(self, size: int) -> None:
        self._buffer = self._buffer[size:]
        self._position += size

    def _fill(self, end_ok: bool = False) -> None:
        data = self._read()
        if not data and not end_ok:
            raise BadArchive("the archive ends in the middle of an entry")
        self._buffer = memoryview(data)


def _number(data: bytes, what: str) -> int:
    """Octal digits, or GNU's base 256 for what they cannot hold."""
    if data[0] & 0x80:
        if data[0] not in (0x80, 0xFF):
            raise BadArchive(f"a {what} of a form that is not known")
        value = int.from_bytes(data[1:], "big") - (1 << 8 * (len(data) - 1) if data[0] == 0xFF else 0)
    else:
        text = data.split(b"\0", 1)[0].strip(b" ")
        if not text:
            return 0
        try:
            value = int(text, 8)
        except ValueError:
            raise BadArchive(f"a {what} that is no octal number: {text!r}") from None
    if not (-(1 << 62) if what == "mtime" else 0) <= value < 1 << 62:
        raise BadArchive(f"a {what} of {value}")
    return value


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise BadArchive(f"not a number: {text[:40]!r}")
    return int(text)


def _pax_number(pax: Mapping[bytes, bytes], key: bytes) -> int:
    try:
        return _decimal(pax[key])
    except KeyError:
        raise BadArchive(f"a pax header without {key.decode()}") from None


def _pax_time(text: bytes) -> int:
    """Seconds with a fraction, as nanoseconds; exact, so not by way of a float."""
    sign = -1 if text.startswith(b"-") else 1
    whole, _, fraction = text.lstrip(b"-").partition(b".")
    if (fraction and not fraction.isdigit()) or len(whole) > 15:
        raise BadArchive(f"not a time: {text[:40]!r}")
    return sign * (_decimal(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))


def _id(value: int) -> int:
    """A user or group id; -1 would mean "leave as it is" to chown (CVE-2024-40635 is the same slip elsewhere)."""
    if value >= (1 << 32) - 1:
        raise BadArchive(f"user or group id {value} is out of range")
    return value


def _text(data: bytes) -> bytes:
    return data.split(b"\0", 1)[0]


def _ustar_name(header: bytes) -> bytes:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0":  # GNU's own magic has other things where the prefix is
        prefix = _text(header[345:500])
        if prefix:
            return prefix + b"/" + name
    return name


def _sparse_numbers(data: bytes, pairs: int) -> list[int]:
    numbers: list[int] = []
    for at in range(0, pairs * 24, 24):
        if not data[at]:
            break
        numbers += [_number(data[at : at + 12], "offset"), _number(data[at + 12 : at + 24], "length")]
    return numbers


def _pax_records(data: bytes, sparse_pairs: list[int], limits: Limits) -> dict[bytes, bytes]:
    """`length key=value\\n` for each; the sparse form 0.0 repeats two keys, whose values go to `sparse_pairs`."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        length = _decimal(data[at:space]) if space > 0 else 0
        end = at + length
        if length < 4 or end > len(data) or data[end - 1 : end] != b"\n":
            raise BadArchive("a damaged pax header")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise BadArchive("a damaged pax header")
        if key in (_SPARSE + b"offset", _SPARSE + b"numbytes"):
            sparse_pairs.append(_decimal(value))
            if len(sparse_pairs) > 2 * limits.sparse_regions:
                raise BadArchive(f"a sparse file of more than {limits.sparse_regions} regions")
        else:
            records[key] = value
        at = end
    return {key: value for key, value in records.items() if value or key.startswith(_XATTR)}
