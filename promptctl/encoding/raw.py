"""Raw: photos of a camera's own format, by the preview in them, or else developed at half their size.

LibRaw reads some hundred formats that nobody has specified, in C++, and strangers' files have made it crash. So it runs
in processes of its own (`raw_process`), a few of them, started when the first raw photo comes: a file that ends one is
damaged, and the next file gets another. Each takes one file at a time, of those that are counted here.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from PIL import Image

from promptctl.encoding.files import UnreadableImage
from promptctl.encoding.raw_process import DEVELOP, LENGTHS, LOOK

DECODER = "raw-1"  # part of the key of a raw photo's features: change it when what is read of one changes
_MOST_PROCESSES = min(4, os.cpu_count() or 1)
_SECONDS = 60.0  # that one file may take
_CUT_OFF = "input/output error"  # what LibRaw says where it reads beyond the end
_LEAST_SIDE = 512  # pixels of the short side of a preview; no backbone looks at more
_MOSAIC_BYTES, _STACK_BYTES = 6, 24  # that developing takes for a pixel of the sensor: with one value, with all colours
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from promptctl.encoding.raw_process import serve; serve()"
)

Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class Raw:
    """A raw photo as far as its header and its preview tell."""

    size: Size  # as the sensor lay, not turned
    orientation: int  # 1 to 8, as EXIF counts them
    jpeg: bytes | None  # the preview
    bitmap: Image.Image | None  # a preview that is no JPEG
    developing_bytes: int  # memory for developing it

    @property
    def least_side(self) -> int:
        """Pixels that the short side of a preview needs: no less than developing would give, where that is little."""
        return min(_LEAST_SIDE, min(self.size) // 2)

    def orientation_of(self, preview: Size, said: int) -> int:
        """How a preview is to be turned, which may lie as the sensor did or be upright already.

        said   by itself
        """
        meant = said if said > 1 else self.orientation
        is_turned = (preview[0] < preview[1]) != (self.size[0] < self.size[1])
        return 1 if meant >= 5 and is_turned else meant


def opened(data: bytes) -> Raw:
    """What a raw photo says of itself, and its preview; UnreadableImage."""
    told, preview = _PROCESSES.ask(LOOK, data)
    form = told.get("preview")
    width, height = told["raw_size"]
    developing = width * height * (_MOSAIC_BYTES if told["is_mosaic"] else _STACK_BYTES) + 2 * len(data)
    bitmap = Image.frombytes("RGB", tuple(form), preview) if isinstance(form, list) else None
    return Raw(tuple(told["size"]), told["orientation"], preview if form == "JPEG" else None, bitmap, developing)


def developed(data: bytes) -> Image.Image:
    """The picture of a raw photo at half its size, upright, in sRGB; UnreadableImage."""
    told, pixels = _PROCESSES.ask(DEVELOP, data)
    return Image.frombytes("RGB", tuple(told["size"]), pixels)


class _Process:
    """One process that reads raw photos."""

    def __init__(self) -> None:
        folders = [folder for folder in sys.path if Path(folder).is_absolute()]  # not where one happens to be
        self._popen = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, json.dumps(folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        assert self._popen.stdin and self._popen.stdout
        self._questions, self._answers = self._popen.stdin, self._popen.stdout

    def ask(self, what: int, data: bytes) -> tuple[Mapping[str, Any], bytes]:
        """What it tells, and the data with it; OSError and EOFError where it ends meanwhile."""
        late = threading.Timer(_SECONDS, self._popen.kill)
        late.daemon = True
        late.start()
        try:
            self._questions.write(LENGTHS.pack(what, len(data)))
            self._questions.write(data)
            self._questions.flush()
            told: Mapping[str, Any] = json.loads(_received(self._answers))
            return told, _received(self._answers)
        finally:
            late.cancel()

    def end(self) -> None:
        self._popen.kill()
        for pipe in (self._questions, self._answers):
            with suppress(OSError):  # what was not written any more
                pipe.close()
        self._popen.wait()


def _received(answers: IO[bytes]) -> bytes:
    head = answers.read(LENGTHS.size)
    if len(head) < LENGTHS.size:
        raise EOFError
    n_bytes: int = LENGTHS.unpack(head)[1]
    data = answers.read(n_bytes)
    if len(data) < n_bytes:
        raise EOFError
    return data


@dataclass
class _Processes:
    """Processes that wait for the next raw photo, and how many there may be."""

    _idle: list[_Process] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_MOST_PROCESSES))

    def ask(self, what: int, data: bytes) -> tuple[Mapping[str, Any], bytes]:
        with self._places:
            process = self._take()
            try:
                told, answer = process.ask(what, data)
            except (OSError, EOFError):
                process.end()
                raise UnreadableImage(
                    "raw photo that cannot be read: damaged, the decoder did not outlive it"
                ) from None
            except BaseException:
                process.end()
                raise
            with self._lock:
                self._idle.append(process)
        if "reason" in told:
            reason = str(told["reason"]).lower()[:60]
            if reason == _CUT_OFF:
                raise UnreadableImage("raw photo that cannot be read: damaged, it ends too early")
            raise UnreadableImage(f"raw photo that cannot be read ({reason}): export it as JPEG")
        return told, answer

    def _take(self) -> _Process:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Process()

    def end(self) -> None:
        """End those that wait."""
        with self._lock:
            while self._idle:
                self._idle.pop().end()


_PROCESSES = _Processes()
atexit.register(_PROCESSES.end)
