"""The other side of `raw`: a process of its own in which LibRaw reads what a stranger may have written.

It answers one question at a time, on its standard input and output, until the input ends. A file that makes LibRaw
crash ends this process and no other; its memory is limited where the system can.
"""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import sys
from contextlib import suppress
from typing import Any, BinaryIO

LOOK, DEVELOP = 1, 2
LENGTHS = struct.Struct("!BQ")  # what is asked, or bytes of what is told; bytes of data
_MEMORY = 3_000_000_000  # bytes of addresses, a gigabyte of which are libraries and their threads
_LARGEST_BITMAP = 64_000_000  # bytes; a preview that is not a JPEG is small
_ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's flip → as EXIF counts them


def serve() -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that asks
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    _limit_memory()
    while head := questions.read(LENGTHS.size):
        what, n_bytes = LENGTHS.unpack(head)
        told, data = _answered(what, questions.read(n_bytes))
        _send(answers, told, data)


def _send(answers: BinaryIO, told: dict[str, Any], data: bytes) -> None:
    text = json.dumps(told).encode("ascii")
    answers.write(LENGTHS.pack(0, len(text)) + text + LENGTHS.pack(0, len(data)))
    answers.write(data)
    answers.flush()


def _answered(what: int, data: bytes) -> tuple[dict[str, Any], bytes]:
    import rawpy

    try:
        with rawpy.RawPy() as raw:
            raw.open_buffer(io.BytesIO(data))
            return _seen(raw) if what == LOOK else _developed(raw)
    except rawpy.LibRawError as error:
        said = error.args[0] if error.args else ""
        return {"reason": said.decode("ascii", "replace") if isinstance(said, bytes) else str(said)}, b""
    except MemoryError:
        return {"reason": "not enough memory to read it"}, b""


def _seen(raw: Any) -> tuple[dict[str, Any], bytes]:
    """What there is, and the largest preview."""
    import rawpy

    sizes = raw.sizes
    told = {
        "size": [sizes.width, sizes.height],
        "raw_size": [sizes.raw_width, sizes.raw_height],
        "orientation": _ORIENTATIONS.get(sizes.flip, 1),
        "is_mosaic": raw.raw_type == rawpy.RawType.Flat,
    }
    try:
        preview = raw.extract_thumb()
    except rawpy.LibRawError:
        return told, b""
    if preview.format == rawpy.ThumbFormat.JPEG:
        return {**told, "preview": "JPEG"}, preview.data
    if preview.data.ndim != 3 or preview.data.shape[2] != 3 or preview.data.nbytes > _LARGEST_BITMAP:
        return told, b""
    height, width, _ = preview.data.shape
    return {**told, "preview": [width, height]}, preview.data.tobytes()


def _developed(raw: Any) -> tuple[dict[str, Any], bytes]:
    """The picture at half its size, upright, in sRGB, with the white balance of the camera."""
    pixels = raw.postprocess(half_size=True, use_camera_wb=True, output_bps=8)
    height, width, _ = pixels.shape
    return {"size": [width, height]}, pixels.tobytes()


def _limit_memory() -> None:
    with suppress(ImportError, OSError, ValueError):  # Windows has no limits, and a Mac keeps to none
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = _MEMORY if most == resource.RLIM_INFINITY else min(_MEMORY, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
