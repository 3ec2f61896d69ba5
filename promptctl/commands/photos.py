"""Photos that commands learn from, measure on or encode: labels, names, features, and what was passed over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.context.card import ClassEntry, check_fits
from promptctl.errors import DatasetError, NoImages, NothingToMap, WrongOption
from promptctl.progress import OnProgress
from promptctl.remote import path_of
from promptctl.report import SkippedFile

if TYPE_CHECKING:
    from promptctl.clip.text_tower import TextTower
    from promptctl.data.folder import ImageFolder
    from promptctl.data.images import LabelledImage
    from promptctl.data.readers.headings import ColumnNames
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.encoding.files import Skipped
    from promptctl.encoding.pipeline import Features
    from promptctl.learners.settings import LearnSettings


def columns_asked(path: str | None, label: str | None, split: str | None = None) -> ColumnNames:
    """What the columns of a list are called, where somebody says it; BadSetting for what is no text."""
    from promptctl.data.readers.headings import ColumnNames

    said = {"path_column": path, "label_column": label, "split_column": split}
    if path is not None and path in (label, split):
        raise WrongOption(f"the column {path!r} is to hold paths and something else", "name one column for each")
    return ColumnNames(*(None if name is None else checks.string(what, name, "id") for what, name in said.items()))


def to_learn_from(folder: ImageFolder) -> tuple[LabelledImage, ...]:
    """The images of train/, or all where there are no splits.

    raises   NoImages where a folder has only parts to measure on; DatasetError for one class in two spellings
    """
    images = folder.only("train", None) if folder.splits else folder.images
    if not images:
        raise NoImages(
            f"{folder.root} has no images to learn from, only {' and '.join(sorted(folder.splits))}",
            f"class folders to learn from go inside {folder.root / 'train'}, or give another folder",
        )
    if folder.twins:
        one, other = (str(path) for path in folder.twins[0])
        raise DatasetError(f"{one!a} and {other!a} are the same name to a reader", "put them in one folder")
    if len(written := _listed_twice(images)) > 1:
        one, other = written
        raise DatasetError(f"{folder.root} writes one class in two ways, '{one}' and '{other}'", "write it in one way")
    return images


def _listed_twice(images: Sequence[LabelledImage]) -> tuple[str, ...]:
    """Two labels of a list that differ in nothing a prompt says: in a list that is a slip, folders may mean it."""
    from promptctl.data.names import prompt_form

    first: dict[str, str] = {}
    for label in sorted({image.label for image in images if image.listed}):
        if (other := first.setdefault(prompt_form(label), label)) != label:
            return other, label
    return ()


def files_by_content(photos: Path, on_progress: OnProgress | None = None) -> dict[str, Path]:
    """sha256 → file, of every image in a folder tree, whatever its folders are called."""
    from promptctl.commands.gather import gathered
    from promptctl.data.images import LabelledImage, hash_images

    reading = partial(on_progress, "reading") if on_progress else None
    images = [LabelledImage(path_of(path), "") for path in gathered([photos]).photos]
    return {image.sha256: image.path for image in hash_images(images, reading)[0]}


def check_mapped(folder: ImageFolder, meant: Mapping[str, str]) -> None:
    """NothingToMap where a folder that is to be called otherwise is not there: folder → class."""
    from promptctl.data.names import one_form

    found = sorted({image.label for image in folder.images})
    for asked, of in meant.items():
        if one_form(asked) not in found:
            near = get_close_matches(one_form(asked), found, n=1)
            raise NothingToMap(asked, folder.root, found, near[0] if near else None, of)


def called_otherwise(folder: ImageFolder, meant: Mapping[str, str]) -> ImageFolder:
    """The folder with the photos of some labels under others: folder → class.

    raises   NothingToMap
    """
    from promptctl.data.names import one_form

    check_mapped(folder, meant)
    other = {one_form(label): one_form(of) for label, of in meant.items()}
    images = (replace(image, label=other.get(image.label, image.label)) for image in folder.images)
    return replace(folder, images=tuple(images)) if other else folder


def class_entries(
    labels: Sequence[str], names_file: Path | None, known: Sequence[ClassEntry] = (), first_id: int = 0
) -> tuple[ClassEntry, ...]:
    """New classes in the order of their labels, named by a file or after their folders; odd ones are warned of.

    known   classes that there are already, which they must differ from; a file may name them too, which changes nothing
    """
    from promptctl.data import remarks
    from promptctl.data.names import check_names, readable
    from promptctl.data.readers.class_names import read_names

    every = [*labels, *(entry.label for entry in known)]
    names: Mapping[str, str] = read_names(names_file, every) if names_file else {}
    remarks.say(remarks.named_otherwise(names, known))
    entries = tuple(
        ClassEntry(first_id + i, label, names.get(label, readable(label))) for i, label in enumerate(labels)
    )
    check_names((*known, *entries))
    check_fits((*known, *entries))
    remarks.say(remarks.odd_labels([label for label in labels if label not in names]))
    remarks.say(remarks.numbered([entry.name for entry in entries]))
    return entries


def check_prompts(
    entries: Sequence[ClassEntry], settings: LearnSettings, tower: TextTower, *, new_names: bool = True
) -> None:
    """What `check_room` raises, and what `check_name_tokens` raises of new names."""
    check_room(entries, settings, tower)
    if new_names:
        check_name_tokens(entries, tower)


def check_room(names: Sequence[str | ClassEntry], settings: LearnSettings, tower: TextTower) -> int:
    """How many context vectors will be learned, warned of where that is fewer than usual for want of room.

    names    what the prompts call the classes
    raises   NameTooLong, ContextTooLong, DatasetError for words of --init that are none
    """
    from promptctl.data import remarks
    from promptctl.learners.settings import DEFAULT_TOKENS

    count = settings.tokens(tower, names)
    longest = max(names, key=lambda name: len(tower.name_tokens(name)[0]))
    tower.prompts([longest], count, position=settings.position)
    if settings.takes_what_fits and count < DEFAULT_TOKENS:
        called = longest if isinstance(longest, str) else longest.name
        remarks.say([remarks.little_room(called, count, DEFAULT_TOKENS)])
    return count


def check_name_tokens(entries: Sequence[ClassEntry], tower: TextTower) -> None:
    """DatasetError for names that are the same to the tower; those it cannot read are warned of."""
    from promptctl.data import remarks
    from promptctl.data.names import check_tokens, unread

    check_tokens(entries, tower)
    odd = remarks.odd_among([entry.name for entry in entries])
    remarks.say(remarks.wordless([name for name in unread(entries, tower) if name not in odd]))


def labelled_as_learned(folder: ImageFolder, entries: Sequence[ClassEntry], tower: TextTower) -> ImageFolder:
    """The folder with the photos to measure on labelled as the class they mean: 'Red kite' in test/ is 'red_kite'."""
    from promptctl.data.names import meant_by

    labels = [entry.label for entry in entries]
    unknown = sorted(set(folder.labels) - set(labels))
    meant = meant_by(unknown, entries, tower) if unknown else {}
    images = (
        replace(image, label=labels[meant[image.label]]) if image.label in meant else image for image in folder.images
    )
    return replace(folder, images=tuple(images))


def encode_photos(
    paths: Sequence[Path], encoder: ImageEncoder, on_progress: OnProgress | None
) -> tuple[Features, tuple[Skipped, ...]]:
    """Features of the files that can be read, those in the cache from there, and the other files."""
    from promptctl.encoding.cache import FeatureCache
    from promptctl.encoding.pipeline import encode_files

    with FeatureCache() as cache:
        return encode_files(paths, encoder, cache, partial(on_progress, "encoding") if on_progress else None)


def skipped_files(skipped: Sequence[Skipped]) -> tuple[SkippedFile, ...]:
    """What could not be used, without what was no photo at all."""
    return tuple(SkippedFile(item.path, item.reason) for item in skipped if not item.foreign)


def passed_over(skipped: Sequence[Skipped]) -> dict[str, int]:
    """How many files were no photos at all, by the end of their names."""
    from promptctl.data import images

    return images.passed_over(skipped)


def without_named(skipped: Iterable[Skipped], named: Iterable[Path]) -> tuple[Skipped, ...]:
    """What was passed over, and as a failure what a person, or a list, names to be a photo."""
    meant = set(named)
    return tuple(replace(item, foreign=False) if item.path in meant else item for item in skipped)
