"""COCO: annotations with one category for each image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptctl.data.names import one_form
from promptctl.data.readers.records import Listed
from promptctl.data.shelf import Shelf
from promptctl.errors import DatasetError


def fits(found: Mapping[str, Any]) -> bool:
    return {"images", "annotations"} <= found.keys()


def read(path: Path, found: Mapping[str, Any]) -> list[Listed]:
    """The images of a COCO file; DatasetError where one shows several things, or nothing."""
    hint = "promptctl learns what a whole image shows: list one label per image, in a .csv with path,label"
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
    shelf.choose_folder([(file_of[image], name) for image, (name,) in seen.items()])
    return [Listed(shelf.find(file_of[image], name), one_form(name)) for image, (name,) in seen.items()]
