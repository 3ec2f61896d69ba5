"""ImageFolder: labelled photos as people keep them, in class folders, splits and lists."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from promptctl.data import remarks, unpacked
from promptctl.data.images import LabelledImage, changed_since, passed_over, photos_among
from promptctl.data.names import one_form
from promptctl.data.readers import hugging_face, read_list
from promptctl.data.readers.headings import USUAL, ColumnNames, refuse_columns
from promptctl.data.readers.records import Listed
from promptctl.data.splits import is_one_of_several, look_of, split_of
from promptctl.data.walk import is_beside, list_all, visible_files, visible_folders, walk
from promptctl.encoding.files import Skipped
from promptctl.encoding.formats import is_image_name
from promptctl.errors import DatasetError, NoImages, NoLabelColumn, OneClass, reason_of
from promptctl.remote import how_to_look, look


@dataclass(frozen=True)
class ImageFolder:
    """Labelled images on disk, before any is opened.

    Read without flags: a folder of class folders, the same under `train/ val/ test/`, a CSV with `path,label`,
    Hugging Face's `metadata.csv` or `metadata.jsonl`, its saved data sets and Parquet files, and CoOp's
    `split_zhou_*.json`.
    """

    root: Path
    images: tuple[LabelledImage, ...]
    skipped: tuple[Skipped, ...] = ()
    twins: tuple[tuple[Path, Path], ...] = ()  # class folders of one place whose names are one in NFC

    @staticmethod
    def scan(root: Path, columns: ColumnNames = USUAL) -> ImageFolder:
        """What is labelled under a folder or in a list; what is odd about it is warned of.

        columns  what those of a list are called, where somebody says it
        raises   NoImages, DatasetError
        """
        is_file = _is_file(root)
        with look():
            found = _from_list(root, columns) if is_file else _scan_folder(root, columns)
        if not found.images:
            inside = "lists no image" if is_file else "has class folders but no image in them"
            raise NoImages(f"{root} {inside}{_passed(found.skipped)}", how_to_look(root))
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


def _is_file(root: Path) -> bool:
    try:
        root.stat()
        return root.is_file()
    except FileNotFoundError:
        raise NoImages(f"there is no folder {root}", how_to_look(root.parent)) from None
    except (OSError, ValueError) as error:  # no permission, a name too long, a NUL in it
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise NoImages(f"{root} cannot be read: {reason}", how_to_look(root.parent)) from error


def _scan_folder(root: Path, columns: ColumnNames) -> ImageFolder:
    list_all(root)
    folders = visible_folders(root)
    if saved := hugging_face.saved_tables(root):
        return _from_tables(root, saved, columns)
    for files in _lists_in(root, folders):
        try:
            return _from_rows(root, [row for path in files for row in read_list(path, columns)])
        except NoLabelColumn as unlabelled:
            if not folders:
                raise
            remarks.say([f"{unlabelled}: it is passed over, the folders are the labels"])
    if (shards := hugging_face.parquet_tables(root, folders)) and not _has_images(root):
        return _from_tables(root, shards, columns)
    refuse_columns(root, columns, "a folder without a list of its photos")
    if not folders:
        raise _no_class_folders(root)
    splits = _split_folders(root, folders)
    inside = [_unwrapped(folder) for folder in splits]
    classes: list[tuple[Path, str | None]] = [
        (c, splits[outer]) for outer, folder in zip(splits, inside, strict=True) for c in visible_folders(folder)
    ]
    if not splits and (parts := _parts_of_classes(root, folders)):
        return _from_class_folders(root, [(part, split, part.parent) for part, split in parts.items()])
    beside = [folder for folder in folders if folder not in splits]
    every = classes or [(folder, None) for folder in folders]
    found = _from_class_folders(root, [(folder, split, folder) for folder, split in every])
    remarks.say(_loose([root, *inside] if classes else [root]))
    if len(found.labels) > 1:  # of one class it is asked whether the folder is one too high
        remarks.say(remarks.on_class_folders([folder for folder, _ in classes] or folders))
    if not classes:
        return found
    reason = f"beside {next(iter(splits)).name}/, so it is not taken for a class"
    left_out = [Skipped(folder, reason) for folder in beside if _has_images(folder)]
    return ImageFolder(root, found.images, (*found.skipped, *left_out), found.twins)


def _lists_in(root: Path, folders: Sequence[Path]) -> Iterable[list[Path]]:
    """The lists a data set keeps among its photos, those to read as one together."""
    # Hugging Face keeps metadata here or inside a split; inside a class folder it is somebody's notes
    in_splits = [folder for folder in folders if split_of(folder.name)]
    for name in ("metadata.csv", "metadata.jsonl", "metadata.parquet"):
        if found := [folder / name for folder in (root, *in_splits) if _is_there(folder / name)]:
            yield found
    for path in sorted(root.glob("split_zhou_*.json"))[:1]:
        yield [path]


def _no_class_folders(root: Path) -> NoImages:
    is_empty = not visible_files(root)
    advice = f"put the images of each class in a folder of its own, for example {root / 'sparrow' / 'photo1.jpg'}"
    instead = None if is_empty else _list_in([root]) or _above(root)
    return NoImages(
        f"the folder {root} is empty" if is_empty else f"{root} has no class folders",
        f"did you mean {instead}? otherwise {advice}" if instead else advice,
    )


def _above(root: Path) -> Path | None:
    """The folder around, where this one with its photos is one of several."""
    try:
        beside = [folder for folder in visible_folders(root.parent) if _holds_photos(folder)]
    except NoImages:
        return None
    return root.parent if root.name and _holds_photos(root) and len(beside) > 1 else None


def _from_class_folders(root: Path, folders: Sequence[tuple[Path, str | None, Path]]) -> ImageFolder:
    """The images of class folders: where they lie, their split, and the folder that names their class."""
    images: list[LabelledImage] = []
    skipped: list[Skipped] = []
    first: dict[tuple[Path, str], Path] = {}
    twins = []
    excluded = (root, *(folder for folder, _, _ in folders))  # a link into another class makes no photo one of this
    for folder, split, named in folders:
        label = one_form(named.name)
        tree = walk([folder], excluded=excluded)
        photos, passed = photos_among(tree.files)
        images += [LabelledImage(path, label, split) for path in photos]
        skipped += [*(Skipped(path, reason) for path, reason in tree.closed), *passed]
        if not photos and not tree.closed:
            skipped.append(Skipped(folder, "no image in this class folder"))
        if photos and first.setdefault((named.parent, label), named) != named:
            twins.append((first[named.parent, label], named))
    return ImageFolder(root, tuple(images), tuple(skipped), tuple(twins))


def _passed(skipped: Iterable[Skipped]) -> str:
    counts = passed_over(skipped)
    return f", only {remarks.not_photos(counts)}" if counts else ""


def _from_list(path: Path, columns: ColumnNames) -> ImageFolder:
    return _from_rows(path, read_list(path, columns))


def _from_tables(root: Path, tables: Sequence[hugging_face.Part], columns: ColumnNames) -> ImageFolder:
    rows = [(row, split) for path, split in tables for row in read_list(path, columns)]
    return _from_rows(root, [replace(row, split=row.split or split) for row, split in rows])


def _from_rows(root: Path, rows: Sequence[Listed]) -> ImageFolder:
    rows = _apart(dict.fromkeys(rows))
    usable = [row for row in rows if row.left_out is None]
    _check_one_label(root, usable)
    there = {row.path: _is_there(row.path) for row in usable}
    why = {row: row.left_out or (None if there[row.path] else "no such file") for row in rows}
    missing = tuple(Skipped(row.path, reason) for row, reason in why.items() if reason)
    rows = [row for row in rows if not why[row]]
    changed = changed_since({row.path: row.sha256 for row in rows if row.sha256})
    images = tuple(LabelledImage(row.path, row.label, row.split, True) for row in rows if row.path not in changed)
    if not images and (changed or missing):
        raise _none_usable(root, changed, missing)
    since = (Skipped(path, "it has changed since it was given its class") for path in changed)
    return ImageFolder(root, images, (*missing, *since))


def _apart(rows: Iterable[Listed]) -> list[Listed]:
    """The rows with a file each for photos that tables have twice, in two classes or splits."""
    seen: Counter[Path] = Counter()
    found = []
    for row in rows:
        seen[row.path] += 1
        found.append(row if seen[row.path] == 1 else replace(row, path=unpacked.apart(row.path, seen[row.path])))
    return found


def _check_one_label(root: Path, rows: Sequence[Listed]) -> None:
    label_of: dict[Path, str] = {}
    for row in rows:
        if label_of.setdefault(row.path, row.label) != row.label:
            raise DatasetError(
                f"{root} calls {row.path} both '{label_of[row.path]}' and '{row.label}'",
                "an image shows one class: leave one of the lines out",
            )


def _none_usable(root: Path, changed: Sequence[Path], missing: Sequence[Skipped]) -> NoImages:
    if changed:
        return NoImages(
            f"no image listed in {root} is what it was when it was given its class, {changed[0]} for example",
            f"promptctl review {shlex.quote(str(changed[0].parent))} --prompt NAME",
        )
    hint, first = how_to_look(missing[0].path.parent), missing[0]
    if first.reason != "no such file":
        return NoImages(
            f"none of the {len(missing)} images listed in {root} can be used: {first.path}: {first.reason}", hint
        )
    if len(missing) == 1:
        return NoImages(f"the one image listed in {root} does not exist: {first.path}", hint)
    return NoImages(f"none of the {len(missing)} images listed in {root} exists, {first.path} for example", hint)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _split_folders(root: Path, folders: Sequence[Path]) -> dict[Path, str]:
    """Which folders are splits, and which split each is; none where all are classes.

    raises   DatasetError where folders look like splits and cannot be used so
    """
    splits = _called_like_splits(folders)
    several = [folder for folder in folders if is_one_of_several(folder.name) and folder not in splits]
    kinds = set(splits.values())
    if any(visible_folders(folder) for folder in splits):
        if len(splits) == 1 and len(folders) > 1 and not several and _holds_photos(next(iter(splits))):
            return {}  # a class that happens to be called train or test, its sub-folders included
        if not several or len(kinds) > 1:
            return splits
    if len(several) + len(splits) > 1 and several:
        raise _unusable(root, [*splits, *several], "and it cannot be told which is which")
    if splits and (len(kinds) > 1 or len(splits) == len(folders)):
        raise _unusable(root, list(splits), "but there are no class folders inside", _list_in([root, *splits]))
    return {}


def _parts_of_classes(root: Path, folders: Sequence[Path]) -> dict[Path, str]:
    """`cat/train/`, `cat/test/`, `dog/train/` …: the parts of every class; none where one class has no such parts.

    raises   DatasetError where each folder is a data set of its own: `v1/train/cat/`
    """
    parts = {folder: _called_so(folder) for folder in folders}
    filled = [folder for folder in folders if parts[folder] or _has_images(folder)] if any(parts.values()) else []
    if len(filled) < 2 or not all(parts[folder] for folder in filled):
        return {}
    every = {part: split for folder in filled for part, split in parts[folder].items()}
    if all(_entered(part) and not _holds_photos(part) for part in every):
        shown = ", ".join(f"{folder.name}/" for folder in filled[:4]) + (", …" if len(filled) > 4 else "")
        raise DatasetError(f"{shown} in {root} have splits of their own", f"give one of them, {filled[0]} for example")
    return every if len(set(every.values())) > 1 else {}


def _called_so(folder: Path) -> dict[Path, str]:
    """The folders inside, where there is nothing but splits."""
    inside = {one: split_of(one.name) for one in _entered(folder)}
    is_pure = all(inside.values()) and bool(inside) and not _holds_photos(folder)
    return {one: split for one, split in inside.items() if split} if is_pure else {}


def _called_like_splits(folders: Sequence[Path]) -> dict[Path, str]:
    """`train/` and `test_set/`; without any such, `birds_train/` and `birds_test/`, which say the same besides.

    `1_train/` and `2_test/` are numbered only.
    """
    looks = {folder: look for folder in folders if (look := look_of(folder.name))}
    alike: defaultdict[str, dict[Path, str]] = defaultdict(dict)
    for folder, (split, rest) in looks.items():
        alike[rest][folder] = split
    if alike[""]:
        return alike[""]
    numbered = {folder: split for folder, (split, rest) in looks.items() if rest.isdigit()}
    if 1 < len(set(numbered.values())) == len(numbered):
        return numbered
    pairs = [splits for splits in alike.values() if len(set(splits.values())) > 1]
    return pairs[0] if len(pairs) == 1 else {}


def _unusable(root: Path, folders: Sequence[Path], why: str, instead: Path | None = None) -> DatasetError:
    shown = ", ".join(f"{folder.name}/" for folder in folders[:4]) + (", …" if len(folders) > 4 else "")
    look = "looks like a split" if len(folders) == 1 else "look like splits"
    example = root / "train" / "sparrow" / "photo1.jpg"
    advice = f"class folders go inside train/ and test/, for example {example}; or give one folder alone"
    return DatasetError(f"{shown} in {root} {look}, {why}", f"did you mean {instead}?" if instead else advice)


def _unwrapped(folder: Path) -> Path:
    """A split's folder, or the one of the same name inside it, as some archives unpack."""
    inside = visible_folders(folder)
    return inside[0] if [one.name for one in inside] == [folder.name] and not _holds_photos(folder) else folder


def _holds_photos(folder: Path) -> bool:
    return any(is_image_name(path) for path in visible_files(folder) if not is_beside(path))


def _has_images(folder: Path) -> bool:
    return any(is_image_name(path) for path in walk([folder]).files)


def _loose(folders: Sequence[Path]) -> list[str]:
    """What to say of photos that lie beside class folders."""
    counts = {folder: sum(map(is_image_name, visible_files(folder))) for folder in folders}
    return [remarks.loose_photos(folder, count) for folder, count in counts.items() if count]


def check_classes(labels: Sequence[str], folder: ImageFolder) -> None:
    """OneClass unless there is something to tell apart."""
    if len(labels) > 1:
        return
    own = _class_folder(labels[0], folder)
    is_above = own is not None and own.parent == folder.root and _entered(own) and not _holds_photos(own)
    instead = _down_to_classes(own) if own and is_above else _list_in([folder.root]) if own else None
    left_out = [item for item in folder.skipped if not item.foreign]
    lost = min(left_out, key=lambda item: own is not None and item.path.is_relative_to(own), default=None)
    because = f"{lost.path} ({lost.reason})" if lost else None
    raise OneClass(folder.root, labels[0], own=own, instead=instead, lost=because)


def _down_to_classes(folder: Path) -> Path:
    """The folder, or the first one below it that does not only hold another."""
    while len(inside := _entered(folder)) == 1 and _entered(inside[0]) and not _holds_photos(folder):
        (folder,) = inside
    return folder


def _entered(folder: Path) -> list[Path]:
    """The folders inside; none where it cannot be read, which the walk names."""
    try:
        return visible_folders(folder)
    except NoImages:
        return []


def _list_in(folders: Iterable[Path]) -> Path | None:
    """The file that looks like a list of the photos there, one to learn from if there are several."""
    lists = [path for folder in folders for path in visible_files(folder) if _is_list(path)]
    return min(lists, key=lambda path: ((look_of(path.stem) or ("",))[0] in ("val", "test"), path), default=None)


def _is_list(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith((".csv", ".tsv", ".jsonl", "coco.json")) and path.stem != "metadata"


def _class_folder(label: str, folder: ImageFolder) -> Path | None:
    """The folder of a class; None where a list says what images show."""
    image = min((image for image in folder.images if image.label == label), key=lambda image: image.split != "train")
    below = [home for home in image.path.parents if home != folder.root and home.is_relative_to(folder.root)]
    homes = [home for home in below if one_form(home.name) == label]
    return None if image.listed or not homes else homes[-1]
