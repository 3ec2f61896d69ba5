"""MegaDetector's output format 1.6, which Timelapse and others read: each photo with its boxes and their classes.

A photo that no detector has looked at gets one box of all of it, as certain as its answer. There is no clock in it: the
same photos give the same file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from promptctl.data.walk import suffix_of
from promptctl.render.formats import dumps
from promptctl.report import Classified, ClassifyReport, Detected, Row, SkippedFile

_CATEGORIES = {"animal": "1", "person": "2", "vehicle": "3"}
_UNKNOWN_CLASS = ""  # of what is none of those that were learned; no label is empty
_FILMS = {".mp4", ".avi", ".mpeg", ".mpg", ".mov", ".mkv", ".flv"}  # of these the format wants frames


def stream(report: ClassifyReport) -> Iterator[str]:
    """The file as its photos come; whole when the last piece of it has come."""
    labels = report.labels[: len(report.class_names)]  # a detector's own labels stand behind them
    numbers = {label: str(number) for number, label in enumerate(labels)} | {_UNKNOWN_CLASS: str(len(labels))}
    head = dumps(_head(report, numbers), indent=1).removesuffix("\n}") + ',\n "images": [\n'
    before = head
    for item in report.items():
        if (image := _image(item, report, numbers)) is not None:
            yield f"{before}  {dumps(image)}"
            before = ",\n"
    yield f"{head if before == head else ''}\n ]\n}}\n"


def _head(report: ClassifyReport, numbers: Mapping[str, str]) -> Row:
    names = [*report.class_names, "unknown"]
    said = report.detections
    info: dict[str, Any] = {"format_version": "1.6"}
    if said is None:
        info["detector"] = "none, each photo is one box"
    elif said.detector is not None:
        info["detector"] = said.detector
    info["classifier"] = f"promptctl {report.context or 'words'}"
    if said is not None:
        info["detector_metadata"] = {"typical_detection_threshold": said.threshold}
    head: Row = {
        "info": info,
        "detection_categories": {number: name for name, number in _CATEGORIES.items()},
        "classification_categories": dict(zip(numbers.values(), names, strict=True)),
    }
    if report.taxa:
        taxa = [report.taxa.get(label, name) for label, name in zip(numbers, names, strict=True)]
        head["classification_category_descriptions"] = dict(zip(numbers.values(), taxa, strict=True))
    return head


def _image(item: object, report: ClassifyReport, numbers: Mapping[str, str]) -> Row | None:
    if isinstance(item, SkippedFile):
        if item.path.is_dir() or suffix_of(item.path) in _FILMS:  # a folder that could not be entered, a film
            return None
        return {"file": report.file_of(item.path), "failure": item.reason, "detections": None}
    assert isinstance(item, Classified)
    boxes = [_box(one, numbers) for one in item.detections]
    if item.answer_of == "photo":
        whole = Detected("animal", item.top[0].probability, (0.0, 0.0, 1.0, 1.0), item.top, item.unknown)
        boxes = [_box(whole, numbers), *boxes]
    return {"file": report.file_of(item.path), "detections": boxes}


def _box(one: Detected, numbers: Mapping[str, str]) -> Row:
    box: Row = {"category": _CATEGORIES[one.category], "conf": float(one.confidence), "bbox": list(one.bbox)}
    return {**box, "classifications": _classes(one, numbers)} if one.top else box


def _classes(one: Detected, numbers: Mapping[str, str]) -> list[tuple[str, float]]:
    """The most probable first; what is unknown is of no class at all."""
    if one.unknown:
        return [(numbers[_UNKNOWN_CLASS], 1.0)]
    return [(numbers[guess.label], guess.probability) for guess in one.top]
