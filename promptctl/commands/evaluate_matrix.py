"""Several contexts on several folders of photos: one pass of a backbone for each folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from promptctl.classification.classifier import Predictions
from promptctl.classification.metrics import bootstrap
from promptctl.commands import baselines, measured
from promptctl.commands.among import Names, among, classes_asked
from promptctl.commands.backbones import chosen_share, load_encoder_for
from promptctl.commands.labelled import How, Labelled, Seen, class_index, labelled, seen
from promptctl.commands.photos import passed_over, skipped_files
from promptctl.commands.places import is_context
from promptctl.commands.sources import Source, locate
from promptctl.context.context import Context
from promptctl.errors import NoImages, UnknownClasses
from promptctl.report import Interval, MatrixReport, MatrixRow

if TYPE_CHECKING:
    from promptctl.encoding.files import Skipped

Ref = str | PathLike[str]


@dataclass(frozen=True, eq=False)
class _Cell:
    """A context on a folder, before any photo of it is opened."""

    source: Source
    context: Context  # among the classes that are asked for
    index: Mapping[str, int]  # of the labels that mean a class of it
    share: float
    fitted: Mapping[str, baselines.Fitted]

    @property
    def tower(self) -> str:
        return self.context.encoder_fingerprint

    @property
    def plain(self) -> Context:
        """Without its visual tokens, as zero-shot is asked."""
        return self.context.seen_plainly()

    @property
    def plain_tower(self) -> str:
        return self.plain.encoder_fingerprint


def evaluate_matrix(refs: Sequence[Ref], photos: Sequence[Path], how: How) -> MatrixReport:
    """Every context on every folder, how far it falls from the first of them, and zero-shot on the same photos.

    raises   as `evaluate`
    """
    sources = [locate(ref, how.store) for ref in refs]
    folders = [labelled(one, how) for one in photos]
    asked = classes_asked(how.classes, folders)
    cells = [_cells(source, folders, asked, how) for source in sources]  # a line of them for each context
    passes = _passes(folders, cells, how)
    lines = [
        [
            _rows(cell, folder, passes[i, cell.tower], passes[i, cell.plain_tower], how)
            for i, (cell, folder) in enumerate(zip(line, folders, strict=True))
        ]
        for line in cells
    ]
    strange = [
        item for line in cells for cell, one in zip(line, folders, strict=True) for item in _strange(cell, one, how)
    ]
    left_out = [item for one in folders for item in one.skipped] + strange
    left_out += dict.fromkeys(item for some in passes.values() for item in some.skipped)
    return MatrixReport(
        contexts=tuple(source.name for source in sources),
        folders=tuple(folder.where for folder in folders),
        together=how.together,
        blend=tuple(line[0].share for line in cells),
        matrix=tuple(row for line in lines for row in _with_drops(line)),
        skipped=skipped_files(left_out),
        passed_over=passed_over(left_out),
        ambiguous=tuple(str(one) for one in photos if is_context(str(one), how.store)),
    )


# --------------------------------------------------------------------------- before any photo is opened


def _cells(source: Source, folders: Sequence[Labelled], asked: Sequence[Names | None], how: How) -> list[_Cell]:
    """A context on every folder."""
    context, name = source.load(), source.name
    share = chosen_share(how.blend, context, name, how.model, how.device, how.on_progress)
    answering: dict[tuple[tuple[str, str], ...], tuple[Context, dict[str, int], Mapping[str, baselines.Fitted]]] = {}
    cells = []
    for folder, names in zip(folders, asked, strict=True):
        key = tuple(sorted((names or {}).items()))
        if key not in answering:
            own, index = (context, {}) if names is None else among(context, name, names, how.model, how.device)
            beside = baselines.Beside(own, name, share, how.model, how.device, how.store, how.on_progress)
            answering[key] = own, index, baselines.fitted(how.baselines, beside)
        own, index, fitted = answering[key]
        if names is None:
            index = class_index(folder.labels, own, name, how)
        meant = {label: index[label] for label in folder.labels if label in index}
        if not meant:
            raise UnknownClasses(folder.labels, name)
        cells.append(_Cell(source, own, meant, share, fitted))
    return cells


def _strange(cell: _Cell, folder: Labelled, how: How) -> list[Skipped]:
    """The photos of what is not asked about."""
    return folder.strange(cell.index, cell.source.name, how.classes)


# --------------------------------------------------------------------------- the photos


def _passes(folders: Sequence[Labelled], cells: Sequence[Sequence[_Cell]], how: How) -> dict[tuple[int, str], Seen]:
    """What each image tower sees of each folder, whoever asks: number of the folder and fingerprint → photos."""
    of_tower = {line[0].tower: (line[0].context, line[0]) for line in cells}  # which may know the plain features too
    for line in cells:
        of_tower.setdefault(line[0].plain_tower, (line[0].plain, line[0]))
    found = {}
    for tower, (context, first) in of_tower.items():
        encoder = load_encoder_for(context, first.source.name, how.model, how.device, with_plain=True)
        for i, folder in enumerate(folders):
            asking = (line[i] for line in cells if tower in (line[i].tower, line[i].plain_tower))
            labels = {label for cell in asking for label in cell.index}
            found[i, tower] = seen(folder.of(labels), encoder, folder.root, how.on_progress)
    return found


def _rows(cell: _Cell, folder: Labelled, shown: Seen, plain: Seen, how: How) -> list[MatrixRow]:
    """A context, and each baseline beside it, on a folder.

    plain   what the tower without visual tokens sees of it
    """
    shown, by_plain = shown.only(cell.index), plain.only(cell.index).features
    if not len(shown.features):
        raise NoImages(f"no image in {folder.root} of a class of {cell.source.name} could be read", f"ls {folder.root}")
    targets, context = shown.targets(cell.index), cell.context
    measured.say_what_is_odd(shown.features, shown.label_of, targets, context, cell.source.name)
    said = measured.answers(
        context, cell.share, shown.features, together=how.together, also_together=False, plain=by_plain
    )
    by_hand = said.zero_shot.best == targets

    def row(baseline: str | None, found: Predictions) -> MatrixRow:
        right = found.best == targets
        alone = said.without_head if baseline is None else None
        return MatrixRow(
            context=cell.source.name,
            baseline=baseline,
            folder=folder.where,
            images=len(targets),
            learned_from=measured.learned_from(context, shown.features),
            present=tuple(context.card.labels[c] for c in np.unique(targets)),
            classes=len(context.card.classes),
            accuracy=float(right.mean()),
            interval=Interval(*bootstrap(right, by_hand)[0]),
            drop=None,
            without_head=None if alone is None else float((alone.best == targets).mean()),
            zero_shot=float(by_hand.mean()),
            zero_shot_drop=None,
        )

    further = [
        row(name, one.predict(shown.features if one.with_tokens else by_plain)) for name, one in cell.fitted.items()
    ]
    return [row(None, said.learned), *further]


def _with_drops(line: Sequence[Sequence[MatrixRow]]) -> Iterator[MatrixRow]:
    """The rows of a context, folder by folder, and how far each is below the first folder's."""
    yield from line[0]
    for later in line[1:]:
        for row, first in zip(later, line[0], strict=True):
            drop, of_zero_shot = first.accuracy - row.accuracy, first.zero_shot - row.zero_shot
            yield replace(row, drop=drop, zero_shot_drop=of_zero_shot)
