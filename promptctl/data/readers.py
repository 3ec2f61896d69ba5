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
from itertools import takewhile
from pathlib import Path
from typing import Any

from promptctl.cells import unescape
from promptctl.data.names import one_form, spoken
from promptctl.data.shelf import Shelf
from promptctl.data.splits import split_of
from promptctl.encoding.formats import is_image_name
from promptctl.errors import DatasetError, NoImages, NoLabelColumn, reason_of

# columns as tools call them, those that say most first; compared without case, blanks and underscores
_PATHS = (
    "path", "filepath", "imagepath", "imgpath", "filename", "imagefilename", "imagefile", "imagename", "imgname",
    "file", "image", "img", "photo", "picture", "imageid", "imgid", "photoid", "fileid", "uri", "id",
)  # fmt: skip
_LABELS = (
    "labelname", "classname", "categoryname", "label", "class", "category", "species", "target", "groundtruth",
    "breed", "tag", "choice", "labelid", "classid", "categoryid", "labelidx", "classidx", "name",
)  # fmt: skip
_SPLITS = ("split", "dataset", "subset", "set", "partition", "usage", "phase")
_DELIMITERS = (",", ";", "\t", "|")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_LOOKED_AT = 50  # rows, to tell how a list is written
_HEAD = 1 << 16  # characters, likewise
_WANTED = "the columns are path,label or file_name,label"
_JSON = 'it reads [{"path": "dog/1.jpg", "label": "dog"}, …], {"dog/1.jpg": "dog", …}, COCO and CoOp\'s split files'
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
    if path.suffix.lower() == ".txt":  # "n01491361 tiger shark"
        rows = [[row[0], " ".join(row[1:])] if len(row) > 2 and is_known(row[0]) else row for row in rows]
    broken = next((row for row in rows if len(row) != 2 or not all(row)), None)
    if broken is not None:
        raise DatasetError(f"{path} has the line {','.join(broken)!r}, folder,name was expected")
    return [(folder, name) for folder, name in rows]


# --------------------------------------------------------------------------- CSV


def _read_csv(path: Path) -> list[Listed]:
    shelf = Shelf(path)
    rows = _rows(path, shelf.holds)
    if not rows:
        raise NoImages(f"{path} is empty", "write one image a line: path,label")
    columns, rows = _columns(rows, shelf.holds)
    if len(columns.names) < 2:
        raise DatasetError(f"{path} has one column only, '{columns.names[0]}', path and label were expected", _WANTED)
    return _of_rows(path, columns, rows, shelf)


def _of_rows(path: Path, columns: _Columns, rows: Sequence[tuple[int, list[str]]], shelf: Shelf) -> list[Listed]:
    names = columns.names
    line, row = next(((n, row) for n, row in rows if any(cell.strip() for cell in row[len(names) :])), (0, []))
    if columns.are_headed and row:
        raise DatasetError(
            f"{path} has {len(row)} cells in line {line} and {len(names)} columns",
            'a cell with a comma in it goes into quotation marks: 1.jpg,"red, dark"',
        )
    records = [_Record(line, dict(zip(names, row, strict=False))) for line, row in rows]
    if not columns.are_headed and columns.label is None:
        raise NoLabelColumn(f"{path} has no label beside '{records[0].text(columns.file)}'", _WANTED)
    return _listed(path, names, records, shelf, columns)


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
    return _without_preface(parsed, is_known)


def _without_preface(
    rows: Sequence[tuple[int, list[str]]], is_known: Callable[[str], bool]
) -> list[tuple[int, list[str]]]:
    """The lines from the heading on, where there is one below comments or a title."""
    n_comments = sum(1 for _ in takewhile(lambda row: row[1][0].lstrip().startswith("#"), rows))
    if n_comments and not is_known(rows[0][1][0]):
        bare = [(line, [cells[0].lstrip("# "), *cells[1:]]) for line, cells in rows[:n_comments]]
        return [*[row for row in bare if _is_heading(row[1])][:1], *rows[n_comments:]]
    title = next((i for i, (_, cells) in enumerate(rows[:5]) if _is_whole_heading(cells)), 0)
    known = any(is_known(cell) for _, cells in rows[:title] for cell in cells)
    return list(rows if known else rows[title:])


def _delimiter(head: str, may_be_blank: bool, is_known: Callable[[str], bool]) -> str:
    """What stands between cells: whatever makes most sense of the first lines."""
    sense = {}
    for delimiter in (*_DELIMITERS, " ") if may_be_blank else _DELIMITERS:
        with suppress(csv.Error):
            sense[delimiter] = _sense(_parsed(head, delimiter), is_known)
    return max(sense, key=lambda delimiter: sense[delimiter], default=",")


def _parsed(text: str, delimiter: str, lines_before: int = 0) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter == " ")
    rows = [
        (reader.line_num + lines_before, [unescape(cell) for cell in row])
        for row in reader
        if any(cell.strip() for cell in row)
    ]
    return _rejoined(rows) if delimiter == " " else rows


def _rejoined(rows: Sequence[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Lines parted at blanks, with the path one cell, "my birds/1.jpg", and the label, if no columns follow it."""
    parted = [(line, *_path_and_rest([cell for cell in cells if cell])) for line, cells in rows]
    follows = {word for _, path, rest in parted if path for word in rest[1:]}
    are_columns = all(split_of(word) or _NUMBER.fullmatch(word) for word in follows)
    return [(line, [*path, *(rest if are_columns or not path else [" ".join(rest)])]) for line, path, rest in parted]


def _path_and_rest(words: Sequence[str]) -> tuple[list[str], list[str]]:
    ends = next((i for i in range(1, len(words)) if is_image_name(Path(words[i - 1]))), 0)
    return ([" ".join(words[:ends])] if ends else []), list(words[ends:])


def _sense(rows: Sequence[tuple[int, list[str]]], is_known: Callable[[str], bool]) -> tuple[int, int, int, int]:
    """How much sense a delimiter makes: a heading, cells that are known, rows of one width, their width."""
    some = [row for _, row in rows[:_LOOKED_AT]]
    width, alike = Counter(map(len, some)).most_common(1)[0] if some else (0, 0)
    heading = any(_is_heading(row) and len(row) > 1 for row in some[:5])
    known = sum(any(map(is_known, row)) for row in some)
    return int(heading), known, alike if width > 1 else 0, width


def _is_heading(cells: Sequence[str]) -> bool:
    return any(_plain(cell) in (*_PATHS, *_LABELS) for cell in cells)


def _is_whole_heading(cells: Sequence[str]) -> bool:
    plain = {_plain(cell) for cell in cells}
    return not plain.isdisjoint(_PATHS) and not plain.isdisjoint(_LABELS)


@dataclass(frozen=True)
class _Columns:
    """What the columns of a list are called, and those that were told by what is in them."""

    names: Sequence[str]
    file: str | None = None
    label: str | None = None
    are_headed: bool = True


def _columns(
    rows: list[tuple[int, list[str]]], is_known: Callable[[str], bool]
) -> tuple[_Columns, list[tuple[int, list[str]]]]:
    """What the columns are called, and the rows without their heading."""
    first, some = [cell.strip() for cell in rows[0][1]], [row for _, row in rows[1 : 1 + _LOOKED_AT]]
    file = _file_column([first, *some], is_known)
    is_data = any(is_known(cell) or is_image_name(Path(cell)) for cell in first)
    if not is_data and (_is_heading(first) or file is not None):
        return _headed(first, file), rows[1:]
    return _unheaded([first, *some], file or 0), rows


def _file_column(rows: Sequence[Sequence[str]], is_known: Callable[[str], bool]) -> int | None:
    """The column whose cells are files, or at least called like images."""
    for is_file in (is_known, lambda cell: is_image_name(Path(cell.strip()))):
        found = Counter(i for row in rows for i, cell in enumerate(row) if is_file(cell))
        if found:
            return found.most_common(1)[0][0]
    return None


def _headed(names: list[str], file: int | None) -> _Columns:
    """Columns under a heading; in another language the files tell which is which, if there are two."""
    if file is None or any(_plain(name) in _PATHS for name in names):
        return _Columns(names)
    names = [name or (f"column {i + 1}" if i == file else "") for i, name in enumerate(names)]
    others = [name for i, name in enumerate(names) if i != file and not _is_index(name)]
    known = any(_plain(name) in _LABELS for name in others)
    return _Columns(names, names[file], others[0] if len(others) == 1 and not known else None)


def _unheaded(rows: Sequence[Sequence[str]], file: int) -> _Columns:
    """Columns without a heading: beside the files a count, the label, perhaps the split; others have no name."""
    cells = [[row[i].strip() for row in rows if i < len(row)] for i in range(len(rows[0]))]
    if len(cells) < 2:
        return _Columns(rows[0], are_headed=False)
    others = [i for i, column in enumerate(cells) if i != file and any(column) and not (i < file and _is_count(column))]
    split = next((i for i in others if len(others) > 1 and all(map(_split_or_blank, cells[i]))), None)
    named = [i for i in others if i != split]
    label = next((i for i in named if not all(map(str.isdigit, cells[i]))), named[0] if named else None)
    names = {file: "path", label: "label", split: "split"}
    return _Columns([names.get(i, "") for i in range(len(cells))], "path", None if label is None else "label", False)


def _is_count(column: Sequence[str]) -> bool:
    """Whether cells count the lines; of two lines 0 and 1 may as well be classes."""
    return all(map(str.isdigit, column)) and len(set(column)) == len(column) > 2


# --------------------------------------------------------------------------- JSON


def _read_jsonl(path: Path) -> list[Listed]:
    text = _decoded(_bytes(path))
    if re.match(r"\s*\[", text) and not re.match(r"\s*\[.*\]\s*[\r\n]+\s*\[", text):  # an array, and not one a line
        return _read_json(path)
    try:
        # not splitlines: JSON may hold U+2028 and its like as they are
        lines = [(n, line) for n, line in enumerate(re.split(r"\r\n|\r|\n", text), 1) if line.strip()]
        numbered = [(n, _object(line, n)) for n, line in lines]
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON lines: {error}", 'a line is {"file_name": …, "label": …}') from error
    return _of_records(path, numbered)


def _object(line: str, number: int) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} in line {number}, column {error.colno}") from error


def _read_json(path: Path) -> list[Listed]:
    """CoOp's split file, COCO's annotations with one category an image, or records of path and label."""
    text = _decoded(_bytes(path))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if len(text.splitlines()) > 1 and text.lstrip().startswith("{") and "Extra data" in str(error):
            return _read_jsonl(path)
        raise DatasetError(f"{path} is not JSON ({error})", _JSON) from error
    if isinstance(found, list):
        return _of_records(path, list(enumerate(found, 1)))
    if not isinstance(found, dict):
        raise DatasetError(f"{path} is JSON, but no list of images: it holds {json.dumps(found)[:40]}", _JSON)
    if {"images", "annotations"} <= found.keys():
        return _of_coco(path, found)
    if found and (all(isinstance(value, str) for value in found.values()) or is_image_name(Path(next(iter(found))))):
        return _of_mapping(path, found)
    if not any(split_of(part) for part in found):
        keys = ", ".join(f"'{key}'" for key in list(found)[:5]) + (", …" if len(found) > 5 else "") or "none"
        raise DatasetError(f"{path} is JSON, but no list of images: its keys are {keys}", _JSON)
    if all(isinstance(row, dict) for some in found.values() if isinstance(some, list) for row in some):
        parts = ((part, some) for part, some in found.items() if split_of(part) and isinstance(some, list))
        rows = [{**row, "split": part} for part, some in parts for row in some]
        return _of_records(path, list(enumerate(rows, 1)))
    return _of_zhou(path, found)


def _of_records(path: Path, numbered: Sequence[tuple[int, object]]) -> list[Listed]:
    shelf = Shelf(path)
    arrays = [(line, found) for line, found in numbered if isinstance(found, list) and len(found) > 1]
    if arrays and len(arrays) == len(numbered):
        rows = [(line, ["" if cell is None else str(cell) for cell in found]) for line, found in arrays]
        return _of_rows(path, *_columns(rows, shelf.holds), shelf)
    records = [_Record(line, found if isinstance(found, dict) else {}) for line, found in numbered]
    columns = list(dict.fromkeys(str(key) for record in records for key in record.cells))
    return _listed(path, columns, records, shelf)


def _of_mapping(path: Path, label_of: Mapping[str, object]) -> list[Listed]:
    shelf = Shelf(path)
    shelf.settle([(file, str(label)) for file, label in label_of.items()])
    if not any(shelf.find(file, str(label)).is_file() for file, label in list(label_of.items())[:_LOOKED_AT]):
        some = next(iter(label_of))
        raise DatasetError(
            f"{path} lists no image: '{some}' is no file beside it",
            f"names for folders go with a folder: promptctl learn FOLDER --classes {path}",
        )
    labels = [one_label(path, i, label) for i, label in enumerate(label_of.values(), 1)]
    return [Listed(shelf.find(file, label), label) for file, label in zip(label_of, labels, strict=True)]


def _of_zhou(path: Path, found: Any) -> list[Listed]:
    try:
        rows = [(split_of(part) or part, *row) for part, some in found.items() if split_of(part) for row in some]
        shelf = Shelf(path)
        shelf.settle([(file, str(name)) for _, file, _, name in rows])
        return [Listed(shelf.find(file, str(name)), one_form(str(name)), split) for split, file, _, name in rows]
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is no CoOp split file: its rows are not path, number and name", _ZHOU) from error


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
    shelf = Shelf(path)
    shelf.settle([(file_of[image], name) for image, (name,) in seen.items()])
    return [Listed(shelf.find(file_of[image], name), one_form(name)) for image, (name,) in seen.items()]


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


def _listed(
    path: Path, columns: Sequence[str], records: Sequence[_Record], shelf: Shelf, told: _Columns | None = None
) -> list[Listed]:
    by_name = {_plain(column): column for column in reversed(columns)}
    file = (told and told.file) or _first(_PATHS, by_name)
    if not records:
        return []
    if file is None:
        raise _missing_column(path, columns, "path")
    label = (told and told.label) or _first([name for name in _LABELS if by_name.get(name) != file], by_name)
    if label is not None and list(columns).count(label) > 1:
        raise DatasetError(f"{path} has {list(columns).count(label)} columns called '{label}'", "leave one of them")
    if label is None and not _is_one_hot(columns, file, records):
        raise _missing_column(path, columns, "label")
    split = _split_column(by_name, records)
    _refuse_addresses(path, records[0].text(file))
    shelf.settle([(record.text(file), record.text(label)) for record in records])
    found, singles = [], {record.text(label) for record in records}
    for record in records:
        if not record.text(file):
            raise DatasetError(f"{path} has no path in line {record.line}", _WANTED)
        if isinstance(record.cells[file], (dict, list)):
            raise DatasetError(
                f"{path} has a path in line {record.line} that is no text: {record.text(file)[:40]}", _WANTED
            )
        said = _hot(record, columns, file) if label is None else record.cells.get(label)
        name = one_label(path, record.line, said, singles)
        found.append(Listed(shelf.find(str(record.cells[file]), name), name, _split(path, record, split)))
    return found


def _refuse_addresses(path: Path, cell: str) -> None:
    if re.match(r"(?:https?|s3|gs|ftp)://", cell, re.IGNORECASE):
        raise DatasetError(
            f"{path} lists addresses in the network such as {cell}, and photos are read from files",
            "download them, and list the files",
        )


def one_label(manifest: Path, line: int, said: object, singles: Collection[str] = ()) -> str:
    """The one label a cell gives; DatasetError for none, for several and for what is no text."""
    if isinstance(said, str) and re.fullmatch(r"\s*[\[({].*[\])}]\s*", said, re.DOTALL):
        said = _literal(said)
    if isinstance(said, (list, tuple, set)) and len(said) < 2:
        said = next(iter(said), None)
    text = "" if said is None or said != said else str(said).strip()  # NaN is no label either
    if not text:
        raise DatasetError(f"{manifest} has no label in line {line}", _WANTED)
    several = [str(one) for one in said] if isinstance(said, (list, tuple, set)) else _several(text, singles)
    if several:
        raise DatasetError(
            f"{manifest} gives several labels in line {line}: {', '.join(several)}",
            "an image shows one class: keep one of them",
        )
    if re.search(r"[\r\n]", text):
        raise DatasetError(
            f"{manifest} has a label in line {line} that goes on in the next line: {text.splitlines()[0][:40]}",
            "a quotation mark is missing, or there is one too many",
        )
    if isinstance(said, dict):
        raise DatasetError(f"{manifest} has a label in line {line} that is no text: {text[:40]}", _WANTED)
    return one_form(text)


def _several(text: str, singles: Collection[str]) -> list[str]:
    """The labels in "emu|bird" and "[emu, bird]", and in "emu; bird" and "emu, bird" if other lines have each."""
    if re.fullmatch(r"\[.*,.*\]|\{.*,.*\}", text):
        return [part.strip() for part in text[1:-1].split(",")]
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
    others = [name for name in columns if _may_be_class(name, file)]
    flags = all(record.text(name).casefold() in _FLAGS for record in records for name in others)
    return others if flags else []


_FLAGS = {**dict.fromkeys(("0", "0.0", "", "false"), False), **dict.fromkeys(("1", "1.0", "true", "x"), True)}


def _hot(record: _Record, columns: Sequence[str], file: str) -> object:
    others = [name for name in columns if _may_be_class(name, file)]
    return [name.strip() for name in others if _FLAGS.get(record.text(name).casefold())] or None


def _may_be_class(name: str, file: str) -> bool:
    return name != file and not _is_index(name) and _plain(name) not in (*_SPLITS, *_PATHS)


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
    """Text in UTF-8, UTF-16 or Windows' Latin code page; in UTF-8 single bytes may be of no character."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    if data[1:2] == b"\0" or data[:1] == b"\0":  # UTF-16 that does not say so
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # names as a file system has them, some of them not UTF-8; where none is, it is an old code page
        text = data.decode("utf-8-sig", errors="surrogateescape")
        is_utf8 = any(character >= "\x80" and not "\udc80" <= character <= "\udcff" for character in text)
        return text if is_utf8 else data.decode("cp1252", errors="replace")


def _refuse_containers(path: Path) -> None:
    """NoImages that names what a file really is, where it holds a table or photos but is no list."""
    suffix, head = path.suffix.lower(), _bytes(path, 4000)
    sheet = "a spreadsheet", f"save it as CSV with the columns path,label: {path.with_suffix('.csv')}"
    archive = (
        "an archive, and photos are read from folders",
        f"unpack it and give the folder: {path.with_name(path.name.split('.')[0] or path.name)}",
    )
    table = "a table in a form that is not read", f"save it as CSV with the columns path,label: {path.stem}.csv"
    page = "a web page", "download the list itself"
    pointer = "a pointer of Git LFS, not the file", "git lfs pull"
    what = None
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        what = archive
    elif head.startswith(b"version https://git-lfs"):
        what = pointer
    elif re.match(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head)\b", head, re.IGNORECASE):
        what = page
    elif suffix in FORMATS and head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8")):
        what = "a picture", "give a folder of class folders, or a list in a .csv"
    elif head.startswith(b"PK\x03\x04"):
        what = sheet if suffix in (".xlsx", ".xlsm", ".ods", ".numbers") or b"xl/" in head else archive
    elif head.startswith(b"\xd0\xcf\x11\xe0") or suffix in (".xls", ".xlsx", ".ods", ".numbers"):
        what = sheet
    elif suffix in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"):
        what = archive
    elif head.startswith(b"PAR1") or suffix in (".parquet", ".feather", ".arrow", ".pkl", ".xml", ".yaml", ".yml"):
        what = table
    if what:
        raise NoImages(f"{path} is {what[0]}", what[1])
