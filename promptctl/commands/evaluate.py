"""Evaluate: how good a context is on labelled photos, beside zero-shot on the same photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, overload

from promptctl import checks
from promptctl.commands import baseline_names
from promptctl.commands.answers import UNKNOWN, why_none_unknown
from promptctl.commands.backbones import chosen_share, load_encoder_for
from promptctl.commands.evaluate_files import Files
from promptctl.commands.labelled import How, Labelled, class_index, labelled, seen, seen_plainly
from promptctl.commands.photos import columns_asked, encode_photos, passed_over, skipped_files
from promptctl.commands.places import check_places
from promptctl.commands.sources import Source, locate
from promptctl.errors import BadSetting, NoImages, WrongOption
from promptctl.progress import OnProgress
from promptctl.remote import path_of
from promptctl.report import EvaluateReport, MatrixReport, Rejection, UnknownFigures, UnknownScores
from promptctl.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.context.context import Context
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.encoding.files import Skipped
    from promptctl.encoding.pipeline import Features

SPLITS = ("train", "val", "test", "all")


Several = list[str] | list[Path] | tuple[str | PathLike[str], ...]


@overload
def evaluate(
    ref: str | PathLike[str],
    photos: str | PathLike[str],
    *,
    split: str | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    unknown: str | PathLike[str] | None = None,
    together: bool = False,
    baselines: Sequence[str] = (),
    classes: str | PathLike[str] | None = None,
    predictions: str | PathLike[str] | None = None,
    mistakes: str | PathLike[str] | None = None,
    confusion: str | PathLike[str] | None = None,
    report: str | PathLike[str] | None = None,
    force: bool = False,
    blend: float | None = 1.0,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> EvaluateReport: ...


@overload
def evaluate(
    ref: Several,
    photos: Several,
    *,
    split: str | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    together: bool = False,
    baselines: Sequence[str] = (),
    classes: str | PathLike[str] | None = None,
    blend: float | None = 1.0,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> MatrixReport: ...


def evaluate(
    ref: str | PathLike[str] | Several,
    photos: str | PathLike[str] | Several,
    *,
    split: str | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    unknown: str | PathLike[str] | None = None,
    together: bool = False,
    baselines: Sequence[str] = (),
    classes: str | PathLike[str] | None = None,
    predictions: str | PathLike[str] | None = None,
    mistakes: str | PathLike[str] | None = None,
    confusion: str | PathLike[str] | None = None,
    report: str | PathLike[str] | None = None,
    force: bool = False,
    blend: float | None = 1.0,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> EvaluateReport | MatrixReport:
    """Measure a context on labelled images, beside zero-shot on the same images; or several, on several folders.

    ref           NAME, NAME@VERSION or a context file; a list of them to compare several
    photos        folder of class folders, with or without train/ val/ test/, or a list of images; with a list of them
                  the report says how far each context falls from the first folder to the others
    split         train, val, test or all of such a folder; None: test, or else val, or else everything
    path_column   of a list whose columns have no usual names: what the column with the paths or ids of photos is called
    label_column  the same of the column with their classes
    split_column  the same of the column with the part of the data set that each is in
    unknown       folder of photos that show none of the classes, to measure how well they are told from the others
    together      the images are answered together, so that each answer depends on the others; `learned` is then how
                  good these answers are, and `alone` how good those one by one
    baselines     further classifiers to measure on the same images: zero-shot, ensemble-7, ensemble-80 (of templates),
                  linear-probe, nearest-mean, ridge, clap (of the context's stored shots), coop (the context without its
                  head), coop:NAME@VERSION (another one)
    classes       answer among just these classes, new ones by their names: a list of folder,name, or "folders", the
                  class folders of each folder of photos; None: the classes of the context
    predictions   file to write, .csv or .parquet: every image with its class, what was answered and how probable that
                  is, zero-shot's answer, the answers one by one and together, and the shot most like it
    mistakes      the same of the images that were given another class, the most certain first
    confusion     .csv file to write: how many images of each class (a row) were given which (a column)
    report        .html file to write: one page with all of it for people, the worst mistakes as pictures among it
    force         replace files that are there
    blend         share of the learned text features, 0 to 1, the rest zero-shot's; None: chosen by folds of the
                  context's shots
    model         where to find the context's own backbone, if not under the name it was learned with
    device        auto, cpu, cuda or mps
    store         where names are looked up; None: the store of PROMPTCTL_HOME
    on_progress   called with what is being done, how much is done, and of how much
    returns       a report: `learned.top1`, `zero_shot.top1`, `per_class` …, fractions all of them; of lists one whose
                  `matrix` has a row for each context and folder. Files and `unknown` are for one of each
    raises        BadSetting, WrongOption, ExtraMissing, ExportFailed, NotInStore and BadContextFile and their kinds,
                  DatasetError and its kind, BackboneError and its kind
    """
    how = How(
        split=None if split is None else checks.one_of("split", split, SPLITS),
        columns=columns_asked(path_column, label_column, split_column),
        together=checks.flag("together", together),
        baselines=baseline_names.checked(baselines),
        classes=None if classes is None else checks.path("classes", classes),
        blend=checks.share(blend),
        model=checks.model(model),
        device=checks.one_of("device", device, checks.DEVICES),
        store=store,
        on_progress=on_progress,
    )
    foreign = None if unknown is None else checks.path("unknown", unknown)
    files = Files.of(force=force, predictions=predictions, mistakes=mistakes, confusion=confusion, report=report)
    if isinstance(ref, (list, tuple)) or isinstance(photos, (list, tuple)):
        _refuse_of_one([*files.asked, *(["unknown"] if foreign else [])])
        return _of_several(_listed(ref), _listed(photos), how)
    folder = checks.path("photos", photos)
    files.check(store, folder, *filter(None, [how.classes]))
    check_places(ref, [folder], store, "promptctl evaluate {context} {photos}")
    return _of_one(locate(ref, store), folder, foreign, files, how)


def _listed(some: str | PathLike[str] | Several) -> list[str | PathLike[str]]:
    return list(some) if isinstance(some, (list, tuple)) else [some]


def _refuse_of_one(options: Sequence[str]) -> None:
    if options:
        raise WrongOption(
            f"--{options[0]} is of one context on one folder", f"promptctl evaluate CONTEXT FOLDER --{options[0]} …"
        )


def _of_several(refs: Sequence[str | PathLike[str]], photos: Sequence[str | PathLike[str]], how: How) -> MatrixReport:
    for setting, some in (("ref", refs), ("photos", photos)):
        if not some:
            raise BadSetting(setting, list(some), "one at least")
    folders = [checks.path("photos", one) for one in photos]
    for ref in refs:
        check_places(ref, folders, how.store, "promptctl evaluate {context} {photos}")
    from promptctl.commands.evaluate_matrix import evaluate_matrix

    return evaluate_matrix(refs, folders, how)


def _of_one(source: Source, photos: Path, foreign: Path | None, files: Files, how: How) -> EvaluateReport:
    context, name = source.load(), source.name
    told = None if foreign is None else _files_of(foreign, context, name)
    found = labelled(photos, how)
    context, index = _among(context, name, found, how)
    share = chosen_share(how.blend, context, name, how.model, how.device, how.on_progress)
    from promptctl.commands import baselines as beside
    from promptctl.commands import measured

    beside_it = beside.Beside(context, name, share, how.model, how.device, how.store, how.on_progress)
    fitted = beside.fitted(how.baselines, beside_it)
    encoder = load_encoder_for(context, name, how.model, how.device, with_plain=True)
    shown = seen(found.of(index), encoder, photos, how.on_progress)
    plain = seen_plainly(context, shown.features, name, how.model, how.device, how.on_progress)
    targets = shown.targets(index)
    measured.say_what_is_odd(shown.features, shown.label_of, targets, context, name)
    left_out = [*found.skipped, *found.strange(index, name, how.classes), *shown.skipped]
    figures = None
    if foreign is not None and told is not None:
        figures, more = _unknown_figures(context, share, shown.features, foreign, told, encoder, how.on_progress)
        left_out += more
    also_together = "predictions" in files.asked
    said = measured.answers(
        context, share, shown.features, together=how.together, also_together=also_together, plain=plain
    )
    whole = EvaluateReport(
        context=name,
        blend=share,
        blend_chosen=how.blend is None,
        where=found.where,
        images=len(targets),
        learned_from=measured.learned_from(context, shown.features),
        classes=len(context.card.classes),
        zero_shot_template=context.card.zero_shot_template,
        unknown=figures,
        skipped=skipped_files(left_out),
        passed_over=passed_over(left_out),
        together=how.together,
        baselines=beside.scored(fitted, shown.features, targets, said.learned, plain=plain),
        **measured.figures(context, share, shown, targets, said, how.together),
    )
    return replace(whole, written=files.write(whole, context.card.backbone.name))


def _among(context: Context, name: str, found: Labelled, how: How) -> tuple[Context, dict[str, int]]:
    """The context among the classes that are asked for, and which of them each label of the photos means."""
    if how.classes is None:
        return context, class_index(found.labels, context, name, how)
    from promptctl.commands.among import among, classes_asked

    (names,) = classes_asked(how.classes, [found])
    return among(context, name, names or {}, how.model, how.device)


def _files_of(foreign: Path, context: Context, name: str) -> Sequence[Path]:
    """The photos of a folder that shows nothing known, or why they are of no use."""
    from promptctl.commands.gather import gathered

    if why := why_none_unknown(context):
        raise WrongOption(f"{name} cannot tell unknown photos: {why}", "leave out --unknown")
    return [path_of(path) for path in gathered([foreign]).photos]


def _unknown_figures(
    context: Context,
    share: float,
    own: Features,
    foreign: Path,
    paths: Sequence[Path],
    encoder: ImageEncoder,
    on_progress: OnProgress | None,
) -> tuple[UnknownFigures, Sequence[Skipped]]:
    import numpy as np

    from promptctl.classification.classifier import Classifier
    from promptctl.classification.gate import Gate
    from promptctl.classification.metrics import auroc, kept_at

    gate, classifier = Gate.of(context, unknown=UNKNOWN), Classifier.of(context, share=share)
    others, skipped = encode_photos(paths, encoder, on_progress)
    if not len(others):
        raise NoImages(f"none of the {len(paths)} images in {foreign} could be read", f"ls {foreign}")
    mine, theirs = (gate.passed(some.vectors, classifier.predict(some.vectors)) for some in (own, others))
    if gate.promise is None or mine.likeness is None or theirs.likeness is None:
        raise WrongOption("it has too few photos to tell unknown ones", "leave out --unknown")
    scored, left = mine.likeness, theirs.likeness

    def of(folder: str, which: NDArray[np.bool_]) -> UnknownScores:
        scores = auroc(scored, left[which]), kept_at(1 - UNKNOWN, scored, left[which])
        return UnknownScores(folder, int(which.sum()), *scores, float((~theirs.unknown[which]).mean()))

    folders = np.array([str(path.parent.relative_to(foreign)) for path in others.paths])
    each = [of(str(folder), folders == folder) for folder in np.unique(folders)]
    figures = UnknownFigures(
        own_rejected=float(mine.unknown.mean()),
        rejection=Rejection(**vars(gate.promise)),
        whole=of(str(foreign), np.ones(len(folders), bool)),
        folders=tuple(each) if len(each) > 1 else (),
    )
    return figures, skipped
