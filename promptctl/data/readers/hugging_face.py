"""Hugging Face: the folders of its `datasets` library, as `save_to_disk` writes them and as they lie on the hub.

    dataset_dict.json, train/, test/        a DatasetDict, each part a folder like the next
    state.json, dataset_info.json, *.arrow  a Dataset
    dataset_info.json, birds-train.arrow …  what load_dataset keeps in its cache
    data/train-00000-of-00002.parquet …     a data set of the hub; also beside the folder's README, or in train/, test/

Folders of images with a metadata file are lists, which `ImageFolder` finds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from promptctl.data import remarks
from promptctl.data.splits import split_of
from promptctl.errors import DatasetError, reason_of

_LARGEST_TEXT = 16_000_000  # bytes of what is read as JSON
_SHARD = re.compile(r"[-_.]?\d{5}-of-\d{5}(?:-[0-9a-f]+)?$")
_PLACES = ("", "data", "default")

Part = tuple[Path, str | None]  # a table, and the split it is


def saved_tables(root: Path) -> list[Part]:
    """The Arrow files of a folder that `save_to_disk` or `load_dataset` wrote; none where it is no such folder.

    raises   DatasetError where files that it names are not there
    """
    if (root / "dataset_dict.json").is_file():
        splits = _json(root / "dataset_dict.json").get("splits")
        names = [str(name) for name in splits] if isinstance(splits, list) else []
        parts = [(path, name) for name in names for path in _shards(root / _one_name(root, name))]
        return _of_known_splits(root, parts)
    if not (root / "dataset_info.json").is_file():
        return []
    if (root / "state.json").is_file():
        return [(path, None) for path in _shards(root)]
    found = [path for path in sorted(root.glob("*.arrow")) if not path.name.startswith(("cache-", "tmp"))]
    return _of_known_splits(root, [(path, _bare(path).rpartition("-")[2]) for path in found])


def parquet_tables(root: Path, folders: Sequence[Path]) -> list[Part]:
    """The Parquet files of a data set as it lies on the hub, each with its split where names say it."""
    for place in _PLACES:
        if files := _parquet_in(root / place):
            return _of_known_splits(root, [(path, _bare(path)) for path in files])
        splits = [folder for folder in folders if split_of(folder.name)] if not place else _split_folders(root / place)
        if parts := [(path, folder.name) for folder in splits for path in _parquet_in(folder)]:
            return _of_known_splits(root, parts)
    return []


def _shards(folder: Path) -> Iterator[Path]:
    """The Arrow files of a Dataset, in their order."""
    files = _json(folder / "state.json").get("_data_files")
    names = [one.get("filename") for one in files if isinstance(one, dict)] if isinstance(files, list) else []
    for name in names:
        path = folder / _one_name(folder, name)
        if not path.is_file():
            raise DatasetError(f"{folder} lacks {name}, which its state.json names", f"ls {folder}")
        yield path


def _of_known_splits(root: Path, parts: Sequence[tuple[Path, str]]) -> list[Part]:
    """The tables of train, val and test, others being left out aloud; where no name is one of these, all of them."""
    found: list[Part] = [(path, split) for path, name in parts if (split := split_of(name))]
    if not found:
        return [(path, None) for path, _ in parts]
    left = sorted({name for _, name in parts if not split_of(name)})
    remarks.say([f"'{name}' of {root} is no train, val or test: left out" for name in left])
    return found


def _parquet_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.parquet")) if path.stem != "metadata" and path.is_file()]


def _split_folders(folder: Path) -> list[Path]:
    return [one for one in sorted(folder.glob("*")) if one.is_dir() and split_of(one.name)]


def _bare(path: Path) -> str:
    """A name without the number of the shard."""
    return _SHARD.sub("", path.stem)


def _one_name(folder: Path, name: object) -> str:
    if not isinstance(name, str) or not name or re.search(r"[\\/\0]", name) or name in (".", ".."):
        raise DatasetError(f"{folder} names a file that is not in it: {str(name)[:40]}", f"ls {folder}")
    return name


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            raise ValueError("too large")
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise DatasetError(f"{path} cannot be read: {reason}", f"ls -l {path}") from error
    return found if isinstance(found, dict) else {}
