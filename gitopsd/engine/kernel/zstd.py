"""Decompressing zstd: by the standard library from Python 3.14 on, else by the host's libzstd.

In: compressed bytes.  Out: pieces of bounded size. Raises ZstdMissing where a host has neither, ValueError for wrong data.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Iterator
from typing import Any, Optional

_WINDOW_LOG_MAX = 27  # 128 MiB: what `zstd --ultra` and registries' clients use at most; more is an attempt on our memory
_D_WINDOW_LOG_MAX = 100  # ZSTD_d_windowLogMax


class ZstdMissing(Exception):  # noqa: N818
    """This host cannot decompress zstd."""


class _Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t)]


class Decompressor:
    """One stream of zstd frames."""

    def __init__(self, piece_bytes: int = 1 << 20) -> None:
        self._library = _load()
        self._stream = ctypes.c_void_p(self._library.ZSTD_createDStream())
        self._library.ZSTD_DCtx_setParameter(self._stream, _D_WINDOW_LOG_MAX, _WINDOW_LOG_MAX)
        self._room = ctypes.create_string_buffer(piece_bytes)
        self._is_between_frames = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What comes out of these bytes, piece by piece."""
        source = ctypes.create_string_buffer(data, len(data))
        given = _Buffer(ctypes.addressof(source), len(data), 0)
        while True:
            out = _Buffer(ctypes.addressof(self._room), len(self._room), 0)
            left = self._library.ZSTD_decompressStream(self._stream, ctypes.byref(out), ctypes.byref(given))
            if self._library.ZSTD_isError(left):
                raise ValueError(f"zstd: {self._library.ZSTD_getErrorName(left).decode('ascii', 'replace')}")
            self._is_between_frames = left == 0
            if out.at:
                yield self._room.raw[: out.at] if out.at < len(self._room) else self._room.raw
            if given.at == given.size and out.at < len(self._room):
                return

    def finish(self) -> None:
        """Say that no more comes; raises ValueError in the middle of a frame."""
        if not self._is_between_frames:
            raise ValueError("zstd: the data ends in the middle of a frame")

    def __del__(self) -> None:
        stream: Optional[ctypes.c_void_p] = getattr(self, "_stream", None)
        if stream:
            self._library.ZSTD_freeDStream(stream)


class _FromStandardLibrary:
    def __init__(self, piece_bytes: int = 1 << 20) -> None:
        zstd: Any = importlib.import_module("compression.zstd")  # from Python 3.14 on
        self._zstd = zstd
        self._piece_bytes = piece_bytes
        self._options: Any = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX}
        self._frame: Any = zstd.ZstdDecompressor(options=self._options)
        self._is_between_frames = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or not self._frame.needs_input:
            try:
                piece: bytes = self._frame.decompress(data, self._piece_bytes)
            except self._zstd.ZstdError as error:
                raise ValueError(f"zstd: {error}") from None
            data = b""
            if piece:
                yield piece
            self._is_between_frames = bool(self._frame.eof)
            if self._frame.eof:
                data = self._frame.unused_data
                self._frame = self._zstd.ZstdDecompressor(options=self._options)
                if not data:
                    return
            elif not piece:
                return

    def finish(self) -> None:
        if not self._is_between_frames:
            raise ValueError("zstd: the data ends in the middle of a frame")


def decompressor() -> Any:
    """An object with `feed` and `finish`."""
    if sys.version_info >= (3, 14):
        return _FromStandardLibrary()
    return Decompressor()


def _load() -> Any:
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError:
        raise ZstdMissing(
            "zstd needs Python 3.14 or the library libzstd.so.1 (Debian: libzstd1), and this host has neither; use gzip or uncompressed layers"
        ) from None
    for name, result, arguments in (
        ("ZSTD_createDStream", ctypes.c_void_p, []),
        ("ZSTD_freeDStream", ctypes.c_size_t, [ctypes.c_void_p]),
        ("ZSTD_DCtx_setParameter", ctypes.c_size_t, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]),
        ("ZSTD_decompressStream", ctypes.c_size_t, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]),
        ("ZSTD_isError", ctypes.c_uint, [ctypes.c_size_t]),
        ("ZSTD_getErrorName", ctypes.c_char_p, [ctypes.c_size_t]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
