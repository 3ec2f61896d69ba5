"""Doctor: what looks wrong in a context, and the command that puts each right."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.sources import is_file_reference, locate
from promptctl.errors import BackboneError
from promptctl.progress import OnProgress
from promptctl.report import DoctorReport, Finding
from promptctl.report.phrases import joined, number_of
from promptctl.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.classification.doubts import Seen
    from promptctl.clip.text_tower import TextTower
    from promptctl.context.card import ClassEntry
    from promptctl.context.context import Context

FEW = 4  # images to learn from, below which a class is called small
NAMES_ALIKE = 0.9  # cosine of what two names say
_SHOWN = 3  # images in a sentence
_NAMES_UNREAD = "names were not held to the tokenizer"


def doctor(
    ref: str | PathLike[str],
    photos: str | PathLike[str] | None = None,
    *,
    write_fixes: str | PathLike[str] | None = None,
    force: bool = False,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> DoctorReport:
    """What looks wrong in a context: labels, copies, classes, names; nothing is changed.

    ref           NAME, NAME@VERSION or a context file
    photos        a folder to find the files of images in, by content
    write_fixes   a CSV for the labels that look wrong, which `relabel` reads
    force         replace that file
    model         where to find the context's own backbone, if not under the name it was learned with
    device        auto, cpu, cuda or mps
    store         where names are looked up; None: the store of PROMPTCTL_HOME
    on_progress   called with what is being done, how much is done, and of how much
    raises        NotInStore and BadContextFile and their kinds, BackboneError for a model, ExportFailed
    """
    model, device = checks.model(model), checks.one_of("device", device, checks.DEVICES)
    store = store or Store()
    source = locate(ref, store)
    out = None if write_fixes is None else _free(checks.path("write_fixes", write_fixes), force, store)
    context = source.load()
    paths = _paths(checks.path("photos", photos), on_progress) if photos is not None else {}
    case = _Case(context, source.name, "FIXES.csv" if out is None else shlex.quote(str(out)), paths)
    tower, unread = _tower(context, source.name, model, device)
    findings = (*case.of_images(), *case.of_classes(), *case.of_names(tower))
    if out is not None:
        _write(out, findings, force)
    return DoctorReport(
        context=source.name,
        classes=len(context.card.classes),
        images=len(context.shots),
        findings=tuple(sorted(findings, key=lambda found: _ORDER.index(found.severity))),
        unchecked=(*case.unchecked(), *unread),
        fixes=out,
    )


_ORDER = ("high", "medium", "low")


def _free(out: Path, force: bool, store: Store) -> Path:
    from promptctl.commands.writing import check_free, refuse_inside_store

    refuse_inside_store(out, store)
    check_free(out, force)
    return out


def _paths(photos: Path, on_progress: OnProgress | None) -> dict[str, Path]:
    """sha256 → file, of a folder."""
    from promptctl.commands.photos import files_by_content

    return files_by_content(photos, on_progress)


def _tower(context: Context, name: str, model: str | None, device: str) -> tuple[TextTower | None, tuple[str, ...]]:
    """The tower that reads the names; why they are not held to it where there is none."""
    from promptctl.commands.backbones import quick_backbone_for

    try:
        return quick_backbone_for(context, name, model, device).tower, ()
    except BackboneError as error:
        if model is not None:
            raise
        return None, (f"{_NAMES_UNREAD}: {error}",)


def _write(out: Path, findings: Sequence[Finding], force: bool) -> None:
    """The labels that look wrong: a line for each image, to be read and corrected before `relabel` takes it."""
    from promptctl.commands.writing import place_file
    from promptctl.render.formats import csv_lines

    head = ["sha256", "label", "was", "severity", "path"]
    rows = [
        [image, found.suggested, found.labels[0], found.severity, path or ""]
        for found in findings
        if found.kind == "label"
        for image, path in zip(found.images, found.paths, strict=True)
    ]
    place_file(out, csv_lines([head, *rows]).encode(), force)


@dataclass(frozen=True, eq=False)
class _Case:
    """A context, and how to call it and the list of fixes in a command."""

    context: Context
    ref: str
    fixes: str
    paths: Mapping[str, Path]

    @property
    def name(self) -> str:
        """What commands take that change a context: the name, or where to import a file first."""
        return "NAME" if is_file_reference(self.ref) else self.ref.partition("@")[0]

    @cached_property
    def classes(self) -> dict[int, ClassEntry]:
        return {entry.id: entry for entry in self.context.card.classes}

    def label(self, row: int) -> str:
        """Of an image."""
        return self.classes[int(self.context.shots.class_ids[row])].label

    def learns(self, labels: Sequence[str], more: str = "") -> str:
        return f"promptctl learn PHOTOS --name {self.name}{more}   (more photos of {_quoted(labels[:_SHOWN])})"

    def finding(self, kind: str, severity: str, what: str, command: str, **facts: object) -> Finding:
        images = [self.context.shots.hashes[row] for row in facts.pop("rows", ())]  # type: ignore[attr-defined]
        paths = tuple(self.paths.get(image) for image in images)
        return Finding(kind, severity, what, command, images=tuple(images), paths=paths, **facts)  # type: ignore[arg-type]

    def image(self, row: int) -> str:
        """How a person finds an image: its file, where that is known, else the first digits of its checksum."""
        path = self.paths.get(self.context.shots.hashes[row])
        return self.context.shots.hashes[row][:12] if path is None else str(path)

    # ------------------------------------------------------------------------- images

    def unchecked(self) -> tuple[str, ...]:
        """What could not be looked at, and why."""
        if len(self.context.shots):
            return ()
        why = "was imported and has no shots" if self.context.card.is_imported else "carries no shots"
        return (f"labels, copies and confusions were not looked at: {self.ref} {why}",)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """(N,) images that are the same or nearly so have one number, those that belong together already among them."""
        from promptctl.data.groups import groups_of

        shots, nowhere = self.context.shots, [None] * len(self.context.shots)
        labels = [self.label(row) for row in range(len(shots))]
        return groups_of(self.features, labels, self.context.shots.hashes, nowhere, before=shots.groups.tolist())

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """(N, E) by the plain tower: one that has learned from a label has nothing to say against it."""
        import numpy as np

        from promptctl.classification.blend import as_kept

        return as_kept(self.context.shots.plain.astype(np.float32))

    @cached_property
    def shown(self) -> list[int]:
        """Ids of the classes that have images to learn from."""
        shots = self.context.shots
        return sorted({int(id) for id in shots.class_ids[shots.held_out == 0]})

    @cached_property
    def seen(self) -> Seen | None:
        """What the images say of each other; None where there are not two classes of them."""
        import numpy as np

        from promptctl.classification.doubts import seen

        shots, place = self.context.shots, {id: i for i, id in enumerate(self.shown)}
        if len(place) < 2:
            return None
        known = np.isin(shots.class_ids, self.shown)
        targets, predicted = (
            np.array([place.get(int(id), -1) for id in column[known]], dtype=np.int64)
            for column in (shots.class_ids, shots.predicted)
        )
        apart = shots.held_out[known] == 1
        return seen(self.features[known], targets, self.groups[known], apart, predicted)

    @cached_property
    def rows_seen(self) -> list[int]:
        import numpy as np

        return [int(row) for row in np.flatnonzero(np.isin(self.context.shots.class_ids, self.shown))]

    def of_images(self) -> Iterator[Finding]:
        if not len(self.context.shots):
            return
        yield from self._wrong_labels()
        yield from self._copies()

    def _wrong_labels(self) -> Iterator[Finding]:
        """Images that the others speak against, when each is left out."""
        from promptctl.classification.doubts import PROBABLY

        found = self.seen
        for at in found.doubtful() if found else ():
            assert found is not None
            row, other = self.rows_seen[at], self.classes[self.shown[int(found.best[at])]].label
            margin = float(found.margin[at])
            sure = "probably" if margin >= PROBABLY else "perhaps"
            yield self.finding(
                "label",
                "high" if margin >= PROBABLY else "medium",
                f"{self.image(row)} is '{self.label(row)}', {sure} '{other}'",
                self._corrects(),
                labels=(self.label(row), other),
                rows=[row],
                suggested=other,
                margin=margin,
            )

    def _corrects(self) -> str:
        return f"promptctl relabel {self.name} {self.fixes}"

    def _copies(self) -> Iterator[Finding]:
        """Images that are nearly the same: in two classes, on both sides of the hold-out, or counting twice."""
        import numpy as np

        numbers, counts = np.unique(self.groups, return_counts=True)
        alike: Counter[str] = Counter()
        for number in numbers[counts > 1]:
            rows = [int(row) for row in np.flatnonzero(self.groups == number)]
            labels = sorted({self.label(row) for row in rows})
            if len(labels) > 1:
                yield self._of_two_classes(rows, labels)
            elif len(set(self.context.shots.held_out[rows].tolist())) > 1:
                yield self._on_both_sides(rows, labels)
            else:
                alike[labels[0]] += len(rows) - 1
        for label, count in alike.items():
            what = f"{number_of(count, 'image')} of '{label}' {'is' if count == 1 else 'are'} nearly a copy of another"
            yield self.finding("copies", "low", what, self.learns([label]), labels=(label,))

    def _of_two_classes(self, rows: list[int], labels: list[str]) -> Finding:
        which = joined([self.image(row) for row in rows[:_SHOWN]])
        what = f"one picture is in {_quoted(labels)}: {which}"
        return self.finding("copies", "high", what, self._corrects(), labels=tuple(labels), rows=rows)

    def _on_both_sides(self, rows: list[int], labels: list[str]) -> Finding:
        which = joined([self.image(row) for row in rows[:_SHOWN]])
        what = f"copies of one picture are learned from and measured on: {which}"
        command = self.learns(labels, " --fresh")
        return self.finding("copies", "high", what, command, labels=tuple(labels), rows=rows)

    # ------------------------------------------------------------------------ classes

    def of_classes(self) -> Iterator[Finding]:
        yield from self._close_classes()
        if len(self.context.shots):
            yield from self._small_classes()

    def _close_classes(self) -> Iterator[Finding]:
        """Classes that are taken for each other, and names that say nearly the same."""
        ids = [entry.id for entry in self.context.card.classes]
        confused = self.seen.confused() if self.seen else []
        told = set()
        for a, b, wrong, images in confused:
            one, other = (ids.index(self.shown[i]) for i in (a, b))
            told.add((min(one, other), max(one, other)))
            what = f"{wrong} of {images} images are taken for the other"
            yield self._close(one, other, what, "medium")
        for one, other in self._alike_by_name():
            if (one, other) not in told:
                yield self._close(one, other, "their names say nearly the same", "low")

    def _alike_by_name(self) -> list[tuple[int, int]]:
        import numpy as np

        rows = self.context.zero_shot_features
        found = np.argwhere(np.triu(rows @ rows.T >= NAMES_ALIKE, 1))
        return [(int(a), int(b)) for a, b in found]

    def _close(self, one: int, other: int, what: str, severity: str) -> Finding:
        entries = [self.context.card.classes[row] for row in (one, other)]
        a, b = (entry.label for entry in entries)
        rows = self.context.zero_shot_features
        text, images = float(rows[one] @ rows[other]), self._prototype_cosine(entries)
        merge = shlex.join(["class", "merge", self.name, a, b, "--into", a])
        said = f"cosine of their names {text:.2f}" + ("" if images is None else f", of their mean images {images:.2f}")
        return self.finding(
            "close classes",
            severity,
            f"'{a}' and '{b}': {what} ({said})",
            f"promptctl {merge}   (if they are one), or {self.learns([a, b])}",
            labels=(a, b),
            text_cosine=text,
            image_cosine=images,
        )

    def _prototype_cosine(self, entries: Sequence[ClassEntry]) -> float | None:
        import numpy as np

        ids, train = self.context.shots.class_ids, self.context.shots.held_out == 0
        means = [self.features[(ids == entry.id) & train] for entry in entries]
        if not all(map(len, means)):
            return None
        one, other = (some.mean(0) for some in means)
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    def _small_classes(self) -> Iterator[Finding]:
        shots = self.context.shots
        sides = Counter(zip(shots.class_ids.tolist(), shots.held_out.tolist(), strict=True))
        for entry in self.context.card.classes:
            train, apart = sides[entry.id, 0], sides[entry.id, 1]
            if train < FEW:
                number = "no image" if not train else f"only {number_of(train, 'image')}"
                also = "" if apart else ", and none is held out to measure it on"
                what = f"'{entry.label}' has {number} to learn from{also}"
                severity = "medium" if train else "high"
                yield self.finding("few images", severity, what, self.learns([entry.label]), labels=(entry.label,))
            elif not apart and shots.held_out.any():
                what = f"'{entry.label}' has no image held out, so its accuracy is not measured"
                yield self.finding("no hold-out", "low", what, self.learns([entry.label]), labels=(entry.label,))
        if not shots.held_out.any():
            labels = [entry.label for entry in self.context.card.classes]
            known = "known from folds of the shots alone" if self.context.card.folds else "not known"
            what = f"no image of any class is held out, so accuracy is {known}"
            yield self.finding("no hold-out", "low", what, self.learns(labels, " --shots all"), labels=tuple(labels))

    # -------------------------------------------------------------------------- names

    def of_names(self, tower: TextTower | None) -> Iterator[Finding]:
        """Names that mean nothing to the tower, or the same as another."""
        from promptctl.data import remarks
        from promptctl.data.names import unread

        entries = self.context.card.classes
        names = [entry.name for entry in entries]
        hardly = set(unread(entries, tower) if tower else remarks.odd_among(names))
        for entry in entries:
            if entry.name in hardly:
                what = f"the name '{entry.name}' of '{entry.label}' says hardly anything to the backbone"
                yield self.finding("name", "medium", what, self._renames(entry), labels=(entry.label,))
        for some in self._same_tokens(tower) if tower else ():
            labels = tuple(entry.label for entry in some)
            what = f"the backbone reads the names of {_quoted(labels)} as one"
            yield self.finding("name", "high", what, self._renames(some[-1]), labels=labels)

    def _same_tokens(self, tower: TextTower) -> list[list[ClassEntry]]:
        said: dict[tuple[int, ...], list[ClassEntry]] = {}
        for entry in self.context.card.classes:
            said.setdefault(tuple(entry.tokens or tower.tokens(entry.name)), []).append(entry)
        return [some for some in said.values() if len(some) > 1]

    def _renames(self, entry: ClassEntry) -> str:
        return f"promptctl class rename {self.name} {shlex.quote(entry.label)} 'WHAT IT SHOWS'"


def _quoted(labels: Sequence[str]) -> str:
    return joined([f"'{label}'" for label in labels])
