"""KeptBackbone: what a backbone needs for answering, kept beside the feature cache; no answer waits for PyTorch.

One zip file for each fingerprint, which says by a checksum when it is damaged and may be deleted at any time: the image
tower as OpenVINO writes it, but for the numbers that lie in the file of weights as well; preprocessing; the words of
the vocabulary. It is believed as long as the files it was made from have the same size, time and inode.
The embedded backbone brings its own along (`mini/answers.zip`), which is checked against the weights once.
"""

from __future__ import annotations

import json
import logging
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptctl.clip.registry import MINI_FOLDER, deciding_files
from promptctl.context.card import BackboneId
from promptctl.context.limits import fault_of_backbone
from promptctl.paths import cache_home
from promptctl.store import files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.clip.vocabulary import Vocabulary
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.encoding.openvino import OpenVinoEncoder, Program
    from promptctl.encoding.preprocess import Preprocess

LAYOUT = 1  # change it when what is kept means something else
SHIPPED = MINI_FOLDER / "answers.zip"
FACTS, TOPOLOGY, WORDS, TOWER_REST, TOKENS_REST = "facts.json", "tower.xml", "words.json", "tower.bin", "tokens.bin"
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
# whatever a damaged file makes zipfile and json raise
_UNREADABLE = (OSError, EOFError, ValueError, LookupError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)
_LARGEST = 1 << 26  # bytes of what is read as text; the largest there are, 900,000 words of many languages, take half
_LARGEST_SIDE = 4096  # pixels; the largest a tower takes are a thousand
_LOG = logging.getLogger(__name__)

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class KeptBackbone:
    """A backbone as it is kept: its image tower, its preprocessing and its vocabulary."""

    path: Path
    facts: Facts

    @property
    def id(self) -> BackboneId:
        return BackboneId(**self.facts["backbone"])

    @property
    def place(self) -> Path:
        """Where its weights are."""
        return Path(self.facts["place"])

    def encoder(self, otherwise: Callable[[], ImageEncoder]) -> OpenVinoEncoder | None:
        """Its image side; None where there is none, or no OpenVINO.

        otherwise   gives another, should OpenVINO fail when the first picture is encoded
        """
        if not self.facts["tower"] or find_spec("openvino") is None:
            return None
        from promptctl.encoding.openvino import OpenVinoEncoder

        transform = self.preprocess()
        if transform is None:
            return None
        side = min(transform.height, transform.width)
        return OpenVinoEncoder(
            self.id.fingerprint, self.id.joint_width, side, transform, self._program, partial(self._instead, otherwise)
        )

    def preprocess(self) -> Preprocess | None:
        """How its pictures are made; None for what is not known to be the same here."""
        from promptctl.encoding.preprocess import Preprocess

        try:
            found = Preprocess.of(self.facts["preprocess"])
        except _UNREADABLE:
            return None
        return found if found and max(found.height, found.width) <= _LARGEST_SIDE else None

    def vocabulary(self) -> Vocabulary | None:
        """Its words and their vectors; None, and all is forgotten, where they turn out to be damaged."""
        from promptctl.clip.vocabulary import Vocabulary

        try:
            words, special, rows = json.loads(self._member(WORDS)), tuple(self.facts["special"]), self._token_rows()
            if {*map(type, words)} != {str} or not {*special} <= {*range(len(words))}:
                raise ValueError("its words are none")
            if rows(len(words) - 1, len(words)).shape != (1, self.id.text_width):
                raise ValueError("its words have no vectors")
            return Vocabulary(words, special, rows, bool(self.facts.get("byte_pairs", True)))
        except _UNREADABLE as error:
            _LOG.info("%s cannot be used: %s", self.path, error)
            forget(self.id.fingerprint)
            return None

    def _program(self) -> Program:
        from promptctl.encoding.openvino import program_of, without_converter

        if self.facts["openvino"] not in (None, without_converter().__version__):
            raise ValueError("kept by another OpenVINO")
        return program_of(self._member(TOPOLOGY), self._constants())

    def _instead(self, otherwise: Callable[[], ImageEncoder]) -> ImageEncoder:
        forget(self.id.fingerprint)
        return otherwise()

    def _constants(self) -> NDArray[np.uint8]:
        """The bytes of the tower's .bin, put together from the file of weights and what is kept beside them."""
        import numpy as np

        from promptctl.clip.stored import StoredTensor

        tower, weights = self.facts["tower"], Path(self.facts["weights"] or "")
        data = np.zeros(tower["n_bytes"], np.uint8)
        rest = np.frombuffer(self._member(TOWER_REST), np.uint8)
        for at, offset, n_bytes in tower["kept"]:
            data[at : at + n_bytes] = rest[offset : offset + n_bytes]
        for at, offset, dtype, count in tower["stored"]:
            data[at : at + 4 * count] = StoredTensor(offset, dtype, (count,)).read(weights).view(np.uint8)
        return data

    def _token_rows(self) -> Callable[[int, int], NDArray[np.float32]]:
        """Rows of the token table, from the file of weights where they are in it."""
        import numpy as np

        from promptctl.clip.stored import StoredTensor

        if not self.facts["tokens"]:
            table = np.frombuffer(self._member(TOKENS_REST), "<f4").reshape(-1, self.id.text_width)
            return lambda start, stop: table[start:stop]
        offset, dtype, shape = self.facts["tokens"]
        stored, weights = StoredTensor(offset, dtype, tuple(shape)), Path(self.facts["weights"])
        return lambda start, stop: stored.rows(start, stop).read(weights)

    def _member(self, name: str) -> bytes:
        with zipfile.ZipFile(self.path) as archive:
            return _member(archive, name)


def find(fingerprint: str) -> KeptBackbone | None:
    """The backbone of a fingerprint as it is kept, if its weights are where they were and have not changed."""
    if not _FINGERPRINT.fullmatch(fingerprint):
        return None
    kept = _read(_path(fingerprint))
    return kept if kept and kept.id.fingerprint == fingerprint and _is_current(kept) else _shipped(fingerprint)


def at(place: Path) -> KeptBackbone | None:
    """The backbone at a place as it is kept, if its files have not changed."""
    for kept in filter(None, map(_read, _all())):
        if kept.place == place and _is_current(kept):
            return kept
    shipped = _read(SHIPPED) if place == MINI_FOLDER else None
    return _shipped(shipped.id.fingerprint) if shipped else None


def write(facts: Facts, parts: Mapping[str, bytes]) -> KeptBackbone | None:
    """Keep a backbone; None where there is no room, or nothing can be written.

    parts   TOPOLOGY, WORDS and what else the facts speak of
    """
    path = _path(facts["backbone"]["fingerprint"])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = files.part_of(path.parent)
        try:
            write_archive(part, facts, parts)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        _LOG.info("not kept: %s", error)
        return None
    return _read(path)


def write_archive(path: Path, facts: Facts, parts: Mapping[str, bytes]) -> None:
    """A file of what is kept: the same bytes for the same backbone."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {FACTS: json.dumps(facts).encode(), **parts}.items():
            squeezed = zipfile.ZIP_STORED if name.endswith(".bin") else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name), data, squeezed)


def forget(fingerprint: str) -> None:
    with suppress(OSError):
        _path(fingerprint).unlink(missing_ok=True)


def n_bytes() -> int:
    """On disk, of all that is kept."""
    return sum(path.stat().st_size for path in _all())


def count() -> int:
    return len(list(_all()))


def clear() -> None:
    for path in _all():
        with suppress(OSError):
            path.unlink()


def forget_outdated() -> None:
    """Delete what can never be used again, because its weights have changed or gone."""
    for path in _all():
        kept = _read(path)
        if kept is None or not _is_current(kept):
            with suppress(OSError):
                path.unlink()


def file_facts(place: Path) -> list[list[Any]]:
    """What is noticed of the files that decide which backbone is at a place."""
    return [[path.name, *_noticed(path.stat())] for path in deciding_files(place)]


def _noticed(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _path(fingerprint: str) -> Path:
    return _folder() / f"{fingerprint}.zip"


def _folder() -> Path:
    return cache_home() / "backbones"


def _all() -> Iterator[Path]:
    """Everything that is kept, finished or not."""
    with suppress(OSError):
        yield from (path for path in _folder().iterdir() if path.suffix == ".zip" or files.is_part(path))


def _read(path: Path) -> KeptBackbone | None:
    """What is kept in a file, if all but the large parts of it is readable."""
    try:
        with zipfile.ZipFile(path) as archive:
            facts = json.loads(_member(archive, FACTS))
            whole = facts["layout"] == LAYOUT and _fault_of(facts) is None
            for name in (WORDS, TOPOLOGY) if facts["tower"] else (WORDS,):
                _member(archive, name)  # which is compared with its checksum
        return KeptBackbone(path, facts) if whole else None
    except _UNREADABLE as error:
        _LOG.info("%s cannot be used: %s", path, error)
        return None


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A part of what is kept; ValueError where it would be larger than any is, or than the disk holds."""
    item = archive.getinfo(name)
    if item.file_size > (item.compress_size if item.compress_type == zipfile.ZIP_STORED else _LARGEST):
        raise ValueError(f"{name} is too large")
    with archive.open(item) as part:
        return part.read(item.file_size)  # or the whole of it is unpacked, however long, and cut to its size


def _fault_of(facts: Facts) -> str | None:
    """What is wrong with facts that others read without asking; who uses the rest expects anything."""
    if not isinstance(facts["place"], str) or not isinstance(facts["weights"], str | None):
        return "its places are none"
    return fault_of_backbone(BackboneId(**facts["backbone"]))


def _is_current(kept: KeptBackbone) -> bool:
    try:
        if (weights := kept.facts["weights"]) and Path(weights) not in deciding_files(kept.place):
            return False
        return bool(file_facts(kept.place) == kept.facts["files"])
    except (OSError, ValueError, KeyError):
        return False


# --------------------------------------------------------------------------- the embedded backbone


def _shipped(fingerprint: str) -> KeptBackbone | None:
    """What the embedded backbone brings along, if it is the one and its weights are those it was made from."""
    kept = _read(SHIPPED)
    if kept is None or kept.id.fingerprint != fingerprint or not _is_untouched(kept.facts):
        return None
    weights = str(MINI_FOLDER / kept.facts["weights"])
    facts = {**kept.facts, "place": str(MINI_FOLDER), "weights": weights, "files": file_facts(MINI_FOLDER)}
    with zipfile.ZipFile(SHIPPED) as archive:
        parts = {name: _member(archive, name) for name in archive.namelist() if name != FACTS}
    return write(facts, parts) or KeptBackbone(SHIPPED, facts)


def _is_untouched(facts: Facts) -> bool:
    """Whether the files of the embedded backbone are those of its release, to the last bit."""
    return bool(digests(MINI_FOLDER) == facts["files"])


def digests(place: Path) -> list[list[Any]]:
    """Names and sha256 of the files that decide which backbone is at a place."""
    import hashlib

    return [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in deciding_files(place)]
