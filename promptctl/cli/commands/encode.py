"""`promptctl encode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.options import Device, Format, Json, LabelColumn, Model, OnDevice, Output, PathColumn, SplitColumn
from promptctl.cli.output import finish
from promptctl.remote import path_of


def encode(
    photos: Annotated[
        list[Path], typer.Argument(help="Image files, folders to search, and URLs of both.", parser=path_of)
    ],
    out: Annotated[Path, typer.Argument(help="File to write: .npz or .parquet.")],
    labels: Annotated[
        bool,
        typer.Option(
            "--labels", help="Also write the class and split of each photo, read from a folder or list as learn does."
        ),
    ] = False,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    model: Model = "mini",
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Write image features to a file.

    Vectors of length one, with the path and sha256 of each photo and the name of the backbone, for other programs.

    Examples:
        promptctl encode ./photos features.npz --labels
    """
    with render.progress() as progress:
        report = commands.encode(
            photos,
            out,
            labels=labels,
            path_column=path_column,
            label_column=label_column,
            split_column=split_column,
            model=model,
            device=device.value,
            force=force,
            on_progress=progress,
        )
    finish(report, output, json)
