"""Suggest: which photos to ask a person about, what each is taken for, and what is asked about only once."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.answers import UNKNOWN, Answering, Taking, answering_by_context, encoded
from promptctl.commands.gather import Gathered, gathered, listed_in, most_first, named, no_photo
from promptctl.commands.places import check_places
from promptctl.commands.sources import locate
from promptctl.errors import WrongOption
from promptctl.progress import OnProgress
from promptctl.remote import is_remote, path_of
from promptctl.report import Candidate, SkippedFile, SuggestReport
from promptctl.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.classification.asking import Judged
    from promptctl.encoding.files import Skipped
    from promptctl.encoding.pipeline import Encoded

_AT_ONCE = 512  # photos that are answered together
_MOST_LOOKED_AT = 1000  # photos among which near copies are looked for, those that are asked about first
_A_FEW_MORE = 5  # times as many as are asked for, likewise


def suggest(
    photos: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    *,
    prompt: str | os.PathLike[str],
    count: int | None = None,
    files_from: str | os.PathLike[str] | None = None,
    null: bool = False,
    exclude: str | Sequence[str] = (),
    unknown: float | None = UNKNOWN,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> SuggestReport:
    """Photos to ask a person about, in the order in which their answers teach most.

    Photos that the context was learned from are left out, and of copies and near copies one is asked about.

    photos        files and folders, searched through
    prompt        NAME, NAME@VERSION or a context file
    count         how many at most; None: all
    files_from    a list of more files and folders, one a line; "-": stdin
    null          its paths end in a NUL instead
    exclude       files and folders to leave out, as in a .gitignore: one pattern or several
    unknown       share of one's own photos that may be called unknown; None: no photo is
    model         where to find the context's own backbone, if not under the name it was learned with
    device        auto, cpu, cuda or mps
    store         where names are looked up; None: the store of PROMPTCTL_HOME
    on_progress   called with what is being done, how much is done, and of how much
    raises        BadSetting, WrongOption, NotInStore and BadContextFile and their kinds, NoImages, BackboneError and
                  its kind
    """
    inputs, model = checks.paths("photos", photos), checks.model(model)
    device = checks.one_of("device", device, checks.DEVICES)
    count = None if count is None else checks.whole("count", count, 1, checks.MOST, 20)
    excluded, taking = checks.texts("exclude", exclude), Taking(unknown)
    if files_from is None and not inputs:
        raise WrongOption("there is nothing to ask about", "give photos or folders, or a list with --files-from")
    check_places(prompt, inputs, store, "promptctl review {photos} --prompt {context}")
    source = locate(prompt, store)
    context = source.load()
    file = None if files_from is None else checks.path("files_from", files_from)
    files = gathered(inputs, listed_in(file, null=null) if file else [], excluded)
    answering = answering_by_context(context, source.name, 1.0, model, device, on_progress, taking)
    seen = _Seen(answering, frozenset(context.shots.hashes), named(inputs))
    for image in encoded(files.photos, answering.encoder, on_progress, len(files.photos)):
        seen.add(image)
    if not seen.images and not seen.skipped and not files.closed:
        raise no_photo(inputs, files.beside + seen.foreign, excluding=bool(excluded))
    return _report(seen, files, count)


@dataclass(eq=False)
class _Seen:
    """What is found of photos, one after another: of those that may be asked about each content once."""

    answering: Answering
    learned: frozenset[str]  # sha256 of what the context was learned from
    meant: frozenset[str]  # paths that a person named
    paths: list[str] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)  # sha256 → place among the paths
    same: dict[int, list[str]] = field(default_factory=dict)  # place → the other files of that content
    learned_from: int = 0
    skipped: list[SkippedFile] = field(default_factory=list)
    foreign: Counter[str] = field(default_factory=Counter)
    _waiting: list[NDArray[np.float32]] = field(default_factory=list)
    _judged: list[Judged] = field(default_factory=list)

    def add(self, image: Encoded | Skipped) -> None:
        from promptctl.data.walk import suffix_of
        from promptctl.encoding.files import Skipped

        if not isinstance(image, Skipped):
            self._add_photo(image)
        elif image.foreign and os.fspath(image.path) not in self.meant:
            self.foreign[suffix_of(image.path)] += 1
        else:
            self.skipped.append(SkippedFile(image.path, image.reason))

    def _add_photo(self, image: Encoded) -> None:
        path = os.fspath(path_of(image.path) if is_remote(image.path) else os.path.abspath(image.path))  # noqa: PTH100  a link stays the link that it is
        if image.sha256 in self.learned:
            self.learned_from += 1
        elif image.sha256 in self.places:
            self.same.setdefault(self.places[image.sha256], []).append(path)
        else:
            self.places[image.sha256] = len(self.paths)
            self.paths.append(path)
            self.sha256.append(image.sha256)
            self._waiting.append(image.vector)
            if len(self._waiting) == _AT_ONCE:
                self._answer()

    def _answer(self) -> None:
        import numpy as np

        from promptctl.classification.asking import Judged

        classifier = self.answering.classifier
        features = np.array(self._waiting, np.float32).reshape(-1, classifier.weight.shape[1])
        self._judged.append(Judged.of(features, classifier))
        self._waiting = []

    def files_of(self, place: int) -> list[str]:
        return [self.paths[place], *self.same.get(place, [])]

    @property
    def images(self) -> int:
        return len(self.paths) + self.learned_from + sum(map(len, self.same.values()))

    def judged(self) -> Judged:
        """All that is found, photo by photo."""
        from promptctl.classification.asking import Judged

        self._answer()
        return Judged.joined(self._judged)


def _report(seen: _Seen, files: Gathered, count: int | None) -> SuggestReport:
    from promptctl.classification.asking import asked

    judged, classifier = seen.judged(), seen.answering.classifier
    order = _with_copies(asked(judged).tolist(), seen, judged, count)
    return SuggestReport(
        context=str(seen.answering.context),
        class_labels=classifier.labels,
        class_names=classifier.names,
        images=seen.images,
        learned_from=seen.learned_from,
        unknown=int(judged.unknown.sum()),
        candidates=tuple(_candidate(i, copies, seen, judged) for i, copies in order.items()),
        skipped=(*files.closed, *seen.skipped),
        passed_over=most_first(files.beside + seen.foreign),
    )


def _with_copies(order: Sequence[int], seen: _Seen, judged: Judged, count: int | None) -> dict[int, tuple[str, ...]]:
    """The photos to ask about in their order, each with the files that look the same."""
    from promptctl.data.groups import copies_of

    looked_at = order[: _MOST_LOOKED_AT if count is None else min(_MOST_LOOKED_AT, _A_FEW_MORE * count)]
    paths = [path_of(seen.paths[i]) for i in looked_at]
    first = copies_of(judged.features[looked_at].astype("float32"), paths).tolist()
    parts: dict[int, list[int]] = {}
    for i, place in zip(looked_at, first, strict=True):
        parts.setdefault(looked_at[place], []).append(i)
    parts |= {i: [i] for i in order[len(looked_at) :]}
    chosen = islice(parts.items(), count)
    return {i: tuple(path for one in alike for path in seen.files_of(one))[1:] for i, alike in chosen}


def _candidate(i: int, copies: tuple[str, ...], seen: _Seen, judged: Judged) -> Candidate:
    first, second = (seen.answering.classifier.classes[int(c[i])] for c in (judged.first, judged.second))
    is_one = len(seen.answering.classifier.classes) == 1
    likeness = float(judged.likeness[i])
    return Candidate(
        file=seen.paths[i],
        sha256=seen.sha256[i],
        label=first.label,
        name=first.name,
        probability=float(judged.first_probability[i]),
        second=None if is_one else second.label,
        second_name=None if is_one else second.name,
        second_probability=None if is_one else float(judged.second_probability[i]),
        margin=float(judged.margin[i]),
        likeness=None if math.isnan(likeness) else likeness,
        unknown=bool(judged.unknown[i]),
        copies=copies,
    )
