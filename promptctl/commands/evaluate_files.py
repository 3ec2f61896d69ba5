"""Files of an evaluation: what was said of every photo, the mistakes among it, the confusion matrix, the page."""

from __future__ import annotations

import io
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from promptctl import checks, typed
from promptctl.commands.writing import check_free, place_file, refuse_inside_store
from promptctl.errors import ExportFailed, ExtraMissing, WrongOption
from promptctl.remote import path_of
from promptctl.report import EvaluateReport, PhotoAnswer
from promptctl.report.phrases import local_time
from promptctl.store.store import Store

Asked = str | os.PathLike[str] | None
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "predictions": (".csv", ".parquet"),
    "mistakes": (".csv", ".parquet"),
    "confusion": (".csv",),
    "report": (".html", ".htm"),
}


@dataclass(frozen=True)
class Files:
    """What is to be written, by the option that asks for it.

    raises   BadSetting for what is no path
    """

    asked: Mapping[str, Path]
    force: bool = False

    @staticmethod
    def of(*, force: bool = False, **asked: Asked) -> Files:
        paths = {kind: checks.path(kind, file) for kind, file in asked.items() if file is not None}
        return Files(paths, checks.flag("force", force))

    def check(self, store: Store | None, *read: Path) -> None:
        """What would be refused in the end, refused before anything is measured.

        read     lists that it reads, of photos or classes, in whose place nothing is put
        raises   WrongOption for another suffix or one file twice, ExtraMissing, ExportFailed
        """
        for kind, out in self.asked.items():
            _check_suffix(kind, out)
            check_free(out, self.force)
            refuse_inside_store(out, store or Store())
            if out.resolve() in [one.resolve() for one in read]:
                raise ExportFailed(out, "it is read here, and what stands in it would be lost", "name another file")
        places = [out.resolve() for out in self.asked.values()]
        for kind, place in zip(self.asked, places, strict=True):
            if places.count(place) > 1:
                raise WrongOption(f"two of the files to write are {self.asked[kind]}", "give each a name of its own")

    def write(self, report: EvaluateReport, backbone: str) -> dict[str, str]:
        """Write each file whole or not at all; the files by the option that asked for them.

        backbone   what encoded the photos
        """
        for kind, out in self.asked.items():
            data = _page(report, backbone) if kind == "report" else _table(kind, out, report)
            place_file(out, data, self.force)
        return {kind: str(out) for kind, out in self.asked.items()}


def _check_suffix(kind: str, out: Path) -> None:
    known = SUFFIXES[kind]
    if out.suffix.lower() not in known:
        meant = shlex.quote(str(out.with_suffix(known[0])))
        raise WrongOption(
            f"--{kind} writes a file that ends in {' or '.join(known)}, {out} does not", f"--{kind} {meant}"
        )
    if out.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise ExtraMissing("a .parquet file", "pyarrow", "parquet")


def _page(report: EvaluateReport, backbone: str) -> bytes:
    from promptctl.render.html import page

    command = shlex.join(("promptctl", *typed.words())) if typed.words() else None
    made = local_time(datetime.now(timezone.utc).isoformat())
    return page(report, backbone=backbone, command=command, made=made).encode("utf-8", "backslashreplace")


def _table(kind: str, out: Path, report: EvaluateReport) -> bytes:
    rows = ROWS[kind](report)
    return _as_parquet(rows) if out.suffix.lower() == ".parquet" else _as_csv(rows)


# --------------------------------------------------------------------------- rows, their heading first

Rows = Sequence[Sequence[object]]


def prediction_rows(report: EvaluateReport) -> Rows:
    """Every photo: what it shows, what was said of it, and by what; `path` and `label` make it a list of photos."""
    return [list(_row(report.photos[0], report)), *(list(_row(one, report).values()) for one in report.photos)]


def mistake_rows(report: EvaluateReport) -> Rows:
    """The photos that were given another class, those that it was most certain of first."""
    wrong = sorted((one for one in report.photos if not one.is_right), key=lambda one: -one.probability)
    return [list(_row(report.photos[0], report)), *(list(_row(one, report).values()) for one in wrong)]


def _row(photo: PhotoAnswer, report: EvaluateReport) -> Mapping[str, Any]:
    # alone is of answers that were given together; otherwise the answer is that of the photo by itself
    alone = (photo.answer, photo.probability) if photo.alone is None else (photo.alone, photo.alone_probability)
    return {
        "path": str(path_of(photo.file).absolute()),  # so that the file is a list wherever it lies
        "label": photo.label,
        "answer": photo.answer,
        "probability": photo.probability,
        "truth_probability": photo.truth_probability,
        "zero_shot": photo.zero_shot,
        "zero_shot_probability": photo.zero_shot_probability,
        "one_by_one": alone[0],
        "one_by_one_probability": alone[1],
        "together": photo.together,
        "together_probability": photo.together_probability,
        "nearest_shot": photo.nearest_shot,
        "nearest_shot_cosine": photo.nearest_shot_cosine,
        "sha256": photo.sha256,
    }


def confusion_rows(report: EvaluateReport) -> Rows:
    """Images of each class (a row) by the class they were given (a column), every class of the context."""
    labels = list(report.class_names)
    index = {label: i for i, label in enumerate(labels)}
    counts = [[0] * len(labels) for _ in labels]
    for photo in report.photos:
        counts[index[photo.label]][index[photo.answer]] += 1
    return [["label", *labels], *([label, *row] for label, row in zip(labels, counts, strict=True))]


ROWS: Mapping[str, Callable[[EvaluateReport], Rows]] = {
    "predictions": prediction_rows,
    "mistakes": mistake_rows,
    "confusion": confusion_rows,
}


# --------------------------------------------------------------------------- bytes


def _as_csv(rows: Rows) -> bytes:
    from promptctl.render.formats import csv_text

    return csv_text(rows).encode("utf-8", "surrogateescape")  # a path may be of any bytes


def _as_parquet(rows: Rows) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    heading, *below = rows
    columns = zip(*below, strict=True) if below else [()] * len(heading)
    out = io.BytesIO()
    table = {str(name): _column(pa, str(name), column) for name, column in zip(heading, columns, strict=True)}
    parquet.write_table(pa.table(table), out)
    return out.getvalue()


def _column(pa: Any, name: str, values: Sequence[object]) -> Any:
    from promptctl.encoding.feature_file import in_utf8

    if name.endswith(("probability", "cosine")):
        return pa.array(values, pa.float64())
    return pa.array([None if value is None else in_utf8(str(value)) for value in values], pa.string())
