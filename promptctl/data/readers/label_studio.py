"""Label Studio: its exports as JSON, JSON-MIN and CSV, with one choice for each image.

What `review --label-studio` wrote comes back with the path and the checksum of each file. Of other projects the file is
the one that the task's image names: below the list's own folder, wherever the server that showed it had it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from promptctl.data import remarks
from promptctl.data.names import one_form
from promptctl.data.readers.headings import LABELS, PATHS, plain
from promptctl.data.readers.records import Listed
from promptctl.data.shelf import Shelf
from promptctl.data.walk import walk
from promptctl.encoding.formats import is_image_name
from promptctl.errors import DatasetError, NoLabelColumn

CONTROL = "label"  # what our own labelling configuration calls its choices
_OF_EXPORTS = {"annotation_id", "annotator", "lead_time"}  # columns of JSON-MIN and CSV that no other tool has
_OF_TASKS = {"annotations", "completions", "predictions"}
_FILES = tuple(name for name in PATHS if name != "id")  # which is that of the task
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")  # what an uploaded file is called on the server
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHOWN = 5  # of a kind
_WANTED = "export it as JSON, with one choice for each image"


@dataclass(frozen=True)
class Annotation:
    """What one person said of one image."""

    number: int  # of the task, from 1, or the line
    data: Mapping[str, Any]  # of the task
    choices: tuple[str, ...]
    by: str = ""  # who said so
    at: str = ""  # when, as ISO 8601
    is_truth: bool = False  # marked as ground truth

    @cached_property
    def sha256(self) -> str | None:
        found = self.data.get("sha256")
        return found if isinstance(found, str) and _SHA256.fullmatch(found) else None

    @cached_property
    def copies(self) -> tuple[Path, ...]:
        """What looks the same, where our own task says so; in a CSV as text."""
        found = self.data.get("copies") if self.sha256 else None
        if isinstance(found, str):
            with suppress(ValueError, RecursionError):
                found = json.loads(found)
        return tuple(Path(one) for one in found if isinstance(one, str)) if isinstance(found, list) else ()

    @cached_property
    def file(self) -> str:
        """The file that the task shows, as a path or the name of one; empty where none is named."""
        named = [self.data[name] for key in _FILES for name in self.data if plain(name) == key]
        texts = (text.strip() for text in (*named, *self.data.values()) if isinstance(text, str))
        paths = (_as_path(text) for text in texts if text)
        return next(paths if named else (path for path in paths if is_image_name(Path(path))), "")


def fits(found: Sequence[object]) -> bool:
    """Whether a list of JSON objects is an export, or tasks that nobody has annotated yet."""
    first = next((one for one in found if isinstance(one, dict)), {})
    is_task = isinstance(first.get("data"), dict) and not {"annotations", "completions", "predictions"}.isdisjoint(
        first
    )
    return is_task or fits_columns(first)


def fits_columns(names: Iterable[str]) -> bool:
    """Whether a table is an export."""
    return set(names) >= _OF_EXPORTS


def read(path: Path, found: Sequence[object]) -> list[Listed]:
    """The images of JSON or JSON-MIN; `found` as in `annotations_of`."""
    return _listed(path, annotations_of(path, found))


def read_rows(path: Path, names: Sequence[str], rows: Iterable[tuple[int, Sequence[str]]]) -> list[Listed]:
    """The images of a CSV."""
    return _listed(path, annotations_in_rows(path, names, rows))


def annotations_of(path: Path, found: Sequence[object]) -> list[Annotation]:
    """One for each photo: what was said of it last, where all who looked at it agree; the others are remarked on.

    found    the objects of the file
    raises   DatasetError for a task that cannot be understood
    """
    tasks = [(number, one) for number, one in enumerate(found, 1) if isinstance(one, dict)]
    if fits_columns(tasks[0][1]):
        return _agreed(path, list(_of_flat(path, tasks)), len(tasks))
    every = [one for number, task in tasks for one in _of_task(path, number, task)]
    return _agreed(path, _of_one_question(path, every), len(tasks))


def annotations_in_rows(
    path: Path, names: Sequence[str], rows: Iterable[tuple[int, Sequence[str]]]
) -> list[Annotation]:
    """The same of the rows of a CSV, each with its line."""
    records = [(line, dict(zip(names, cells, strict=False))) for line, cells in rows]
    return _agreed(path, list(_of_flat(path, records)), len(records))


# ---------------------------------------------------------------- what people said


def _of_task(path: Path, number: int, task: Mapping[str, Any]) -> Iterator[tuple[str, Annotation]]:
    """(question, answer) of every annotation that was not cancelled."""
    try:
        data = task["data"]
        for one in task.get("annotations") or task.get("completions") or ():
            if one.get("was_cancelled") or one.get("skipped"):
                continue
            by, at = one.get("completed_by"), one.get("updated_at") or one.get("created_at")
            by = by.get("id") or by.get("email") if isinstance(by, dict) else by
            for question, choices in _choices(one.get("result") or ()).items():
                yield question, Annotation(number, data, choices, _text(by), _text(at), bool(one.get("ground_truth")))
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} has a task that cannot be read, number {number}", _WANTED) from error


def _choices(results: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Question → the choices that were made."""
    found: dict[str, tuple[str, ...]] = {}
    for result in results:
        if result.get("type") == "choices":
            question = _text(result.get("from_name"))
            found[question] = found.get(question, ()) + tuple(map(str, result["value"]["choices"]))
    return found


def _of_one_question(path: Path, every: Sequence[tuple[str, Annotation]]) -> list[Annotation]:
    """The answers to the one question that there is, or to the one that is called like a class."""
    questions = list(dict.fromkeys(question for question, _ in every))
    meant = _question(questions)
    if len(questions) > 1 and meant is None:
        raise DatasetError(
            f"{path} answers several questions: {', '.join(questions)}", "call the one about the class 'label'"
        )
    return [one for question, one in every if question == (meant if len(questions) > 1 else question)]


def _question(names: Sequence[str]) -> str | None:
    """Which of several is about the class."""
    plain_of = {name: plain(name) for name in reversed(names)}
    known = (name for key in LABELS for name, bare in plain_of.items() if bare == key)
    return CONTROL if CONTROL in names else next(known, None)


def _of_flat(path: Path, records: Sequence[tuple[int, Mapping[str, Any]]]) -> Iterator[Annotation]:
    """Of JSON-MIN and CSV, whose records hold the data of a task and an annotation side by side."""
    names = list(dict.fromkeys(name for _, record in records for name in record))
    label = _question([name for name in names if plain(name) not in PATHS])
    if label is None:
        raise NoLabelColumn(f"{path} has no label column: its columns are {', '.join(names[:8])}", _WANTED)
    for number, record in records:
        by, at = record.get("annotator"), record.get("updated_at") or record.get("created_at")
        if record.get("annotation_id") not in (None, ""):
            yield Annotation(number, record, _flat_choices(record.get(label)), _text(by), _text(at))


def _flat_choices(said: object) -> tuple[str, ...]:
    """A choice as it is, several as {"choices": […]} or [{"choices": […]}], in a CSV as text."""
    if isinstance(said, str) and said.lstrip().startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            said = json.loads(said)
    if isinstance(said, dict) and isinstance(said.get("choices"), list):
        said = said["choices"]
    if isinstance(said, list):
        return tuple(choice for one in said for choice in ((one,) if isinstance(one, str) else _flat_choices(one)))
    return (said,) if isinstance(said, str) and said.strip() else ()


def _text(value: object) -> str:
    return "" if value is None else str(value)


# ---------------------------------------------------------------- one answer for each photo


def _agreed(path: Path, every: Sequence[Annotation], tasks: int) -> list[Annotation]:
    if not every:
        raise DatasetError(
            f"{path} has {tasks} task{'s' * (tasks != 1)} and no annotations",
            "label them in Label Studio, then export them",
        )
    of_photo: dict[str, list[Annotation]] = {}
    for one in every:
        if not one.file:
            raise DatasetError(f"{path} has a task without an image, number {one.number}", _WANTED)
        of_photo.setdefault(one.sha256 or one.file, []).append(one)
    last = {photo: _last(some) for photo, some in of_photo.items()}
    agreed = {photo: some[-1] for photo, some in last.items() if _is_one_class(some)}
    remarks.say(_left_out(path, [some[-1] for photo, some in last.items() if photo not in agreed]))
    return list(agreed.values())


def _last(annotations: Sequence[Annotation]) -> list[Annotation]:
    """The last of each person, in the order of time; where some are marked as the truth only these."""
    truth = [one for one in annotations if one.is_truth]
    in_time = sorted(truth or annotations, key=lambda one: one.at)
    return list({one.by: one for one in in_time}.values())


def _is_one_class(annotations: Sequence[Annotation]) -> bool:
    """Whether all say the same one class."""
    said = {tuple(one_form(choice).strip() for choice in one.choices) for one in annotations}
    return len(said) == 1 and len(only := said.pop()) == 1 and bool(only[0])


def _left_out(path: Path, unsure: Sequence[Annotation]) -> list[str]:
    """What is said of photos that no class or several were chosen for."""
    if not unsure:
        return []
    kinds = Counter("several classes" if one.choices else "no class" for one in unsure)
    said = " and ".join(f"{count} of {kind}" for kind, count in sorted(kinds.items()))
    names = ", ".join(PurePosixPath(one.file).name for one in unsure[:_SHOWN]) + ", …" * (len(unsure) > _SHOWN)
    photos = "photo is" if len(unsure) == 1 else "photos are"
    return [f"{len(unsure)} {photos} left out of {path}, {said}, as people see it: {names}"]


# ---------------------------------------------------------------- which file it is


def _listed(path: Path, annotations: Sequence[Annotation]) -> list[Listed]:
    finder, own = Finder(path, annotations), {Path(one.file) for one in annotations}
    found: dict[Path, Listed] = {}
    for one in annotations:
        label = one_form(one.choices[0]).strip()
        found |= {copy: Listed(copy, label) for copy in one.copies if copy not in own}
        photo = finder.find(one)
        found[photo] = Listed(photo, label, sha256=one.sha256)
    return list(found.values())


class Finder:
    """The files that tasks show: as they are written, or below the folder of the list by their names."""

    def __init__(self, path: Path, annotations: Sequence[Annotation]) -> None:
        self._folder, self._shelf = path.parent, Shelf(path)
        self._shelf.choose_folder([(one.file, "") for one in annotations])

    def find(self, one: Annotation) -> Path:
        """The file, or the path where it was expected."""
        found = self._shelf.find(one.file)
        if _is_file(found):
            return found
        name = PurePosixPath(one.file).name
        uploaded = _UPLOADED.fullmatch(name)
        alike = self._by_name.get(name) or (uploaded and self._by_name.get(uploaded[1])) or []
        return alike[0] if len(alike) == 1 else found

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for file in walk([self._folder]).files:
            found.setdefault(file.name, []).append(file)
        return found


def _as_path(said: str) -> str:
    """The file in what a task shows: an address of the server's, with the path behind it where there is one."""
    with suppress(ValueError):
        address = urlsplit(said)
        if address.path.endswith("/local-files/"):
            return "/" + (parse_qs(address.query).get("d") or [""])[0].lstrip("/")
        if address.scheme in ("http", "https", "s3", "gs", "azure-blob") or address.path.startswith("/data/upload/"):
            return PurePosixPath(unquote(address.path)).name
    return said


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
