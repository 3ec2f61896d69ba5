"""JSON mapping: an object of paths and their labels, {"dog/1.jpg": "dog", …}."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from promptctl.data.readers.headings import LOOKED_AT
from promptctl.data.readers.labels import one_label
from promptctl.data.readers.records import Listed
from promptctl.data.shelf import Shelf
from promptctl.encoding.formats import is_image_name
from promptctl.errors import DatasetError


def fits(found: Mapping[str, object]) -> bool:
    return bool(found) and (
        all(isinstance(value, str) for value in found.values()) or is_image_name(Path(next(iter(found))))
    )


def read(path: Path, label_of: Mapping[str, object]) -> list[Listed]:
    """The images of an object whose keys are paths; DatasetError where they are something else, such as folders."""
    shelf = Shelf(path)
    shelf.choose_folder([(file, str(label)) for file, label in label_of.items()])
    if not any(shelf.find(file, str(label)).is_file() for file, label in list(label_of.items())[:LOOKED_AT]):
        some = next(iter(label_of))
        raise DatasetError(
            f"{path} lists no image: '{some}' is not a file beside it",
            f"names for folders go with a folder: promptctl learn FOLDER --classes {path}",
        )
    labels = [one_label(path, i, label) for i, label in enumerate(label_of.values(), 1)]
    return [Listed(shelf.find(file, label), label) for file, label in zip(label_of, labels, strict=True)]
