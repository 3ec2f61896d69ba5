"""Encode: image features written to a file, for other programs."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.backbones import library_needed
from promptctl.commands.gather import gathered, most_first
from promptctl.commands.photos import columns_asked, encode_photos, passed_over, skipped_files, without_named
from promptctl.commands.writing import check_free, place_file, refuse_inside_store
from promptctl.errors import ExtraMissing, WrongOption
from promptctl.progress import OnProgress
from promptctl.remote import path_of
from promptctl.report import EncodeReport
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.data.images import LabelledImage
    from promptctl.data.readers.headings import ColumnNames
    from promptctl.encoding.files import Skipped

SUFFIXES = (".npz", ".parquet")


def encode(
    photos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    labels: bool = False,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    model: str = "mini",
    device: str = "auto",
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> EncodeReport:
    """Write the features of every image among files and folder trees to a file: whole or not at all.

    photos        files and folders, searched through; with `labels` one folder or list, read as `learn` reads it
    out           .npz: arrays features (N, E) of unit rows, float32, paths and sha256 (N,), backbone and fingerprint;
                  .parquet: the same as columns path, sha256 and features
    labels        also labels and splits (N,), "" where there is no split
    path_column   of a list whose columns have no usual names: what the column with the paths or ids of photos is called
    label_column  the same of the column with their classes
    split_column  the same of the column with the part of the data set that each is in
    model         backbone: mini or any open_clip name
    device        auto, cpu, cuda or mps
    force         replace the file if it is there
    on_progress   called with what is being done, how much is done, and of how much
    raises        BadSetting, WrongOption for another suffix, ExtraMissing where pyarrow is not installed, NoImages,
                  DatasetError, BackboneError and its kind
    """
    inputs, out = checks.paths("photos", photos), checks.path("out", out)
    model, device = checks.text("model", model, "mini"), checks.one_of("device", device, checks.DEVICES)
    _check_out(out, force)
    columns = columns_asked(path_column, label_column, split_column)
    images, left_out, beside = _labelled(inputs, columns) if labels else _unlabelled(inputs)
    with library_needed(model):
        from promptctl.clip.registry import ensure_available

        ensure_available(model)
        from promptctl.clip.backbone import Backbone
    from promptctl.encoding.feature_file import WRITERS

    backbone = Backbone(model, device)
    features, skipped = encode_photos([image.path for image in images], backbone.encoder, on_progress)
    left_out = [*left_out, *without_named(skipped, [*inputs, *(image.path for image in images if image.listed)])]
    told = _columns(images, features.paths) if labels else {}
    data = WRITERS[out.suffix.lower()](features, told, backbone.id) if len(features) else b""
    if data:
        place_file(out, data, force)
    return EncodeReport(
        path=out if data else None,
        images=len(features),
        width=features.vectors.shape[1],
        classes=len(set(told["labels"])) if labels else None,
        backbone=backbone.id.name,
        fingerprint=backbone.id.fingerprint,
        n_bytes=len(data),
        skipped=skipped_files(left_out),
        passed_over=most_first(beside + Counter(passed_over(left_out))),
    )


def _check_out(out: Path, force: bool) -> None:
    if out.suffix.lower() not in SUFFIXES:
        meant = shlex.quote(str(out.with_suffix(".npz")))
        raise WrongOption(
            f"a file of features ends in .npz or .parquet, {out} does not", f"promptctl encode PHOTOS {meant}"
        )
    if out.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise ExtraMissing("a .parquet file", "pyarrow", "parquet")
    check_free(out, force)
    refuse_inside_store(out, Store())


def _unlabelled(inputs: Sequence[Path]) -> tuple[list[LabelledImage], list[Skipped], Counter[str]]:
    from promptctl.data.images import LabelledImage
    from promptctl.encoding.files import Skipped

    files = gathered(inputs)
    closed = [Skipped(folder.path, folder.reason) for folder in files.closed]
    return [LabelledImage(path_of(path), "") for path in files.photos], closed, files.beside


def _labelled(inputs: Sequence[Path], columns: ColumnNames) -> tuple[list[LabelledImage], list[Skipped], Counter[str]]:
    if len(inputs) != 1:
        raise WrongOption("--labels takes one folder or list of labelled photos", "leave out --labels, or give one")
    from promptctl.data.folder import ImageFolder

    folder = ImageFolder.scan(inputs[0], columns)
    return list(folder.images), list(folder.skipped), Counter()


def _columns(images: Sequence[LabelledImage], paths: Sequence[Path]) -> dict[str, list[str]]:
    image_of = {image.path: image for image in images}
    found = [image_of[path] for path in paths]
    return {"labels": [image.label for image in found], "splits": [image.split or "" for image in found]}
