"""ImageFolder: labelled images as people keep them, their class names, and the shots drawn from them."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from promptctl.errors import DatasetError, NoImages, OneClass, TooFewShots, reason_of
from promptctl.pictures import UnreadableImage, hash_image, is_image_name

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_CLUTTER = frozenset({"thumbs.db", "desktop.ini"})
_PATH_COLUMNS = ("path", "file_name", "filename", "file", "image")
_LABEL_COLUMNS = ("label", "class", "classname", "class_name", "category")

OnProgress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class Skipped:
    """A file that was passed over, and why."""

    path: Path
    reason: str
    foreign: bool = False  # never an image nor called like one: a sidecar, a video, a note


@dataclass(frozen=True)
class LabelledImage:
    """An image file, the class it shows, and the split it was put in (train, val, test or none)."""

    path: Path
    label: str
    split: str | None = None


@dataclass(frozen=True)
class HashedImage:
    """A labelled image with the sha256 of its file."""

    path: Path
    label: str
    split: str | None
    sha256: str


# --------------------------------------------------------------------------- finding


@dataclass(frozen=True)
class ImageFolder:
    """Labelled images on disk, before any is opened.

    Read without flags: a folder of class folders, the same under `train/ val/ test/`, a CSV with `path,label`,
    Hugging Face's `metadata.csv` or `metadata.jsonl`, and CoOp's `split_zhou_*.json`.
    """

    root: Path
    images: tuple[LabelledImage, ...]
    skipped: tuple[Skipped, ...] = ()

    @staticmethod
    def scan(root: Path) -> ImageFolder:
        if not root.exists():
            raise NoImages(f"there is no folder {root}", f"ls {root.parent}")
        found = _scan_file(root) if root.is_file() else _scan_folder(root)
        if not found.images:
            inside = "lists no image" if root.is_file() else "has class folders but no image in them"
            raise NoImages(f"{root} {inside}", f"ls {root}")
        return found

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(sorted({image.label for image in self.images}))

    @property
    def splits(self) -> frozenset[str]:
        return frozenset(image.split for image in self.images if image.split)

    @property
    def measured_part(self) -> str | None:
        """The split that is there to measure on: test, or else val, or None."""
        return next((name for name in ("test", "val") if name in self.splits), None)

    def only(self, *splits: str | None) -> tuple[LabelledImage, ...]:
        return tuple(image for image in self.images if image.split in splits)


def _scan_folder(root: Path) -> ImageFolder:
    folders = _visible_folders(root)
    in_splits = [folder for folder in folders if folder.name.lower() in SPLITS]
    for name, read in (("metadata.csv", _read_csv), ("metadata.jsonl", _read_jsonl)):
        # Hugging Face keeps it here or inside a split; inside a class folder it is somebody's notes
        if manifests := [folder / name for folder in (root, *in_splits) if (folder / name).is_file()]:
            return _from_rows(root, [row for path in manifests for row in read(path)])
    if splits := sorted(root.glob("split_zhou_*.json")):
        return _from_rows(root, _read_zhou(splits[0]))
    if in_splits and any(_visible_folders(folder) for folder in in_splits):
        parts = [(folder, SPLITS[folder.name.lower()]) for folder in in_splits]
        classes = [(c, split) for folder, split in parts for c in _visible_folders(folder)]
        found = _from_class_folders(root, classes)
        beside = [folder for folder in folders if folder not in in_splits and _has_images(folder)]
        reason = f"beside {in_splits[0].name}/, so it is not taken for a class"
        return replace(found, skipped=(*found.skipped, *(Skipped(folder, reason) for folder in beside)))
    if not folders:
        raise NoImages(
            f"{root} has no class folders",
            f"put the images of each class in a folder of its own, for example {root / 'sparrow' / 'photo1.jpg'}",
        )
    return _from_class_folders(root, [(folder, None) for folder in folders])


def _scan_file(path: Path) -> ImageFolder:
    readers: dict[str, Callable[[Path], list[LabelledImage]]] = {
        ".csv": _read_csv,
        ".jsonl": _read_jsonl,
        ".json": _read_zhou,
    }
    read = readers.get(path.suffix.lower())
    if read is None:
        raise NoImages(
            f"{path} is neither a folder nor a list of images",
            "give a folder of class folders, or a .csv with the columns path,label",
        )
    return _from_rows(path, read(path))


def _from_class_folders(root: Path, folders: Iterable[tuple[Path, str | None]]) -> ImageFolder:
    found = [(folder, split, list(walk([folder]))) for folder, split in folders]
    images = [LabelledImage(path, folder.name, split) for folder, split, paths in found for path in paths]
    empty = [Skipped(folder, "no image in this class folder") for folder, _, paths in found if not paths]
    return ImageFolder(root, tuple(images), tuple(empty))


def _from_rows(root: Path, rows: Sequence[LabelledImage]) -> ImageFolder:
    label_of: dict[Path, str] = {}
    for row in rows:
        if label_of.setdefault(row.path, row.label) != row.label:
            raise DatasetError(
                f"{root} calls {row.path} both '{label_of[row.path]}' and '{row.label}'",
                "an image shows one class: leave one of the lines out",
            )
    missing = tuple(Skipped(row.path, "no such file") for row in rows if not row.path.is_file())
    images = tuple(row for row in rows if row.path.is_file())
    if not images and missing:
        raise NoImages(f"none of the {len(missing)} images listed in {root} exists", f"ls {missing[0].path.parent}")
    return ImageFolder(root, images, missing)


def _read_csv(path: Path) -> list[LabelledImage]:
    rows = _csv_rows(path)
    if not rows:
        raise NoImages(f"{path} is empty", "write one image a line: path,label")
    header = [cell.strip().lower() for cell in rows[0][1]]
    if any(name in header for name in _PATH_COLUMNS):
        rows = rows[1:]
    else:
        header = ["path", "label", "split"]
    return [_labelled(path, number, dict(zip(header, row, strict=False))) for number, row in rows]


def _csv_rows(path: Path) -> list[tuple[int, list[str]]]:
    """(line number, cells) of every filled line, as any spreadsheet writes them.

    Commas, semicolons or tabs; UTF-8, UTF-16 or Windows' Latin code page.
    """
    try:
        text = _decoded(path.read_bytes())
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {reason_of(error)}", "ls .") from error
    except (csv.Error, UnicodeError) as error:
        raise DatasetError(f"{path} is not a CSV: {error}", "write one image a line: path,label") from error


def _decoded(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _read_jsonl(path: Path) -> list[LabelledImage]:
    try:
        lines = path.read_text("utf-8").splitlines()
        records = [(number, json.loads(line)) for number, line in enumerate(lines, 1) if line.strip()]
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON lines: {error}") from error
    return [_labelled(path, number, record) for number, record in records]


def _labelled(manifest: Path, line: int, record: object) -> LabelledImage:
    columns = record if isinstance(record, dict) else {}
    file = next((columns[name] for name in _PATH_COLUMNS if columns.get(name)), None)
    label = next((columns[name] for name in _LABEL_COLUMNS if columns.get(name) not in (None, "")), None)
    if file is None or label is None:
        raise DatasetError(
            f"{manifest} has no {'path' if file is None else 'label'} in line {line}",
            "the columns are path,label or file_name,label",
        )
    # a Hugging Face folder keeps metadata.csv inside train/, test/ …: the folder is the split then
    folder_split = manifest.parent.name if manifest.stem == "metadata" else ""
    said = str(columns.get("split") or "").strip().lower()
    if said and said not in SPLITS:
        raise DatasetError(f"{manifest} has the split '{said}' in line {line}", "the splits are train, val and test")
    path = manifest.parent / str(file)
    if not path.exists():  # blanks after a comma
        path = manifest.parent / str(file).strip()
    return LabelledImage(path, str(label).strip(), SPLITS.get(said or folder_split.lower()))


def _read_zhou(path: Path) -> list[LabelledImage]:
    try:
        splits = json.loads(path.read_text("utf-8"))
        rows = [(split, *row) for split in ("train", "val", "test") for row in splits.get(split, [])]
        base = _image_base(path.parent, rows[0][1]) if rows else path.parent
        return [LabelledImage(base / file, str(name), split) for split, file, _, name in rows]
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} is not a CoOp split file ({error})",
            'it reads {"train": [["dog/1.jpg", 0, "dog"], …], "val": …, "test": …}',
        ) from error


def _image_base(folder: Path, first: str) -> Path:
    # CoOp's files name images relative to a folder that differs by data set (images/, jpg/, 2750/ …)
    candidates = [
        folder,
        *_visible_folders(folder),
        *(d for f in _visible_folders(folder) for d in _visible_folders(f)),
    ]
    return next((base for base in candidates if (base / first).is_file()), folder)


def _visible_folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except PermissionError as error:
        raise DatasetError(f"{folder} cannot be read: permission denied", f"ls -ld {folder}") from error


def _has_images(folder: Path) -> bool:
    return any(is_image_name(path) for path in walk([folder]))


def walk(roots: Iterable[Path]) -> Iterator[Path]:
    """Every visible file under the roots, once, in sorted order; a root that is a file is given as it is."""
    seen: set[str] = set()
    for root in roots:
        yield from _walk_one(root, seen)


def _walk_one(root: Path, seen: set[str]) -> Iterator[Path]:
    if not root.is_dir():
        if str(root) not in seen:
            seen.add(str(root))
            yield root
        return
    real = os.path.realpath(root)
    if real in seen:  # a link that leads back: every real folder once
        return
    seen.add(real)
    try:
        children = sorted(root.iterdir())
    except PermissionError:
        yield root  # the decoder will say why it cannot be read
        return
    for child in children:
        if not child.name.startswith(".") and child.name.lower() not in _CLUTTER:
            yield from _walk_one(child, seen)


# --------------------------------------------------------------------------- names


def read_names(path: Path, labels: Sequence[str]) -> dict[str, str]:
    """Readable class names from a CSV of `folder,name`, with or without that header line."""
    rows = [[cell.strip() for cell in row] for _, row in _csv_rows(path)]
    if rows and rows[0][0].lower() in ("folder", "label", "class") and rows[0][0] not in labels:
        rows = rows[1:]
    broken = next((row for row in rows if len(row) != 2 or not all(row)), None)
    if broken is not None:
        raise DatasetError(f"{path} has the line {','.join(broken)!r}, folder,name was expected")
    names = dict(rows)
    if len(names) < len(rows):
        twice = next(row[0] for i, row in enumerate(rows) if row[0] in [other[0] for other in rows[:i]])
        raise DatasetError(f"{path} names the folder '{twice}' twice", "leave one of the lines out")
    strange = sorted(set(names) - set(labels))
    if strange:
        raise DatasetError(
            f"{path} names a folder that is not there: '{strange[0]}'", f"the folders are {', '.join(labels)}"
        )
    return names


def readable(label: str) -> str:
    """The class name a folder name stands for, as CoOp reads it: underscores are spaces."""
    return label.replace("_", " ").strip()


# --------------------------------------------------------------------------- sampling


def hash_images(
    images: Sequence[LabelledImage], on_progress: OnProgress | None = None
) -> tuple[tuple[HashedImage, ...], tuple[Skipped, ...]]:
    """The images whose files can be read and look like images, each content once per class, and the others."""
    hashed: list[HashedImage] = []
    skipped: list[Skipped] = []
    seen: set[tuple[str, str]] = set()
    with ThreadPoolExecutor(max_workers=4) as pool:
        for done, (image, outcome) in enumerate(zip(images, pool.map(_hash_or_reason, images), strict=True), 1):
            if isinstance(outcome, UnreadableImage):
                skipped.append(Skipped(image.path, str(outcome)))
            elif (image.label, outcome) not in seen:
                seen.add((image.label, outcome))
                hashed.append(HashedImage(image.path, image.label, image.split, outcome))
            if on_progress:
                on_progress(done, len(images))
    return tuple(hashed), tuple(skipped)


def _hash_or_reason(image: LabelledImage) -> str | UnreadableImage:
    try:
        return hash_image(image.path)
    except UnreadableImage as reason:
        return reason


@dataclass(frozen=True)
class Sample:
    """Images divided into those to learn from and those held back."""

    train: tuple[HashedImage, ...]
    held_out: tuple[HashedImage, ...]


def sample(images: Sequence[HashedImage], shots: int, *, seed: int) -> Sample:
    """`shots` images of every class by content hash and seed, the same on every machine; the rest held out.

    Raises TooFewShots naming the first class that has fewer.
    """
    train: list[HashedImage] = []
    held_out: list[HashedImage] = []
    for label, of_class in by_class(images).items():
        if len(of_class) < shots:
            raise TooFewShots(label, len(of_class), shots)
        drawn = sorted(of_class, key=lambda image: _draw(image.sha256, seed))
        train += drawn[:shots]
        held_out += drawn[shots:]
    return Sample(tuple(train), tuple(held_out))


def hold_out_fifth(images: Sequence[HashedImage]) -> Sample:
    """Every image, less about a fifth of each class held out by its own hash alone; for what keeps learning.

    The side of an image depends on nothing but its content, so it never changes when others come or go; only
    a class that would be left without any training image keeps its first one.
    """
    train: list[HashedImage] = []
    held_out: list[HashedImage] = []
    for of_class in by_class(images).values():
        ordered = sorted(of_class, key=lambda image: image.sha256)
        apart = [image for image in ordered if _in_held_out_fifth(image.sha256)]
        if len(apart) == len(ordered):
            apart = ordered[1:]
        held_out += apart
        train += [image for image in ordered if image.sha256 not in {other.sha256 for other in apart}]
    return Sample(tuple(train), tuple(held_out))


def fifth_of_each(images: Sequence[HashedImage]) -> Sample:
    """Every image, less a fifth of each class, to the nearest image and at least one where there are two.

    For what is measured once: however few the images, the shares are right.
    """
    train: list[HashedImage] = []
    held_out: list[HashedImage] = []
    for of_class in by_class(images).values():
        ordered = sorted(of_class, key=lambda image: image.sha256)
        apart = max(round(len(ordered) / 5), min(1, len(ordered) - 1))
        train += ordered[apart:]
        held_out += ordered[:apart]
    return Sample(tuple(train), tuple(held_out))


def at_most(images: Sequence[HashedImage], limit: int) -> tuple[HashedImage, ...]:
    """The images, or `limit` of them spread evenly over the classes, chosen by content hash."""
    if len(images) <= limit:
        return tuple(images)
    queues = [sorted(c, key=lambda image: _draw(image.sha256, 0)) for c in by_class(images).values()]
    in_turn = [image for turn in zip_longest(*queues) for image in turn if image is not None]
    return tuple(in_turn[:limit])


def by_class(images: Iterable[HashedImage]) -> dict[str, list[HashedImage]]:
    """The images of every class, classes in sorted order."""
    groups: defaultdict[str, list[HashedImage]] = defaultdict(list)
    for image in images:
        groups[image.label].append(image)
    return dict(sorted(groups.items()))


def check_classes(labels: Sequence[str], root: Path) -> None:
    if len(labels) < 2:
        deeper = root / labels[0]
        raise OneClass(root, labels[0], instead=deeper if root.is_dir() and _visible_folders(deeper) else None)


def _draw(sha256: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{sha256}".encode()).hexdigest()


def _in_held_out_fifth(sha256: str) -> bool:
    return int(_draw(sha256, 0)[:8], 16) % 5 == 0
