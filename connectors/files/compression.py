"""Compressed files: gzip from the standard library, zstd from the extra of that name."""

from __future__ import annotations

import importlib
import zlib
from typing import Any, Final, Literal, Protocol

Compression = Literal["none", "gzip", "zstd"]

_SUFFIXES: Final[dict[str, Compression]] = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}

SUFFIX_OF: Final[dict[Compression, str]] = {"none": "", "gzip": ".gz", "zstd": ".zst"}


def compression_of(path: str, chosen: Compression | None) -> Compression:
    """The chosen compression, or what the name says."""
    if chosen is not None:
        return chosen
    return next((kind for suffix, kind in _SUFFIXES.items() if path.endswith(suffix)), "none")


def checked(compression: str | None) -> None:
    """Refuse an unknown compression early.

    Raises:
        ValueError: it is none that we know.
        ImportError: its library is not installed; names the extra.
    """
    if compression not in (None, "none", "gzip", "zstd"):
        raise ValueError(f'compression={compression!r}: "gzip", "zstd", "none", or None to go by the file name')
    if compression == "zstd":
        _zstandard()


class Decompressor(Protocol):
    """Decompresses one member of a file: gzip and zstd files may be several, one after the other."""

    @property
    def eof(self) -> bool:
        """The member is complete."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What was given beyond its end."""
        ...

    def decompress(self, data: bytes) -> bytes: ...


def decompressor(kind: Compression) -> Decompressor:
    """For the next member of a file."""
    if kind == "gzip":
        return zlib.decompressobj(wbits=31)
    return _ZstdMember()


class _ZstdMember:
    def __init__(self) -> None:
        self._frame = _zstandard().ZstdDecompressor().decompressobj()

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._frame.unused_data)

    def decompress(self, data: bytes) -> bytes:
        return bytes(self._frame.decompress(data))


class Compressor(Protocol):
    """Compresses one file."""

    def compress(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes:
        """The end of the file."""
        ...


def compressor(kind: Compression) -> Compressor | None:
    """For a new file; None where nothing is compressed."""
    if kind == "gzip":
        return zlib.compressobj(level=6, wbits=31)
    if kind == "zstd":
        frame: Compressor = _zstandard().ZstdCompressor().compressobj()
        return frame
    return None


def errors() -> tuple[type[Exception], ...]:
    """What decompressors raise for damaged data."""
    try:
        return (zlib.error, importlib.import_module("zstandard").ZstdError)
    except ImportError:
        return (zlib.error,)


def _zstandard() -> Any:
    try:
        return importlib.import_module("zstandard")
    except ImportError as error:
        raise ImportError('zstd files need zstandard: install "tidegate[zstd]"') from error
