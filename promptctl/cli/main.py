"""The command line: parse, one call into api, render. `main` is the error boundary."""

from __future__ import annotations

import codecs
import logging
import math
import os
import sys
import warnings
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from promptctl import __version__, commands, render, signals
from promptctl.clip import templates
from promptctl.errors import Interrupted, NeedsAnswer, OutputFailed, PromptctlError, ReaderLeft, WrongOption, reason_of
from promptctl.learners import COMPARED
from promptctl.learners.settings import Wish
from promptctl.paths import give_libraries_a_home
from promptctl.report import Report
from promptctl.store.store import TRASH_DAYS, Store

app = typer.Typer(
    name="promptctl",
    help="Learn CLIP prompts from a handful of photos, keep them, use them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
models_app = typer.Typer(help="Backbones: what is here, what is worth fetching.", no_args_is_help=True)
app.add_typer(models_app, name="models")
cache_app = typer.Typer(help="Image features and results, kept so that no work is done twice.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")


class Format(str, Enum):
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


class Position(str, Enum):
    end = "end"
    middle = "middle"
    front = "front"


class ExportAs(str, Enum):
    context = "context"
    coop = "coop"


class Sort(str, Enum):
    name = "name"
    changed = "changed"
    accuracy = "accuracy"
    classes = "classes"
    size = "size"


class Learner(str, Enum):
    coop = "coop"
    clap = "clap"


class Recipe(str, Enum):
    fast = "fast"
    paper = "paper"


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


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number to learn with")
    return value


def _known_names(incomplete: str) -> list[str]:
    return [name for name in Store().names() if name.casefold().startswith(incomplete.casefold())]


def _known_refs(incomplete: str) -> list[str]:
    """Names; after an @ the versions of one."""
    name, at, _ = incomplete.partition("@")
    if not at:
        return _known_names(incomplete)
    refs = [str(entry.ref) for known in _known_names(name) for entry in Store().versions(known)]
    return [ref for ref in refs if ref.casefold().startswith(incomplete.casefold())]


def _in_trash(incomplete: str) -> list[str]:
    found = [*_known_refs(incomplete), *(removed.name for removed in Store().trash())]
    return [name for name in dict.fromkeys(found) if name.casefold().startswith(incomplete.casefold())]


Folder = Annotated[Path, typer.Argument(help="Folder of class folders, with or without train/ val/ test/; or a CSV.")]
ContextRef = Annotated[str, typer.Argument(help="NAME, NAME@VERSION or a context file.", autocompletion=_known_refs)]
StoredRef = Annotated[str, typer.Argument(help="NAME or NAME@VERSION.", autocompletion=_known_refs)]
Name = Annotated[str, typer.Argument(help="NAME of a stored context.", autocompletion=_known_names)]
Json = Annotated[bool, typer.Option("--json", help="The whole report as JSON.")]
Output = Annotated[Format, typer.Option("--format", help="How to print the result.")]
OnDevice = Annotated[Device, typer.Option("--device", envvar="PROMPTCTL_DEVICE", help="Where to compute.")]
OwnModel = Annotated[
    str | None,
    typer.Option(
        "--model", help="Where to find the context's own backbone, if not under the name it was learned with."
    ),
]
Model = Annotated[str, typer.Option(envvar="PROMPTCTL_MODEL", help="Backbone: mini or any open_clip name.")]
Template = Annotated[
    str,
    typer.Option(help="What zero-shot says: a sentence with {}, a data set of the paper, imagenet-7 or imagenet-80."),
]
ClassNames = Annotated[
    Path | None, typer.Option(help="CSV of folder,name: what the prompt calls each folder.", metavar="CSV")
]
ContextTokens = Annotated[
    int | None, typer.Option(min=1, help="How many context vectors, M in the paper.  [default: 16]")
]
Init = Annotated[str | None, typer.Option(help='Words to start from, such as "a photo of a".')]
ClassSpecific = Annotated[bool, typer.Option("--class-specific", help="A context of its own for every class.")]
NamePosition = Annotated[Position, typer.Option(help="Where the class name stands among the vectors.")]
HowToLearn = Annotated[
    Recipe,
    typer.Option(
        help="fast: Adam on all shots at once; paper: the original CoOp to the last default, which takes hours."
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=0, help="Passes over the shots; 0 keeps what it starts from, words or noise.  [default: the recipe's]"
    ),
]
Rate = Annotated[
    float | None, typer.Option(min=1e-9, callback=_finite, help="Learning rate.  [default: 0.002; clap: 0.1]")
]
Views = Annotated[
    int | None,
    typer.Option(
        min=0, help="Random crops of every shot, one per epoch; 0: the centre.  [default: paper: as epochs; fast: 0]"
    ),
]
Anchor = Annotated[
    float,
    typer.Option(
        min=0,
        callback=_finite,
        metavar="LAMBDA",
        help="Weight of KgCoOp's loss, which holds the text features to the template's; KgCoOp uses 8.",
    ),
]
Average = Annotated[bool, typer.Option("--average", help="Keep the mean of the late epochs, not the last step.")]
Blend = Annotated[
    str,
    typer.Option(
        help="Share of what was learned, 0 to 1, the rest is of zero-shot; auto chooses it by folds of the shots."
    ),
]


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=lambda on: _version(on))
    ] = False,
) -> None:
    pass


@app.command()
def learn(
    photos: Folder,
    name: Annotated[str, typer.Option("--name", "-n", help="What to call the context.")],
    shots: Annotated[str, typer.Option(help="Images per class to learn from, or all.", metavar="N|all")] = "all",
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Decides which images are drawn, the start and the batches.")
    ] = 1,
    model: Model = "mini",
    context_tokens: ContextTokens = None,
    init: Init = None,
    class_specific: ClassSpecific = False,
    position: NamePosition = Position.end,
    learner: Annotated[
        Learner, typer.Option(help="coop learns a context; clap one weight vector per class instead.")
    ] = Learner.coop,
    recipe: HowToLearn = Recipe.fast,
    epochs: Epochs = None,
    lr: Rate = None,
    views: Views = None,
    anchor: Anchor = 0.0,
    average: Average = False,
    template: Template = templates.DEFAULT,
    device: OnDevice = Device.auto,
    classes: ClassNames = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Next version of an existing name, from scratch.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Learn a context from a folder of labelled photos."""
    with render.progress() as progress:
        report = commands.learn(
            photos,
            name,
            shots=_shots(shots),
            seed=seed,
            model=model,
            context_tokens=context_tokens,
            init=init,
            class_specific=class_specific,
            position=position.value,
            learner=learner.value,
            recipe=recipe.value,
            epochs=epochs,
            lr=lr,
            views=views,
            anchor=anchor,
            average=average,
            template=template,
            device=device.value,
            classes=classes,
            fresh=fresh,
            on_progress=progress,
        )
    _finish(report, output, json)


@app.command()
def evaluate(
    context: ContextRef,
    photos: Folder,
    split: Annotated[
        Split | None, typer.Option(help="Part of the folder.  [default: test, else val, else all]")
    ] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Exit with 4 when top-1 is below this many percent."),
    ] = None,
    blend: Blend = "1",
    model: OwnModel = None,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Measure a context beside zero-shot on labelled photos.

    In the table, more than ten classes come worst first.
    """
    with render.progress() as progress:
        report = commands.evaluate(
            context,
            photos,
            split=split.value if split else None,
            blend=_share(blend),
            model=model,
            device=device.value,
            on_progress=progress,
        )
    top1 = 100 * report.learned.top1
    missed = fail_under is not None and top1 < fail_under
    complaint = f"top-1 is {top1:.1f} %, --fail-under asks for {fail_under:g}" if missed else None
    _finish(report, output, json, complaint=complaint, exit_code=4 if missed else None)


@app.command()
def inspect(
    context: ContextRef,
    top: Annotated[int, typer.Option(min=1, help="Words to show per vector.")] = 5,
    model: OwnModel = None,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """What a context is, and the words nearest to its vectors."""
    with render.progress():
        report = commands.inspect(context, top=top, model=model, device="cpu")
    _finish(report, output, json)


@app.command()
def classify(
    inputs: Annotated[list[Path], typer.Argument(help="Image files and folders, searched through.")],
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="NAME, NAME@VERSION or a context file.", autocompletion=_known_refs)
    ],
    top: Annotated[int, typer.Option("--top", "--top-k", min=1, help="Classes to show per image.")] = 3,
    blend: Blend = "1",
    model: OwnModel = None,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Say what is in every image of files and folder trees."""
    with render.progress() as progress:
        report = commands.classify(
            inputs, prompt, top=top, blend=_share(blend), model=model, device=device.value, on_progress=progress
        )
    _finish(report, output, json)


@app.command("import")
def import_context(
    file: Annotated[
        Path, typer.Argument(help="A context file; or what the original CoOp code saved: model.pth.tar-EPOCH.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="What to call the context.  [default: as the file]")
    ] = None,
    position: Annotated[
        Position | None,
        typer.Option(help="Of the original code's: where the class name stood.  [default: end]"),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Of the original code's: class names one a line, in the order they were learned in.  "
            "[default: read back from the file]",
            metavar="TXT",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Of the original code's: the backbone it was learned on.  [default: PROMPTCTL_MODEL, else mini]"
        ),
    ] = None,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Store a context from a file, also of the original CoOp code."""
    report = commands.import_context(
        file,
        name,
        position=position.value if position else None,
        classes=classes,
        model=model,
        usual_model=os.environ.get("PROMPTCTL_MODEL") or "mini",
        device=device.value,
    )
    _finish(report, output, json)


@app.command("export")
def export_context(
    context: ContextRef,
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    kind: Annotated[
        ExportAs,
        typer.Option("--as", help="What to write: a context file, or coop, a checkpoint of the original CoOp code."),
    ] = ExportAs.context,
    without_shots: Annotated[
        bool, typer.Option("--without-shots", help="Leave out the features of the images it was learned from.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    model: OwnModel = None,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Write a context to a file of its own."""
    if kind is ExportAs.context and model:
        raise WrongOption("a context file is written without its backbone", "leave out --model")
    if kind is ExportAs.coop:
        _finish(commands.export_checkpoint(context, out, force=force, model=model), output, json)
    else:
        _finish(commands.export_context(context, out, shots=not without_shots, force=force), output, json)


@app.command()
def compare(
    photos: Folder,
    shots: Annotated[str, typer.Option(help="Images per class, several numbers.", metavar="N,N,…")] = "1,2,4,8,16",
    seeds: Annotated[str, typer.Option(help="One draw of shots each.", metavar="N,N,…")] = "1,2,3",
    learners: Annotated[
        str,
        typer.Option(
            help=f"Of {', '.join(COMPARED)}.",
            metavar="NAME,…",
        ),
    ] = "zero-shot,linear-probe,coop,coop-csc,clap",
    base_to_new: Annotated[
        bool, typer.Option("--base-to-new", help="Also: learn half of the classes, test on them and on the others.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the figure: .png, .svg or .pdf.", metavar="FILE")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the figure if it is there.")] = False,
    context_tokens: ContextTokens = None,
    init: Init = None,
    class_specific: ClassSpecific = False,
    position: NamePosition = Position.end,
    recipe: HowToLearn = Recipe.fast,
    epochs: Epochs = None,
    lr: Rate = None,
    views: Views = None,
    anchor: Anchor = 0.0,
    average: Average = False,
    template: Template = templates.DEFAULT,
    model: Model = "mini",
    device: OnDevice = Device.auto,
    classes: ClassNames = None,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """How many photos do I need, and which learner?

    The paper's few-shot protocol on your own photos.

    The settings of learn hold for every learner here that heeds them: coop and its kin heed all, clap --epochs, --lr
    and --views. ensemble-7 is the mean of CLIP's seven sentences and, as in the paper, of the one of --template too
    where that is another than ImageNet's; ensemble-80 is the mean of all of CLIP's. linear-probe-raw is the paper's
    probe, on image features as they leave the tower; linear-probe sees them at unit length.

    Every run is kept until promptctl cache clear: an interrupted comparison, typed again, goes on where it was. CSV has
    a row for every seed, with its accuracy and seconds; mean and std are over all seeds.
    """
    wish = Wish(
        context_tokens=context_tokens,
        init=init,
        class_specific=class_specific,
        position=position.value,
        recipe=recipe.value,
        epochs=epochs,
        lr=lr,
        views=views,
        anchor=anchor,
        average=average,
    )
    with render.progress() as progress:
        report = commands.compare(
            photos,
            shots=_numbers(shots, "--shots"),
            seeds=_numbers(seeds, "--seeds", least=0),
            learners=[name.strip() for name in learners.split(",") if name.strip()],
            base_to_new=base_to_new,
            wish=wish,
            template=template,
            model=model,
            device=device.value,
            classes=classes,
            plot=plot,
            force=force,
            on_progress=progress,
        )
    _finish(report, output, json)


@app.command("list")
def list_contexts(
    prefix: Annotated[str, typer.Argument(help="Only names that start with this.")] = "",
    sort: Annotated[Sort, typer.Option(help="In which order; but for name the largest or newest first.")] = Sort.name,
    trash: Annotated[bool, typer.Option("--trash", help="What was removed and can be restored.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Names only, one a line.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """The contexts in the store."""
    report = commands.list_trash(prefix) if trash else commands.list_contexts(prefix, sort=sort.value)
    _finish(report, output, json, quiet=quiet)


@app.command()
def show(context: ContextRef, output: Output = Format.table, json: Json = False) -> None:
    """What a context is."""
    _finish(commands.show(context), output, json)


@app.command()
def log(name: Name, output: Output = Format.table, json: Json = False) -> None:
    """The versions of a context: when, what changed, how good."""
    _finish(commands.log(name), output, json)


@app.command()
def diff(
    before: ContextRef,
    after: ContextRef,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """How one context differs from another.

    Classes, settings, accuracy on the shots they carry, vectors.
    """
    _finish(commands.diff(before, after), output, json)


@app.command()
def copy(
    context: StoredRef,
    name: Annotated[str, typer.Argument(help="The other name.")],
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Keep a context under another name as well.

    All its versions, or the one named.
    """
    _finish(commands.copy(context, name), output, json)


@app.command()
def rename(
    name: Name,
    new_name: Annotated[str, typer.Argument(help="Its new name.")],
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Call a context with all its versions something else."""
    _finish(commands.rename(name, new_name), output, json)


@app.command()
def remove(
    context: StoredRef,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Move a context, or one old version of it, to the trash."""
    if not yes:
        what = commands.to_remove(context)
        _ask(f"Move {what} to the trash?", f"removing '{context}'", f"promptctl remove {context} --yes")
    _finish(commands.remove(context), output, json)


@app.command()
def restore(
    context: Annotated[str, typer.Argument(help="NAME, out of the trash; or NAME@VERSION.", autocompletion=_in_trash)],
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Bring a removed context back, or make an old version the newest."""
    _finish(commands.restore(context), output, json)


@app.command()
def check(
    contexts: Annotated[
        list[str] | None,
        typer.Argument(help="Names with all their versions, versions, or files.", autocompletion=_known_refs),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every version, and the trash.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Read contexts to the last bit, and look for their backbones.

    Says which files are damaged, and whether their backbones are here and the same.
    """
    with render.progress("reading contexts"):
        report = commands.check(contexts or (), everything=everything)
    _finish(report, output, json)


@app.command()
def gc(
    days: Annotated[
        float, typer.Option(min=0, max=36500, help="Delete what has been in the trash for so many days.")
    ] = TRASH_DAYS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Delete what crashes left, and what is old in the trash."""
    if not (dry_run or yes) and (going := commands.trash_to_empty(days)):
        count = f"{len(going)} removed context{'' if len(going) == 1 else 's'}"
        _ask(f"Delete {count} for good?", "emptying the trash", f"promptctl gc --days {days:g} --yes")
    _finish(commands.gc(days=days, dry_run=dry_run), output, json)


@app.command("path")
def show_path(
    context: Annotated[
        str | None, typer.Argument(help="NAME or NAME@VERSION.  [default: the store]", autocompletion=_known_refs)
    ] = None,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Where the store is, or a context's file."""
    _finish(commands.path(context), output, json)


@app.command()
def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Where to put the pictures and the demo's own store.  [default: a new temporary folder]"),
    ] = None,
) -> None:
    """Draw a small picture set and run the four verbs on it."""
    from promptctl.demo import run

    def command(arguments: Sequence[str]) -> None:
        signals.listen()  # what the command before has done keeps nobody from ending this one
        app(list(arguments), standalone_mode=False)

    run(folder, command)


@models_app.command("list")
def models_list(
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Names only, one a line.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """The embedded backbone, those on this machine, others worth knowing."""
    _finish(commands.list_models(), output, json, quiet=quiet)


@models_app.command("pull")
def models_pull(
    model: Annotated[str, typer.Argument(help="An open_clip name, such as ViT-B-16/openai.")],
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Download a backbone."""
    _finish(commands.pull_model(model), output, json)


@cache_app.command("info")
def cache_info(output: Output = Format.table, json: Json = False) -> None:
    """How much is kept, and of which backbones.

    PROMPTCTL_CACHE_LIMIT, in MB, bounds it.
    """
    _finish(commands.cache_info(), output, json)


@cache_app.command("clear")
def cache_clear(output: Output = Format.table, json: Json = False) -> None:
    """Forget all image features and what compare has measured.

    Both are computed again when they are needed.
    """
    _finish(commands.clear_cache(), output, json)


def main() -> NoReturn:
    """Run the command line; every error of the tree becomes one sentence, one hint and an exit code."""
    _prepare_process()
    try:
        code = _run()
        signals.finish()
    except Interrupted as stop:
        code = _say(_interrupted(), None, stop.exit_code)
    sys.exit(code)


def _run() -> int | str | None:
    try:
        app()
    except SystemExit as end:
        return end.code
    except PromptctlError as error:
        if isinstance(error, OutputFailed):
            _give_up_stdout()
        return _say(str(error), error.hint, error.exit_code)
    except ReaderLeft:
        _give_up_stdout()
        return 141
    except OSError as error:
        if error.filename is None:
            raise
        return _say(f"{error.filename}: {reason_of(error)}", None, 1)
    return 0


def _interrupted() -> str:
    """What an interruption leaves behind: changes happen whole or not at all; what was encoded or measured is kept."""
    # where a module was not loaded, nothing was encoded or measured
    cache, results = (sys.modules.get(f"promptctl.{name}") for name in ("encoding.cache", "benchmark.results"))
    counts = {
        "image feature": cache.FeatureCache.added if cache else 0,
        "result": results.Results.added if results else 0,
    }
    kept = [f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items() if count]
    if not kept:
        return "interrupted, nothing half-done was kept"
    verb = "is" if sum(counts.values()) == 1 else "are"
    return f"interrupted; {' and '.join(kept)} {verb} kept, the same command goes on from there"


def _finish(
    report: Report,
    output: Format,
    json: bool,
    *,
    quiet: bool = False,
    complaint: str | None = None,
    exit_code: int | None = None,
) -> None:
    render.render(report, "json" if json else "names" if quiet else output.value)
    if complaint := complaint or report.complaint():
        render.talk(f"error: {complaint}")
    code = report.exit_code if exit_code is None else exit_code
    if code:
        raise typer.Exit(code)


def _ask(question: str, doing: str, command: str) -> None:
    if not sys.stdin.isatty():
        raise NeedsAnswer(doing, command)
    typer.confirm(question, abort=True, err=True)


def _say(sentence: str, hint: str | None, exit_code: int) -> int:
    render.talk(f"error: {sentence}")
    if hint:
        render.talk(f"hint:  {hint}")
    return exit_code


def _shots(text: str) -> int | None:
    if text.lower() == "all":
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise typer.BadParameter(f"'{text}' is neither a number from 1 nor all", param_hint="--shots")
    return int(text)


def _share(text: str) -> float | None:
    if text.lower() == "auto":
        return None
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise typer.BadParameter(f"'{text}' is neither a number from 0 to 1 nor auto", param_hint="--blend")
    return share


def _numbers(text: str, option: str, *, least: int = 1) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts or [text]:
        if not part.isascii() or not part.isdigit() or len(part) > 10 or not least <= int(part) < 2**32:
            raise typer.BadParameter(f"'{part}' is not a number from {least}", param_hint=option)
    return tuple(dict.fromkeys(int(part) for part in parts))


def _version(on: bool) -> None:
    if on:
        typer.echo(f"promptctl {__version__}")
        raise typer.Exit


def _prepare_process() -> None:
    # threads that spin while they wait make small steps eighty times slower on a machine with other work
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    give_libraries_a_home()
    if not sys.warnoptions:  # nobody asked for Python's warnings, by -W or PYTHONWARNINGS
        warnings.simplefilter("ignore")
        logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # what is redirected is UTF-8 on every system, with line ends as they are, unless somebody asks for another
            if not (stream.isatty() or os.environ.get("PYTHONIOENCODING")):
                stream.reconfigure(encoding="utf-8", newline="\n")
            # file names may hold any bytes, and a code page may lack any character
            stream.reconfigure(errors="surrogateescape" if _is_utf8(stream.encoding) else "backslashreplace")
    _let_logs_speak()
    signals.listen()


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "utf-8"


def _give_up_stdout() -> None:
    """Keep Python from complaining at exit about what it could not write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Talk(logging.Handler):
    """What is said below the command line while it works, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        render.talk(f"{record.levelname.lower()}: {record.getMessage()}")


def _let_logs_speak() -> None:
    own = logging.getLogger("promptctl")
    if not own.handlers:
        own.addHandler(_Talk())
        logging.getLogger().addHandler(logging.NullHandler())  # other libraries' say nothing to a person
