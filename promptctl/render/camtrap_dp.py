"""Camtrap DP 1.0.2, the exchange format for camera traps: `observations.csv`, a row for each animal in a photo.

The rows are media-based: each belongs to one photo and has its moment, which the standard wants. A photo that does not
say when it was taken has none, and is told of on stderr.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from promptctl.render.formats import csv_lines
from promptctl.report import Classified, ClassifyReport, Detected, Guess, Row, Survey

COLUMNS = (
    "observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel",
    "observationType", "cameraSetupType", "scientificName", "count", "lifeStage", "sex", "behavior", "individualID",
    "individualPositionRadius", "individualPositionAngle", "individualSpeed", "bboxX", "bboxY", "bboxWidth",
    "bboxHeight", "classificationMethod", "classifiedBy", "classificationTimestamp", "classificationProbability",
    "observationTags", "observationComments",
)  # fmt: skip
_HUMAN, _VEHICLE, _BLANK = "human", "vehicle", "blank"
_TYPES = {
    "person": _HUMAN,
    _HUMAN: _HUMAN,
    _VEHICLE: _VEHICLE,
    "empty": _BLANK,
    _BLANK: _BLANK,
}  # of labels; else animal


def stream(report: ClassifyReport) -> Iterator[str]:
    """The table as its photos come."""
    before = csv_lines([COLUMNS])
    for item in report.items():
        rows = _rows(item, report) if isinstance(item, Classified) else []
        if rows:
            yield before + csv_lines([row.get(key) for key in COLUMNS] for row in rows)
            before = ""
    if before:
        yield before


def _rows(item: Classified, report: ClassifyReport) -> list[Row]:
    """What was observed in a photo; nothing where it does not say when."""
    survey = report.survey or Survey()
    if (moment := survey.moment(item.taken_at)) is None:
        return []
    media = report.file_of(item.path)
    of_photo = {
        "deploymentID": survey.deployment or _deployment(media, item.path),
        "mediaID": media,
        "eventID": None if item.burst is None else report.file_of(item.burst),
        "eventStart": moment,
        "eventEnd": moment,
        "observationLevel": "media",
        "classificationMethod": "machine",
    }
    observed = _observed(item, report)
    return [{"observationID": f"{media}#{number}", **of_photo, **row} for number, row in enumerate(observed, 1)]


def _deployment(media: str, path: Path) -> str:
    """The first folder of a photo's name in the set; of a set without folders the one that it lies in."""
    first, slash, _ = media.replace("\\", "/").lstrip("/").partition("/")
    return first if slash else path.absolute().parent.name or "photos"


def _observed(item: Classified, report: ClassifyReport) -> list[Row]:
    """What there is in a photo: by boxes where the detector is sure of some, else as a whole."""
    classifier = f"promptctl {report.context or 'words'}"
    if item.answer_of == "photo":
        return [_said(item.top[0], item.unknown, item.doubtful, report) | {"classifiedBy": classifier}]
    detector = (report.detections and report.detections.detector) or "detector"
    least = report.detections.threshold if report.detections else 0.0
    rows = [_of_box(one, report, classifier, detector) for one in item.detections if one.confidence >= least]
    return rows or [_said(item.top[0], False, False, report) | {"classifiedBy": detector}]


def _of_box(one: Detected, report: ClassifyReport, classifier: str, detector: str) -> Row:
    box = dict(zip(("bboxX", "bboxY", "bboxWidth", "bboxHeight"), one.bbox, strict=True))
    if one.top:
        said = _said(one.top[0], one.unknown, one.doubtful, report) | {"classifiedBy": classifier}
    elif one.category == "animal":  # one of too many in a photo
        said = {"observationType": "animal", "classifiedBy": detector, "classificationProbability": one.confidence}
    else:
        guess = Guess(one.category, one.category, one.confidence)
        said = _said(guess, False, False, report) | {"classifiedBy": detector}
    return {**said, **box, "count": 1}


def _said(guess: Guess, unknown: bool, doubtful: bool, report: ClassifyReport) -> Row:
    """Of which type and what it is; of an answer that is not taken only what it would have been."""
    probability = {"classificationProbability": guess.probability}
    if unknown or doubtful:
        perhaps = f"{'unknown' if unknown else 'doubtful'}: most like {guess.name}"
        return {"observationType": "unknown", "observationComments": perhaps, **probability}
    kind = _TYPES.get(guess.label.lower(), "animal")
    name = {"animal": report.taxa.get(guess.label, guess.name), _HUMAN: "Homo sapiens"}.get(kind)
    return {"observationType": kind, "scientificName": name, **probability}
