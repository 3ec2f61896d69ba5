"""Detections: the boxes that a detector of animals found in photos, as MegaDetector and SpeciesNet write them.

MegaDetector's output format, up to 1.6, has `images` with a `file` each, and numbers for categories that
`detection_categories` names; SpeciesNet's has `predictions` with a `filepath` each, and a `label` in each detection.
Both write a box as x_min, y_min, width and height, as fractions of the upright picture.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from promptctl.data.readers.text import file_bytes
from promptctl.errors import DatasetError

ANIMAL, PERSON, VEHICLE = "animal", "person", "vehicle"
MOST_BYTES = 500_000_000  # of a file, that of about a million photos
MOST_VALUES = 40_000_000  # in it, each of a hundred bytes of memory at most
THRESHOLD = 0.2  # of a file that recommends none
_MOST_BOXES = 300  # of a photo, the most certain; what MegaDetector writes at most
_OVERHANG = 0.02  # of a side, by which a box may leave the picture and is cut; a box in pixels leaves it by far more
_CATEGORIES = {ANIMAL: ANIMAL, PERSON: PERSON, "human": PERSON, VEHICLE: VEHICLE}
_NOTHING = ("empty", "blank", "whole_image_classification")  # what some write for no box at all
_WANTED = "it reads the JSON of MegaDetector (images, detection_categories) and of SpeciesNet (predictions)"


@dataclass(frozen=True, slots=True)
class Detection:
    """What a detector found somewhere in a photo."""

    category: str  # animal, person or vehicle
    confidence: float
    box: tuple[float, float, float, float]  # x_min, y_min, width, height as fractions of the upright picture


@dataclass(frozen=True, slots=True)
class Entry:
    """What a detector said of one photo."""

    file: str  # as it names it
    detections: tuple[Detection, ...] = ()  # the most certain first
    failure: str | None = None  # why it could not look at it
    broken: str | None = None  # what is wrong with the first of the boxes that cannot be used
    n_broken: int = 0
    n_other: int = 0  # boxes of other categories


@dataclass(frozen=True)
class Detections:
    """A file of detections."""

    path: Path
    sha256: str
    entries: tuple[Entry, ...]  # by photo, once each
    detector: str | None  # what it is called
    threshold: float  # confidence from which on a box is believed, as the file recommends it
    doubles: tuple[str, ...] = ()  # photos that it names again; the first counts
    others: Mapping[str, int] = field(default_factory=dict)  # other categories → boxes, which count as none


def read_detections(path: Path) -> Detections:
    """What a detector wrote; DatasetError for a file that is something else, or too large to be read."""
    data = file_bytes(path, MOST_BYTES + 1)
    if len(data) > MOST_BYTES or sum(map(data.count, (b",", b"[", b"{"))) > MOST_VALUES:
        most = f"{MOST_BYTES // 1_000_000} MB and {MOST_VALUES // 1_000_000} million values"
        raise DatasetError(f"{path} is larger than {most}, the most that is read", "divide it, a file for each camera")
    digest = sha256(data).hexdigest()
    found = _parsed(path, data)
    del data
    info = found.get("info") if isinstance(found.get("info"), dict) else {}
    assert isinstance(info, dict)
    others: Counter[str] = Counter()
    entries: dict[str, Entry] = {}
    doubles: list[str] = []
    for entry in _entries(path, found, others):
        if entry.file in entries:
            doubles.append(entry.file)
        else:
            entries[entry.file] = entry
    detector = info.get("detector")
    name = detector if isinstance(detector, str) and detector else None
    return Detections(path, digest, tuple(entries.values()), name, _threshold(info), tuple(doubles), dict(others))


def _parsed(path: Path, data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data.decode("utf-8-sig"), object_hook=_compact)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON ({str(error)[:100]})", _WANTED) from error
    if not isinstance(found, dict):
        raise DatasetError(
            f"{path} is JSON, but no detections: it holds {json.dumps(found, default=str)[:40]}", _WANTED
        )
    return found


class _Raw(tuple[Any, ...]):
    """A detection as it is written: category, label, confidence, box. A million photos have many."""

    __slots__ = ()


def _compact(found: dict[str, Any]) -> dict[str, Any] | _Raw:
    if "bbox" in found and "file" not in found and "filepath" not in found:
        return _Raw((found.get("category"), found.get("label"), found.get("conf"), found["bbox"]))
    return found


def _entries(path: Path, found: Mapping[str, Any], others: Counter[str]) -> Iterator[Entry]:
    if isinstance(images := found.get("images"), list) and isinstance(found.get("detection_categories"), dict):
        return _of_list(path, images, "file", _named(found["detection_categories"]), others)
    if isinstance(predictions := found.get("predictions"), list):
        return _of_list(path, predictions, "filepath", {"1": ANIMAL, "2": PERSON, "3": VEHICLE}, others)
    keys = ", ".join(f"'{key}'" for key in list(found)[:5]) + (", …" if len(found) > 5 else "") or "none"
    raise DatasetError(f"{path} is JSON, but no detections: its keys are {keys:.200}", _WANTED)


def _named(categories: Mapping[str, Any]) -> dict[str, str]:
    return {number: name for number, name in categories.items() if isinstance(name, str)}


def _of_list(
    path: Path, images: list[Any], key: str, categories: Mapping[str, str], others: Counter[str]
) -> Iterator[Entry]:
    for number, image in enumerate(images, 1):
        file = image.get(key) if isinstance(image, dict) else None
        if not isinstance(file, str) or not file or "\0" in file:
            raise DatasetError(f"{path} has an image without a {key}, number {number}", _WANTED)
        yield _entry(file, image, categories, others)


def _entry(file: str, image: Mapping[str, Any], categories: Mapping[str, str], others: Counter[str]) -> Entry:
    found = image.get("detections")
    if (failure := _failure(image)) is not None or not isinstance(found, list):
        return Entry(file, failure=failure or "it has no list of detections")
    usable: list[Detection] = []
    reasons: list[str] = []
    n_other = 0
    for one in found:
        category, name = _category(one, categories)
        if category is None:
            others.update([] if name in _NOTHING else [name])
            n_other += name not in _NOTHING
        elif isinstance(read := _detection(category, one), Detection):
            usable.append(read)
        else:
            reasons.append(read)
    usable.sort(key=lambda one: -one.confidence)
    return Entry(file, tuple(usable[:_MOST_BOXES]), None, next(iter(reasons), None), len(reasons), n_other)


def _failure(image: Mapping[str, Any]) -> str | None:
    """Why the detector could not look at a photo; of SpeciesNet's other parts it is no matter."""
    failure, failures = image.get("failure"), image.get("failures")
    if failure:
        return str(failure)[:200]
    return "DETECTOR" if isinstance(failures, list) and "DETECTOR" in failures else None


def _category(one: object, categories: Mapping[str, str]) -> tuple[str | None, str]:
    """animal, person or vehicle, and what the file calls it; None: another."""
    if not isinstance(one, _Raw):
        return ANIMAL, "broken"  # an object without a box is a broken one
    number, label = one[:2]
    name = label if isinstance(label, str) and label else categories.get(str(number), str(number))
    plain = name.strip().lower()
    return _CATEGORIES.get(plain), plain if plain in _NOTHING else name[:80]


def _detection(category: str, one: object) -> Detection | str:
    """A detection, or what is wrong with it."""
    if not isinstance(one, _Raw):
        return "no box"
    confidence, box = one[2:]
    if not _are_numbers([confidence]) or not 0 <= confidence <= 1:
        return f"confidence {confidence!r:.20}"
    if not isinstance(box, list) or len(box) != 4 or not _are_numbers(box):
        return "not four finite numbers"
    x, y, w, h = map(float, box)
    if w <= 0 or h <= 0:
        return "no width or no height"
    if min(x, y) < -_OVERHANG or max(x + w, y + h) > 1 + _OVERHANG:
        return "outside of the picture"
    cut = _within(x, y, w, h)
    return "outside of the picture" if min(cut[2:]) <= 0 else Detection(category, float(confidence), cut)


def _within(x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
    """The part of a box that lies in the picture; one that does as it is, to the last digit."""
    left, upper = max(0.0, x), max(0.0, y)
    width = w if x >= 0 and x + w <= 1 else min(1.0, x + w) - left
    height = h if y >= 0 and y + h <= 1 else min(1.0, y + h) - upper
    return left, upper, width, height


def _are_numbers(values: Iterable[object]) -> bool:
    return all(
        isinstance(one, (int, float)) and not isinstance(one, bool) and abs(one) < 1e9 and math.isfinite(one)
        for one in values
    )


def _threshold(info: Mapping[str, Any]) -> float:
    """What the file recommends, where it does."""
    about = info.get("detector_metadata") or info.get("detection_metadata")
    asked = about.get("typical_detection_threshold") if isinstance(about, dict) else None
    return float(asked) if asked is not None and _are_numbers([asked]) and 0 < asked < 1 else THRESHOLD
