"""Results: what `classify` finds as JSON lines in a file, which a run goes on with and photos are sorted by."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from promptctl import checks
from promptctl.errors import BadResults, NotResults, OtherResults, ResultsExist, reason_of
from promptctl.remote import is_remote, path_of
from promptctl.render.formats import dumps
from promptctl.report import Classified, ClassifyReport, Row, SavedReport, SkippedFile
from promptctl.sorting.plan import Refused, Shown
from promptctl.store.lines import Lines, more_lines, new_lines

_HEAD, _SUMMARY = "head", "summary"


class Results:
    """A file of results, as far as it is written already.

    The first line is a head with all settings, then comes a line a photo as in `--format jsonl`, last a summary. The
    file is only appended to, and what a crash left of a last line is cut off.
    """

    def __init__(self, path: str | os.PathLike[str], *, resume: bool = False) -> None:
        """Read what is there.

        resume   go on with a file that exists, if one does
        raises   BadSetting, ResultsExist without `resume`, NotResults for a file that is none, OSError
        """
        self.path = checks.local_path("output", path, "results are written to a file", _TO_ANOTHER)
        self.known: set[str] = set()  # paths that have a line
        self._head: Row | None = None
        self._end = self._n_bytes = 0
        if not checks.flag("resume", resume) and os.path.lexists(self.path):
            raise ResultsExist(self.path)
        if resume and self.path.exists():
            if not self.path.is_file():
                raise NotResults(self.path, "it is not a regular file")
            self._read()

    def save(self, report: ClassifyReport) -> SavedReport:
        """Write all that a report finds and the file lacks, durable as it grows.

        report   of the same settings, which knows what is there: `classify(…, results=self)`
        raises   OtherResults, ResultsExist, FileInUse, OSError, and what the report raises
        """
        head = plain({**report.head(), "type": _HEAD, **report.settings})
        if self._head is not None:
            check_same(self.path, self._head, head)
        for known in self._items():
            report.count(known)
        items = iter(report.items())
        first = next(items, None)  # a refusal that comes before it leaves no file
        with self._lines() as lines:
            if self._head is None:
                lines.add(_line(head))
            for item in chain([] if first is None else [first], items):
                lines.add(_line(item.record()))
            lines.add(_line({"type": _SUMMARY, **report.totals()}))
        return SavedReport(self.path, len(self.known), report)

    def _lines(self) -> AbstractContextManager[Lines]:
        if self._head is not None:
            return more_lines(self.path, "saved result", after=self._end, n_bytes=self._n_bytes)
        if self._n_bytes:  # a head that was cut off
            return more_lines(self.path, "saved result", after=0, n_bytes=self._n_bytes)
        return self._new_lines()

    def _new_lines(self) -> AbstractContextManager[Lines]:
        if os.path.lexists(self.path):
            return more_lines(self.path, "saved result", after=0, n_bytes=0)
        return new_lines(self.path, "saved result")

    def _read(self) -> None:
        """What is whole; the summary and half a line are written again."""
        for number, (line, end) in enumerate(self._whole_lines(), 1):
            record = _parsed(line)
            kind = record.get("type") if record else None
            if number == 1 and kind == _HEAD:
                self._head = record
            elif self._head is None or record is None or not (kind == _SUMMARY or _is_whole(record)):
                raise NotResults(self.path, f"line {number} is not one of its own")
            elif kind != _SUMMARY:
                self.known.add(os.fspath(path_of(record["path"])))
            if kind != _SUMMARY:
                self._end = end

    def _items(self) -> Iterator[Classified | SkippedFile]:
        """What is known, once more from the file: a hundred thousand of them are many."""
        if self.known:
            for line, end in islice(self._whole_lines(), 1, None):
                if end <= self._end and (record := _parsed(line)):
                    yield _item(record)

    def _whole_lines(self) -> Iterator[tuple[bytes, int]]:
        """(line, where it ends) of each that has an end; NotResults for a file without one that is no head either."""
        at = self._n_bytes = 0
        with self.path.open("rb") as file:
            for line in file:
                self._n_bytes += len(line)
                if line.endswith(b"\n"):
                    at += len(line)
                    yield line, at
                elif at == 0 and not line.startswith(_BEGINNING[: len(line)]):
                    raise NotResults(self.path, "it does not begin as results do")


_TO_ANOTHER = "name a file on this machine, or have --engine ray write them there"
_ELSEWHERE = "it is on another machine, and photos are sorted on this one"
_BEGINNING = b'{"schema_version": '


def check_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key in [*now, *(key for key in before if key not in now)]:
        if before.get(key) != now.get(key):
            raise OtherResults(path, key.replace("_", " "), before.get(key), now.get(key))


def _is_whole(record: Row) -> bool:
    try:
        _item(record)
    except (KeyError, TypeError, AttributeError):
        return False
    return True


def _item(record: Row) -> Classified | SkippedFile:
    if record["type"] == "error":
        return SkippedFile(path_of(record["path"]), str(record["reason"]))
    return Classified.of_record(record)


def _line(record: Row) -> bytes:
    return dumps(record).encode("ascii")


def plain(record: Row) -> Row:
    """As it is when it is read again."""
    plain: Row = json.loads(dumps(record))
    return plain


def _parsed(line: bytes) -> Row | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


# --------------------------------------------------------------------------- read again


def read_results(path: Path) -> tuple[list[tuple[Path, Shown]], list[Refused]]:
    """Photos with what they show, and files that were passed over with why, by whole paths; BadResults."""
    found, refused = [], []
    for number, row in _rows(path):
        try:
            if row["type"] not in ("result", "error"):  # a head, a summary
                continue
            if is_remote(row["path"]):
                refused.append(Refused(path_of(row["path"]), _ELSEWHERE))
            elif row["type"] == "result":
                found.append((_whole(row["path"]), _shown(row)))
            else:
                refused.append(Refused(Path(row["path"]), str(row["reason"])))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BadResults(path, f"line {number} is none of classify's") from error
    if not found and not refused:
        is_parquet = path.is_dir() and any(path.glob("*.parquet"))
        raise BadResults(path, "it has Parquet, and JSON lines are read" if is_parquet else "it has no result")
    return found, refused


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Those of a file, or of all files of a folder as `--engine ray` writes it."""
    try:
        for part in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
            with part.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield number, _row(part, number, line)
    except OSError as error:
        raise BadResults(path, reason_of(error)) from error


def _row(path: Path, number: int, line: bytes) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise BadResults(path, f"line {number} is no object of JSON")
    return row


def _whole(path: object) -> Path:
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError("no path")
    os.fsencode(path)  # ValueError where no file can be called so
    return Path(os.path.join(os.getcwd(), path))  # noqa: PTH109, PTH118  where it lies now, links not followed


def _shown(row: Mapping[str, Any]) -> Shown:
    label, name, probability = row["label"], row["name"], float(row["probability"])
    likeness, sha256 = row.get("likeness"), row.get("sha256")
    if not isinstance(label, str) or not isinstance(name, str) or not math.isfinite(probability):
        raise ValueError("no answer")
    return Shown(
        label,
        name,
        probability,
        bool(row.get("unknown", False)),
        bool(row.get("doubtful", False)),
        None if likeness is None else float(likeness),
        sha256 if isinstance(sha256, str) else None,
        row.get("answer_of") == "detector",
    )
