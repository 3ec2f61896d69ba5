"""COCO: annotations with one category for each image, whether they have boxes or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptctl.data.names import one_form
from promptctl.data.readers.records import Listed
from promptctl.data.shelf import Shelf
from promptctl.errors import DatasetError

_HINT = "promptctl learns what a whole image shows: list one label per image, in a .csv with path,label"


def fits(found: Mapping[str, Any]) -> bool:
    return {"images", "annotations"} <= found.keys()


def read(path: Path, found: Mapping[str, Any]) -> list[Listed]:
    """The images of a COCO file; those with several categories, or none, are left out, and each says so.

    raises   DatasetError where not even half of the images have one category: a file of what lies where in a picture
    """
    seen = _seen(path, found)
    if not found["annotations"]:
        raise DatasetError(f"{path} is a COCO file without annotations", _HINT)
    odd = {file: names for file, names in seen if len(names) != 1}
    if 2 * len(odd) > len(seen):
        file, names = next(iter(odd.items()))
        raise DatasetError(
            f"{path} is a COCO file in which {len(odd)} of {len(seen)} images have not one category: "
            f"{file} has {_said(names)}",
            _HINT,
        )
    shelf = Shelf(path)
    shelf.choose_folder([(file, name) for file, names in seen if file not in odd for name in names])
    return [_listed(shelf, file, names) for file, names in seen]


def _seen(path: Path, found: Mapping[str, Any]) -> list[tuple[str, Sequence[str]]]:
    """Every image's file and the names of its categories."""
    try:
        name_of = {category["id"]: str(category["name"]) for category in found.get("categories", [])}
        file_of = {image["id"]: str(image["file_name"]) for image in found["images"]}
        names: dict[object, dict[str, None]] = {image: {} for image in file_of}
        for annotation in found["annotations"]:
            names[annotation["image_id"]][name_of[annotation["category_id"]]] = None
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is a broken COCO file ({type(error).__name__}: {error})", _HINT) from error
    return [(file_of[image], sorted(categories)) for image, categories in names.items()]


def _listed(shelf: Shelf, file: str, names: Sequence[str]) -> Listed:
    if len(names) != 1:
        return Listed(shelf.find(file), "", left_out=f"it has {_said(names)}")
    image, doubt = shelf.looked_up(file, names[0])
    return Listed(image, one_form(names[0]), left_out=doubt)


def _said(names: Sequence[str]) -> str:
    return f"several categories: {', '.join(names)}" if names else "no category"
