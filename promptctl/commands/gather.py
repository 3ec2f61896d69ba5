"""Gather: the photos among files and folder trees, before any of them is opened."""

from __future__ import annotations

import codecs
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptctl.data.remarks import not_photos
from promptctl.errors import NoImages, WrongOption
from promptctl.remote import how_to_look, is_remote, path_of
from promptctl.report import SkippedFile


@dataclass(frozen=True)
class Gathered:
    """What lies under the inputs, before any of it is opened."""

    photos: list[str]  # as text: a hundred thousand paths are many
    beside: Counter[str]  # files that lie beside photos, by the end of their names
    closed: list[SkippedFile]  # folders that cannot be read


def gathered(
    inputs: Sequence[Path], listed: Sequence[str] = (), exclude: Sequence[str] = (), apart: Iterable[Path] = ()
) -> Gathered:
    """NoImages when there is nothing to look at, or something that is named does not exist.

    listed    more files and folders, from a list: of these one that does not exist is passed over like a broken photo
    exclude   patterns as in a .gitignore; a folder that one covers is not entered
    apart     folders that are not entered from another, wherever a link leads
    """
    from promptctl.data.exclusion import Exclusion
    from promptctl.data.walk import Closed, every_file, is_beside, suffix_of

    check_there(inputs)
    meant = named(inputs)
    files = Gathered([], Counter(), [])
    for found in every_file([*inputs, *listed], excluded=apart, exclusion=Exclusion.of(exclude)):
        if isinstance(found, Closed):
            files.closed.append(SkippedFile(found.path, found.reason))
        elif is_beside(found) and found not in meant:
            files.beside[suffix_of(found)] += 1
        else:
            files.photos.append(found)
    if not files.photos and not files.closed:
        raise no_photo(inputs, files.beside, excluding=bool(exclude))
    return files


def check_there(inputs: Iterable[Path]) -> None:
    """NoImages for something that is named and does not exist."""
    missing = next((path for path in inputs if not _is_there(path)), None)
    if missing is not None:
        hint = how_to_look(missing.parent) if is_remote(missing) else f"ls {missing.parent}"
        raise NoImages(f"there is no file or folder {missing}", hint)


def _is_there(path: Path) -> bool:
    try:
        return path.exists() if is_remote(path) else os.path.lexists(path)
    except OSError:  # whoever opens it says why
        return True


def listed_in(file: Path, *, null: bool) -> list[str]:
    """The paths and URLs in a list, relative to where the command runs, whatever bytes they are made of.

    file   - is what comes in on stdin
    null   each ends in a NUL, as `find -print0` and `git ls-files -z` write them; else in a line end
    """
    data = sys.stdin.buffer.read() if _is_stdin(file) else file.read_bytes()
    if null:
        parts = data.split(b"\0")
    elif b"\0" in data:
        called = "on stdin" if _is_stdin(file) else file
        raise WrongOption(f"the list {called} has a NUL between paths and no line end", "add --null")
    else:
        parts = [line.removesuffix(b"\r") for line in data.removeprefix(codecs.BOM_UTF8).split(b"\n")]
    return [str(path_of(os.fsdecode(part))) for part in parts if part]


def _is_stdin(file: Path) -> bool:
    return str(file) == "-"


def named(inputs: Sequence[Path]) -> frozenset[str]:
    """What a person names is meant to be a photo, whatever it is called."""
    return frozenset(map(os.fspath, inputs))


def no_photo(inputs: Sequence[Path], others: Counter[str], *, excluding: bool = False) -> NoImages:
    where = f"in {', '.join(map(str, inputs)) or 'the list'}" + ", apart from what --exclude leaves out" * excluding
    if others:
        hint = f"ls {inputs[0]}" if inputs else "list photos, or folders that have some in them"
        return NoImages(f"there is no photo {where}, only {not_photos(most_first(others))}", hint)
    return NoImages(f"there is no file {where}", "give photos, or folders that have some in them")


def most_first(counts: Counter[str]) -> Mapping[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
