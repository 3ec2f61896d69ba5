"""Readers: lists of labelled images as spreadsheets, tools and data sets write them."""

from __future__ import annotations

import ast
import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptctl.cells import unescape
from promptctl.errors import DatasetError, NoImages, NoLabelColumn, reason_of
from promptctl.names import one_form, spoken
from promptctl.pictures import is_image_name
from promptctl.shelf import Shelf
from promptctl.splits import split_of

# columns as tools call them, those that say most first; compared without case, blanks and underscores
_PATHS = (
    "path", "filepath", "imagepath", "imgpath", "filename", "imagefilename", "imagefile", "imagename", "imgname",
    "file", "image", "img", "photo", "picture", "imageid", "imgid", "photoid", "fileid", "uri", "id",
)  # fmt: skip
_LABELS = (
    "labelname", "classname", "categoryname", "label", "class", "category", "species", "target", "groundtruth",
    "breed", "tag", "labelid", "classid", "categoryid", "labelidx", "classidx", "name",
)  # fmt: skip
_SPLITS = ("split", "dataset", "subset", "set", "partition", "usage", "phase")
_DELIMITERS = (",", ";", "\t", "|")
_LOOKED_AT = 50  # rows, to tell how a list is written
_HEAD = 1 << 16  # characters, likewise
_WANTED = "the columns are path,label or file_name,label"
_ZHOU = 'it reads {"train": [["dog/1.jpg", 0, "dog"], …], "val": …, "test": …}'


@dataclass(frozen=True)
class Listed:
    """One line of a list: an image file, which may not be there, its class and its split."""

    path: Path
    label: str
    split: str | None = None


@dataclass(frozen=True)
class _Record:
    """One line of a list with its cells by column."""

    line: int
    cells: Mapping[str, Any]

    def text(self, column: str | None) -> str:
        """What stands in a column; nothing where there is none."""
        cell = None if column is None else self.cells.get(column)
        return "" if cell is None else str(cell).strip()


def read_list(path: Path) -> list[Listed]:
    """The labelled images a file lists.

    raises   NoImages for a file that is no list, DatasetError for one that cannot be understood
    """
    _refuse_containers(path)
    read = FORMATS.get(path.suffix.lower())
    if read is None:
        raise NoImages(
            f"{path} is neither a folder nor a list of images",
            "give a folder of class folders, or a .csv with the columns path,label",
        )
    if not _bytes(path).strip():
        raise NoImages(f"{path} is empty", "write one image a line: path,label")
    return read(path)


def read_names(path: Path, labels: Sequence[str]) -> dict[str, str]:
    """Readable class names from a CSV of `folder,name`, with or without that header line, or a JSON object."""
    names: dict[str, str] = {}
    label_of = {spoken(label): label for label in labels} | {one_form(label): label for label in labels}
    for folder, name in _pairs(path, lambda cell: cell in label_of or spoken(cell) in label_of):
        label = label_of.get(one_form(folder)) or label_of.get(spoken(folder))
        if label is None:
            raise DatasetError(
                f"{path} names a folder that is not there: '{folder}'", f"the folders are {', '.join(labels)}"
            )
        if label in names:
            raise DatasetError(f"{path} names the folder '{folder}' twice", "leave one of the lines out")
        names[label] = one_form(name)
    return names


def _pairs(path: Path, is_known: Callable[[str], bool]) -> list[tuple[str, str]]:
    """The lines of a CSV of `folder,name`, or what a JSON object says; a heading that is no folder is no line."""
    _refuse_containers(path)
    if path.suffix.lower() == ".json":
        return _pairs_of_json(path)
    rows = [row for _, row in _rows(path, is_known)]
    rows = [[cell.strip() for cell in row] for row in rows]
    if rows and _plain(rows[0][0]) in ("folder", "label", "class") and not is_known(rows[0][0]):
        rows = rows[1:]
    broken = next((row for row in rows if len(row) != 2 or not all(row)), None)
    if broken is not None:
        raise DatasetError(f"{path} has the line {','.join(broken)!r}, folder,name was expected")
    return [(folder, name) for folder, name in rows]


# --------------------------------------------------------------------------- CSV


def _read_csv(path: Path) -> list[Listed]:
    shelf = Shelf(path.parent)
    rows = _rows(path, shelf.holds)
    if not rows:
        raise NoImages(f"{path} is empty", "write one image a line: path,label")
    columns, rows = _columns(rows, shelf.holds)
    if len(columns) < 2:
        raise DatasetError(f"{path} has one column only, '{columns[0]}', path and label were expected", _WANTED)
    records = [_Record(line, dict(zip(columns, row, strict=False))) for line, row in rows]
    return _listed(path, columns, records, shelf)


def _rows(path: Path, is_known: Callable[[str], bool]) -> list[tuple[int, list[str]]]:
    """(line number, cells) of every filled line, whatever stands between the cells and in whatever encoding."""
    text = _decoded(_bytes(path))
    said = re.match(r'"?sep=(.)"?[ \t]*(?:\r\n|\r|\n)', text, re.IGNORECASE)  # Excel's own first line
    body, before = (text[said.end() :], 1) if said else (text, 0)
    delimiter = said[1] if said else _delimiter(body[:_HEAD], path.suffix.lower() == ".txt", is_known)
    try:
        parsed = _parsed(body, delimiter, before)
    except csv.Error as error:
        raise DatasetError(f"{path} is not a CSV: {error}", "write one image a line: path,label") from error
    while parsed and parsed[0][1][0].lstrip().startswith("#") and not is_known(parsed[0][1][0]):  # a comment
        line, cells = parsed[0]
        bare = [cells[0].lstrip("# "), *cells[1:]]
        parsed[:1] = [(line, bare)] if _is_heading(bare) else []
    return parsed


def _delimiter(head: str, may_be_blank: bool, is_known: Callable[[str], bool]) -> str:
    """What stands between cells: whatever makes most sense of the first lines."""
    sense = {}
    for delimiter in (*_DELIMITERS, " ") if may_be_blank else _DELIMITERS:
        with suppress(csv.Error):
            sense[delimiter] = _sense(_parsed(head, delimiter), is_known)
    return max(sense, key=lambda delimiter: sense[delimiter], default=",")


def _parsed(text: str, delimiter: str, lines_before: int = 0) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter == " ")
    return [
        (reader.line_num + lines_before, [unescape(cell) for cell in row])
        for row in reader
        if any(cell.strip() for cell in row)
    ]


def _sense(rows: Sequence[tuple[int, list[str]]], is_known: Callable[[str], bool]) -> tuple[int, int, int, int]:
    """How much sense a delimiter makes: a heading, cells that are known, rows of one width, their width."""
    some = [row for _, row in rows[:_LOOKED_AT]]
    width, alike = Counter(map(len, some)).most_common(1)[0] if some else (0, 0)
    heading = any(_is_heading(row) and len(row) > 1 for row in some[:5])
    known = sum(any(map(is_known, row)) for row in some)
    return int(heading), known, alike if width > 1 else 0, width


def _is_heading(cells: Sequence[str]) -> bool:
    return any(_plain(cell) in (*_PATHS, *_LABELS) for cell in cells)


def _columns(
    rows: list[tuple[int, list[str]]], is_known: Callable[[str], bool]
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """What the columns are called, and the rows without their heading."""
    first, some = rows[0][1], [row for _, row in rows[1 : 1 + _LOOKED_AT]]
    known = Counter(i for row in [first, *some] for i, cell in enumerate(row) if is_known(cell))
    file = known.most_common(1)[0][0] if known else 0  # the column whose cells are files
    is_data = any(map(is_known, first)) or any(is_image_name(Path(cell)) for cell in first)
    if not is_data and (_is_heading(first) or known):
        columns = [cell.strip() for cell in first]
        if known and not any(_plain(name) in _PATHS for name in columns):
            columns[file] = "path"
        return columns, rows[1:]
    if len(first) < 2:
        return first, rows
    if file == 0:
        return ["path", "label", "split"], rows
    counted = len(first) > 2 and all(row[0].strip().isdigit() for row in [first, *some] if row)
    return (["", "path", "label", "split"] if counted else ["label", "path", "split"]), rows


# --------------------------------------------------------------------------- JSON


def _read_jsonl(path: Path) -> list[Listed]:
    text = _decoded(_bytes(path))
    if text.lstrip().startswith("["):
        return _read_json(path)
    try:
        numbered = [(n, json.loads(line)) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON lines: {error}", 'a line is {"file_name": …, "label": …}') from error
    return _of_records(path, numbered)


def _read_json(path: Path) -> list[Listed]:
    """CoOp's split file, COCO's annotations with one category an image, or records of path and label."""
    text = _decoded(_bytes(path))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if len(text.splitlines()) > 1 and text.lstrip().startswith("{") and "Extra data" in str(error):
            return _read_jsonl(path)
        raise DatasetError(f"{path} is not JSON ({error})", _ZHOU) from error
    if isinstance(found, list):
        return _of_records(path, list(enumerate(found, 1)))
    if isinstance(found, dict) and {"images", "annotations"} <= found.keys():
        return _of_coco(path, found)
    if isinstance(found, dict) and found and all(isinstance(value, str) for value in found.values()):
        return _of_mapping(path, found)
    return _of_zhou(path, found)


def _of_records(path: Path, numbered: Sequence[tuple[int, object]]) -> list[Listed]:
    records = [_Record(line, found if isinstance(found, dict) else {}) for line, found in numbered]
    columns = list(dict.fromkeys(str(key) for record in records for key in record.cells))
    return _listed(path, columns, records, Shelf(path.parent))


def _of_mapping(path: Path, label_of: Mapping[str, str]) -> list[Listed]:
    shelf = Shelf(path.parent)
    shelf.settle(list(label_of)[:_LOOKED_AT])
    if not any(shelf.find(file).is_file() for file in list(label_of)[:_LOOKED_AT]):
        some = next(iter(label_of))
        raise DatasetError(
            f"{path} lists no image: '{some}' is no file beside it",
            f"names for folders go with a folder: promptctl learn FOLDER --classes {path}",
        )
    return [Listed(shelf.find(file), one_label(path, i, label)) for i, (file, label) in enumerate(label_of.items(), 1)]


def _of_zhou(path: Path, found: Any) -> list[Listed]:
    try:
        rows = [(split_of(part) or part, *row) for part, some in found.items() if split_of(part) for row in some]
        if not rows and not any(split_of(part) for part in found):
            raise ValueError(f"its keys are {', '.join(map(str, list(found)[:5])) or 'none'}")
        shelf = Shelf(path.parent)
        shelf.settle([row[1] for row in rows[:_LOOKED_AT]])
        return [Listed(shelf.find(file), one_form(str(name)), split) for split, file, _, name in rows]
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is not a CoOp split file ({error})", _ZHOU) from error


def _of_coco(path: Path, found: Mapping[str, Any]) -> list[Listed]:
    hint = "promptctl learns what a whole image shows: list one label an image, in a .csv with path,label"
    try:
        name_of = {category["id"]: str(category["name"]) for category in found.get("categories", [])}
        seen: dict[object, set[str]] = {image["id"]: set() for image in found["images"]}
        for annotation in found["annotations"]:
            seen[annotation["image_id"]].add(name_of[annotation["category_id"]])
        file_of = {image["id"]: str(image["file_name"]) for image in found["images"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is a broken COCO file ({type(error).__name__}: {error})", hint) from error
    if not found["annotations"]:
        raise DatasetError(f"{path} is a COCO file without annotations", hint)
    odd = next(((file_of[image], names) for image, names in seen.items() if len(names) != 1), None)
    if odd:
        said = f"several categories: {', '.join(sorted(odd[1]))}" if odd[1] else "no category"
        raise DatasetError(f"{path} is a COCO file that gives {odd[0]} {said}", hint)
    shelf = Shelf(path.parent)
    shelf.settle(list(file_of.values())[:_LOOKED_AT])
    return [Listed(shelf.find(file_of[image]), one_form(name)) for image, (name,) in seen.items()]


def _pairs_of_json(path: Path) -> list[tuple[str, str]]:
    try:
        found = json.loads(_decoded(_bytes(path)))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON ({error})", 'it reads {"folder": "name", …}') from error
    if not isinstance(found, dict) or not all(isinstance(name, str) and name.strip() for name in found.values()):
        raise DatasetError(f"{path} is no list of names", 'it reads {"folder": "name", …}')
    return [(folder, name.strip()) for folder, name in found.items()]


FORMATS: dict[str, Callable[[Path], list[Listed]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".txt": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
}


# --------------------------------------------------------------------------- records


def _listed(path: Path, columns: Sequence[str], records: Sequence[_Record], shelf: Shelf) -> list[Listed]:
    by_name = {_plain(column): column for column in reversed(columns)}
    file = _first(_PATHS, by_name)
    if not records:
        return []
    if file is None:
        raise _missing_column(path, columns, "path")
    label = _first([name for name in _LABELS if by_name.get(name) != file], by_name)
    if label is None and not _is_one_hot(columns, file, records):
        raise _missing_column(path, columns, "label")
    split = _split_column(by_name, records)
    shelf.settle([record.text(file) for record in records[:_LOOKED_AT]])
    found, singles = [], {record.text(label) for record in records}
    for record in records:
        if not record.text(file):
            raise DatasetError(f"{path} has no path in line {record.line}", _WANTED)
        said = _hot(record, columns, file, split) if label is None else record.cells.get(label)
        name = one_label(path, record.line, said, singles)
        found.append(Listed(shelf.find(str(record.cells[file])), name, _split(path, record, split)))
    return found


def one_label(manifest: Path, line: int, said: object, singles: Collection[str] = ()) -> str:
    """The one label a cell gives; DatasetError for none, for several and for what is no text."""
    if isinstance(said, str) and re.fullmatch(r"\s*[\[({].*[\])}]\s*", said, re.DOTALL):
        said = _literal(said)
    if isinstance(said, (list, tuple, set)) and len(said) == 1:
        (said,) = said
    text = "" if said is None else str(said).strip()
    if not text:
        raise DatasetError(f"{manifest} has no label in line {line}", _WANTED)
    several = [str(one) for one in said] if isinstance(said, (list, tuple, set)) else _several(text, singles)
    if several:
        raise DatasetError(
            f"{manifest} gives several labels in line {line}: {', '.join(several)}",
            "an image shows one class: keep one of them",
        )
    if isinstance(said, dict):
        raise DatasetError(f"{manifest} has a label in line {line} that is no text: {text[:40]}", _WANTED)
    return one_form(text)


def _several(text: str, singles: Collection[str]) -> list[str]:
    """The labels in "emu|bird", and in "emu; bird" and "emu, bird" where these are labels of other lines."""
    for separator in "|;,":
        parts = [part.strip() for part in text.split(separator) if part.strip()]
        if len(parts) > 1 and (separator == "|" or all(part in singles for part in parts)):
            return parts
    return []


def _literal(text: str) -> object:
    """A Python list that a data frame wrote as text, or the text."""
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return found if isinstance(found, (list, tuple, set)) else text


def _is_one_hot(columns: Sequence[str], file: str, records: Sequence[_Record]) -> bool:
    classes = _hot_columns(columns, file, records)
    return len(classes) > 1 and bool(records)


def _hot_columns(columns: Sequence[str], file: str, records: Sequence[_Record]) -> list[str]:
    """The columns of a table that has one for each class, with 1 or 0 in it; none where another says something else."""
    others = [name for name in columns if name != file and not _is_index(name) and _plain(name) not in _SPLITS]
    flags = all(record.text(name) in _FLAGS for record in records for name in others)
    return others if flags else []


_FLAGS = {"0": False, "0.0": False, "": False, "False": False, "1": True, "1.0": True, "True": True}


def _hot(record: _Record, columns: Sequence[str], file: str | None, split: str | None) -> object:
    others = [name for name in columns if name not in (file, split) and not _is_index(name)]
    return [name.strip() for name in others if _FLAGS.get(record.text(name))] or None


def _missing_column(path: Path, columns: Sequence[str], what: str) -> DatasetError:
    shown = ", ".join(f"'{name}'" for name in columns[:8]) + (", …" if len(columns) > 8 else "") or "none"
    sentence = f"{path} has no {what} column: its columns are {shown}"
    if {_plain(name) for name in columns} == {"folder", "name"}:
        return DatasetError(sentence, f"names for folders go with a folder: promptctl learn FOLDER --classes {path}")
    return NoLabelColumn(sentence, _WANTED) if what == "label" else DatasetError(sentence, _WANTED)


def _split_column(by_name: Mapping[str, str], records: Sequence[_Record]) -> str | None:
    """The column of splits: one that is called so, or one whose every cell is one."""
    for name in _SPLITS:
        column = by_name.get(name)
        if column and (name == "split" or all(_split_or_blank(record.text(column)) for record in records)):
            return column
    return None


def _split_or_blank(text: str) -> bool:
    return not text or split_of(text) is not None


def _split(manifest: Path, record: _Record, column: str | None) -> str | None:
    said = record.text(column)
    if not said:
        # a Hugging Face folder keeps metadata.csv inside train/, test/ …: the folder is the split then
        return split_of(manifest.parent.name) if manifest.stem == "metadata" else None
    found = split_of(said)
    if found is None:
        raise DatasetError(
            f"{manifest} has the split '{said}' in line {record.line}", "the splits are train, val and test"
        )
    return found


def _first(names: Sequence[str], by_name: Mapping[str, str]) -> str | None:
    return next((by_name[name] for name in names if name in by_name), None)


def _plain(heading: str) -> str:
    """A heading without case, blanks and underscores, in the singular: "File Paths" is "filepath"."""
    bare = re.sub(r"[\W_]+", "", heading.casefold())
    plural = {"classes": "class", "categories": "category", "species": "species"}
    return plural.get(bare) or (bare[:-1] if bare.endswith("s") and not bare.endswith("ss") else bare)


def _is_index(heading: str) -> bool:
    return not heading.strip() or heading.casefold().startswith("unnamed")


# --------------------------------------------------------------------------- bytes


def _bytes(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {reason_of(error)}", f"ls -l {path}") from error


def _decoded(data: bytes) -> str:
    """Text in UTF-8, UTF-16 or Windows' Latin code page."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    if data[1:2] == b"\0" or data[:1] == b"\0":  # UTF-16 that does not say so
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _refuse_containers(path: Path) -> None:
    """NoImages that names what a file really is, where it holds a table or photos but is no list."""
    suffix, head = path.suffix.lower(), _bytes(path, 4000)
    sheet = "a spreadsheet", f"save it as CSV with the columns path,label: {path.with_suffix('.csv')}"
    archive = "an archive, and photos are read from folders", f"unpack it and give the folder: {path.with_suffix('')}"
    table = "a table in a form that is not read", f"save it as CSV with the columns path,label: {path.stem}.csv"
    what = None
    if head.startswith(b"PK\x03\x04"):
        what = sheet if suffix in (".xlsx", ".xlsm", ".ods", ".numbers") or b"xl/" in head else archive
    elif head.startswith(b"\xd0\xcf\x11\xe0") or suffix in (".xls", ".xlsx", ".ods", ".numbers"):
        what = sheet
    elif suffix in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"):
        what = archive
    elif head.startswith(b"PAR1") or suffix in (".parquet", ".feather", ".arrow", ".pkl", ".xml", ".yaml", ".yml"):
        what = table
    if what:
        raise NoImages(f"{path} is {what[0]}", what[1])
