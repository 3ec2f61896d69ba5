"""Arguments and options, each declared once with its help, and how their text is read."""

from __future__ import annotations

import math
import os
import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from promptctl.cli.completion import known_names, known_refs, learner_names, recipe_names
from promptctl.learners import LEARNERS, all_recipes, what_they_do
from promptctl.remote import path_of


class Format(str, Enum):
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    agent = "agent"


class Position(str, Enum):
    end = "end"
    middle = "middle"
    front = "front"


class ExportAs(str, Enum):
    context = "context"
    coop = "coop"
    head = "head"
    onnx = "onnx"


class Sort(str, Enum):
    name = "name"
    changed = "changed"
    accuracy = "accuracy"
    classes = "classes"
    size = "size"


class Split(str, Enum):
    train = "train"
    val = "val"
    test = "test"
    all = "all"


class Device(str, Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


def finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


Folder = Annotated[
    Path,
    typer.Argument(
        help="Folder with one folder per class, with or without train/ val/ test/; or a CSV or review.jsonl.",
        parser=path_of,
    ),
]
ContextRef = Annotated[
    str, typer.Argument(help="NAME, NAME@VERSION, NAME@candidate or a context file.", autocompletion=known_refs)
]
StoredRef = Annotated[str, typer.Argument(help="NAME, NAME@VERSION or NAME@candidate.", autocompletion=known_refs)]
Name = Annotated[str, typer.Argument(help="NAME of a stored context.", autocompletion=known_names)]
Json = Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")]
Output = Annotated[Format, typer.Option("--format", help="How to print the result.")]
OnDevice = Annotated[Device, typer.Option("--device", envvar="PROMPTCTL_DEVICE", help="Device to compute on.")]
OwnModel = Annotated[
    str | None,
    typer.Option("--model", help="Where to find the context's backbone, if not under the name it was learned with."),
]
Model = Annotated[
    str,
    typer.Option(envvar="PROMPTCTL_MODEL", help="Backbone: mini, any open_clip model, or ARCH:WEIGHTS."),
]
Template = Annotated[
    str,
    typer.Option(help="Zero-shot template: a sentence with {}, a data set of the paper, imagenet-7 or imagenet-80."),
]
ClassNames = Annotated[
    Path | None, typer.Option(help="CSV of folder,name: the class name in the prompt, for each folder.", metavar="CSV")
]
PathColumn = Annotated[
    str | None, typer.Option(help="Of a list: the column of paths or ids.", metavar="COLUMN", show_default=False)
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Of a list: the column of classes.", metavar="COLUMN", show_default=False)
]
SplitColumn = Annotated[
    str | None, typer.Option(help="Of a list: the column of train, val, test.", metavar="COLUMN", show_default=False)
]
ContextTokens = Annotated[
    int | None, typer.Option(min=1, help="Number of context vectors, M in the paper.  [default: 16]")
]
Init = Annotated[str | None, typer.Option(help='Initial words of the context, such as "a photo of a".')]
ClassSpecific = Annotated[bool, typer.Option("--class-specific", help="Learn a separate context for each class.")]
NamePosition = Annotated[Position, typer.Option(help="Position of the class name among the context vectors.")]
LearnerName = Annotated[
    str, typer.Option(metavar="|".join(LEARNERS), autocompletion=learner_names, help=what_they_do())
]
HowToLearn = Annotated[
    str,
    typer.Option(
        metavar="|".join(all_recipes()),
        autocompletion=recipe_names,
        help="fast: all shots at once, in seconds; paper: the original CoOp with all its defaults, which takes hours.",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=0, help="Passes over the shots; 0 keeps the initial context, words or noise.  [default: set by the recipe]"
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        min=1e-9,
        callback=finite,
        help="Learning rate.  [default: 0.002; clap: 0.1; prolip: 0.0001; visual tokens: 0.0025]",
    ),
]
Views = Annotated[
    int | None,
    typer.Option(
        min=0, help="Random crops of each shot; 0: the centre crop.  [default: paper: one per epoch; fast: 0]"
    ),
]
Anchor = Annotated[
    float,
    typer.Option(
        min=0,
        callback=finite,
        metavar="LAMBDA",
        help="Weight of KgCoOp's loss, which keeps the text features close to the template's; KgCoOp uses 8.",
    ),
]
Average = Annotated[bool, typer.Option("--average", help="Keep the mean of the late epochs instead of the last step.")]
VisualTokens = Annotated[
    int, typer.Option(min=0, metavar="T", help="Learn T tokens inside the image tower, a ViT; 0: none, of vpt 4.")
]
VisualDepth = Annotated[int, typer.Option(min=1, metavar="D", help="In D blocks of it, each with T of its own.")]
ForceNewClass = Annotated[
    bool, typer.Option("--force-new-class", help="Accept names that are nearly that of another class.")
]
MaxForgetting = Annotated[
    float,
    typer.Option(min=0, max=100, help="Points of accuracy on held-out photos that a new version may lose."),
]
Force = Annotated[bool, typer.Option("--force", help="Store the new version although it forgets more; log says so.")]
Blend = Annotated[
    str,
    typer.Option(
        help="Share of the learned text features, 0 to 1; the rest is zero-shot. "
        "auto chooses it by cross-validation on the shots."
    ),
]
Unknown = Annotated[
    str,
    typer.Option(
        "--unknown",
        metavar="SHARE",
        help="Call photos unknown that are less like what was learned from, at most this share of your own.",
    ),
]
NoUnknown = Annotated[bool, typer.Option("--no-unknown", help="Call no photo unknown.")]
MinConfidence = Annotated[
    str | None,
    typer.Option(metavar="P", help="Call answers doubtful that are less probable, such as 0.8 or 80%."),
]
AcceptError = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE",
        help="Call answers doubtful below the line above which no more than this share was wrong, such as 2%.",
    ),
]
DetectionsFile = Annotated[
    Path | None,
    typer.Option("--detections", metavar="FILE", help="Boxes of MegaDetector or SpeciesNet to look into."),
]
DetectionThreshold = Annotated[
    float | None,
    typer.Option("--detection-threshold", min=0, max=1, help="Least confidence of a box; else FILE's own."),
]
FilesFrom = Annotated[
    str | None,
    typer.Option(
        "--files-from", metavar="FILE", help="Take more files and folders from a list, one a line; - is stdin."
    ),
]
Null = Annotated[
    bool,
    typer.Option(
        "-0", "--null", help="A NUL ends each path, not a line end: in --files-from, and in what --quiet prints."
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN", help="Leave out files and folders, as .gitignore does; can be given several times."
    ),
]
Burst = Annotated[
    str | None,
    typer.Option(
        metavar="60s",
        help="Answer photos of one folder as one that were taken no further apart, by their EXIF: 60s, 2m.",
    ),
]


Photos = Annotated[
    list[Path] | None,
    typer.Argument(help="Image files, folders to search, and URLs of both.", show_default=False, parser=path_of),
]
Words = Annotated[
    str | None,
    typer.Option(help="Instead of --prompt: class names, zero-shot and without learning.", metavar="WORD,WORD,…"),
]
WordsTemplate = Annotated[
    str | None,
    typer.Option(help="For --words: a sentence with {}, or a name as in learn.  [default: a photo of a {}.]"),
]
AnswerModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Where to find the context's backbone, if not under the name it was learned with; for --words: "
        "backbone.  [default for --words: PROMPTCTL_MODEL, else mini]",
    ),
]


def answer_model(model: str | None, words: str | None) -> str | None:
    """The backbone that answers: PROMPTCTL_MODEL is that of words alone, a context has its own."""
    return model or (os.environ.get("PROMPTCTL_MODEL") if words is not None else None)


def parse_seconds(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(s|m|min|h)?", text.strip(), re.ASCII)
    if not found:
        raise typer.BadParameter(f"'{text}' is no time such as 60s, 2m or 0.5s", param_hint=option)
    return float(found[1]) * {"m": 60, "min": 60, "h": 3600}.get(found[2] or "s", 1)


def parse_shots(text: str) -> int | None:
    if text.lower() == "all":
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise typer.BadParameter(f"'{text}' is neither a whole number of at least 1 nor all", param_hint="--shots")
    return int(text)


def parse_share(text: str) -> float | None:
    if text.lower() == "auto":
        return None
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise typer.BadParameter(f"'{text}' is neither a number from 0 to 1 nor auto", param_hint="--blend")
    return share


def parse_fraction(text: str, option: str) -> float:
    """`5%` or `0.05`."""
    number = text.strip()
    try:
        value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1 or (value == 1 and not number.endswith("%")):
        raise typer.BadParameter(
            f"'{text}' is neither a percentage such as 5% nor a fraction such as 0.05", param_hint=option
        )
    return value


def parse_unknown(text: str, none: bool) -> float | None:
    """What --unknown and --no-unknown say together."""
    return None if none else parse_fraction(text, "--unknown")


def parse_numbers(text: str, option: str, *, least: int = 1) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts or [text]:
        if not part.isascii() or not part.isdigit() or len(part) > 10 or not least <= int(part) < 2**32:
            raise typer.BadParameter(f"'{part}' is not a whole number of at least {least}", param_hint=option)
    return tuple(dict.fromkeys(int(part) for part in parts))
