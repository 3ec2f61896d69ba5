"""Gather: the photos among files and folder trees, before any of them is opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptctl.data.remarks import not_photos
from promptctl.errors import NoImages
from promptctl.report import SkippedFile


@dataclass(frozen=True)
class Gathered:
    """What lies under the inputs, before any of it is opened."""

    photos: list[str]  # as text: a hundred thousand paths are many
    beside: Counter[str]  # files that lie beside photos, by the end of their names
    closed: list[SkippedFile]  # folders that cannot be read


def gathered(inputs: Sequence[Path]) -> Gathered:
    """NoImages when there is nothing to look at, or something that is named does not exist."""
    from promptctl.data.walk import Closed, every_file, is_beside, suffix_of

    missing = next((path for path in inputs if not os.path.lexists(path)), None)
    if missing is not None:
        raise NoImages(f"there is no file or folder {missing}", f"ls {missing.parent}")
    meant = named(inputs)
    files = Gathered([], Counter(), [])
    for found in every_file(inputs):
        if isinstance(found, Closed):
            files.closed.append(SkippedFile(found.path, found.reason))
        elif is_beside(found) and found not in meant:
            files.beside[suffix_of(found)] += 1
        else:
            files.photos.append(found)
    if not files.photos and not files.closed:
        raise no_photo(inputs, files.beside)
    return files


def named(inputs: Sequence[Path]) -> frozenset[str]:
    """What a person names is meant to be a photo, whatever it is called."""
    return frozenset(map(os.fspath, inputs))


def no_photo(inputs: Sequence[Path], others: Counter[str]) -> NoImages:
    where = f"in {', '.join(map(str, inputs))}"
    if others:
        return NoImages(f"there is no photo {where}, only {not_photos(most_first(others))}", f"ls {inputs[0]}")
    return NoImages(f"there is no file {where}", "give photos, or folders that have some in them")


def most_first(counts: Counter[str]) -> Mapping[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
