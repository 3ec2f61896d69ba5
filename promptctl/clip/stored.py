"""StoredTensor: a tensor of a safetensors file, found and read by numpy alone, as float32 whatever it is stored as."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_MOST_HEADER = 100_000_000  # bytes; what the format allows
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}  # the kinds of numbers that can be read


@dataclass(frozen=True)
class StoredTensor:
    """Where numbers lie in a file."""

    offset: int  # of the first byte
    dtype: str  # one of ITEM_BYTES
    shape: tuple[int, ...]

    def part(self, start: int, count: int) -> StoredTensor:
        """(count,) of its numbers in a row."""
        return StoredTensor(self.offset + start * ITEM_BYTES[self.dtype], self.dtype, (count,))

    def rows(self, start: int, stop: int) -> StoredTensor:
        """(stop - start, …) the rows of a table from start to stop."""
        width = prod(self.shape[1:])
        first = self.part(start * width, (stop - start) * width)
        return StoredTensor(first.offset, self.dtype, (stop - start, *self.shape[1:]))

    def read(self, path: Path) -> NDArray[np.float32]:
        """Its numbers in its own shape; ValueError where the file ends before them."""
        n_bytes = prod(self.shape) * ITEM_BYTES[self.dtype]
        raw = np.fromfile(path, np.uint8, n_bytes, offset=self.offset)
        if len(raw) < n_bytes:
            raise ValueError(f"{path} is cut off")
        return _as_float32(raw, self.dtype).reshape(self.shape)


def stored_tensors(path: Path) -> Mapping[str, StoredTensor]:
    """The tensors of a safetensors file by name, as far as their kind of numbers can be read; ValueError for others."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MOST_HEADER:
            raise ValueError(f"{path} is no safetensors file")
        header = json.loads(file.read(length))
    found = {name: entry for name, entry in header.items() if name != "__metadata__"}
    return {
        name: StoredTensor(8 + length + entry["data_offsets"][0], entry["dtype"], tuple(entry["shape"]))
        for name, entry in found.items()
        if entry["dtype"] in ITEM_BYTES
    }


def _as_float32(raw: NDArray[np.uint8], dtype: str) -> NDArray[np.float32]:
    if dtype == "F32":
        return raw.view("<f4")
    if dtype == "F16":
        return raw.view("<f2").astype(np.float32)
    if dtype == "BF16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return _float8().take(raw, mode="clip")  # three times as fast as looking up by index


@cache
def _float8() -> NDArray[np.float32]:
    """(256,) the numbers that bytes stand for: a sign, four bits of exponent, three of mantissa, and no infinity."""
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    size = np.where(exponent, (8 + mantissa) * 2.0 ** (exponent - 10), mantissa * 2.0**-9)
    size[(byte & 127) == 127] = np.nan
    return np.where(byte & 128, -size, size).astype(np.float32)
