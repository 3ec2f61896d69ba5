"""Baselines: other classifiers that a context is measured beside, on the same photos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptctl.classification.blend import as_kept
from promptctl.classification.classifier import Classifier, Predictions
from promptctl.classification.metrics import bootstrap, scores
from promptctl.commands.backbones import load_encoder_for, quick_backbone_for
from promptctl.commands.baseline_names import ANOTHER
from promptctl.commands.photos import encode_photos
from promptctl.commands.sources import locate
from promptctl.errors import NoImages, WrongOption
from promptctl.progress import OnProgress
from promptctl.report import BaselineScore, Interval
from promptctl.report.phrases import listed
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.context.context import Context
    from promptctl.encoding.pipeline import Features

Rows = NDArray[np.float32]
Targets = NDArray[np.int64]
Predict = Callable[["Features"], Predictions]


@dataclass(frozen=True)
class Fitted:
    """A classifier of the classes of a context, and perhaps of others, which stand behind them."""

    predict: Predict
    remark: str = ""  # what it lacks
    has_probabilities: bool = True
    with_tokens: bool = False  # it is asked about photos as the context sees them, its visual tokens included


@dataclass(frozen=True, eq=False)
class Beside:
    """What baselines are fitted beside."""

    context: Context
    name: str
    share: float  # of what was learned
    model: str | None = None
    device: str = "auto"
    store: Store | None = None
    on_progress: OnProgress | None = None

    @property
    def plain(self) -> Context:
        """Without visual tokens, as everything but a context is fitted and asked."""
        return self.context.seen_plainly()


def fitted(names: Sequence[str], beside: Beside) -> dict[str, Fitted]:
    """The baselines of these names, which `baseline_names.checked` let pass.

    raises   WrongOption where a context has nothing to fit one to, what `locate` raises, BackboneError and its kind
    """
    return {
        name: _another(name.removeprefix(ANOTHER), beside) if name.startswith(ANOTHER) else _FITTED[name](beside)
        for name in names
    }


def scored(
    some: Mapping[str, Fitted],
    features: Features,
    targets: Targets,
    learned: Predictions,
    *,
    plain: Features | None = None,
) -> tuple[BaselineScore, ...]:
    """How good baselines are on photos, and how far what was learned is ahead of each.

    targets   (N,) class indices
    plain     the photos without the visual tokens of the context, where it has any
    """
    return tuple(
        _score(name, one, features if one.with_tokens else plain or features, targets, learned)
        for name, one in some.items()
    )


def _score(name: str, one: Fitted, features: Features, targets: Targets, learned: Predictions) -> BaselineScore:
    found = one.predict(features)
    right, ours, figures = found.best == targets, learned.best == targets, scores(found, targets)
    ahead = bootstrap(ours, right)[1]
    return BaselineScore(
        name=name,
        top1=figures["top1"],
        interval=Interval(*bootstrap(right, ours)[0]),
        macro_f1=figures["macro_f1"],
        ece=figures["ece"] if one.has_probabilities else None,
        gain=float(ours.mean() - right.mean()),
        gain_interval=Interval(*ahead),
        remark=one.remark,
    )


# --------------------------------------------------------------------------- by words


def _zero_shot(beside: Beside) -> Fitted:
    return _of(Classifier.zero_shot(beside.context))


def _ensemble_of_7(beside: Beside) -> Fitted:
    from promptctl.clip import templates

    return _ensemble(beside, templates.ensemble_of_7(beside.context.card.zero_shot_template))


def _ensemble_of_80(beside: Beside) -> Fitted:
    from promptctl.clip import templates

    return _ensemble(beside, templates.sentences("imagenet-80"))


def _ensemble(beside: Beside, sentences: Sequence[str]) -> Fitted:
    from promptctl.clip import templates

    context = beside.context
    tower = quick_backbone_for(context, beside.name, beside.model, beside.device).tower
    rows = templates.mean_features(tower, context.card.names, sentences)
    return _of(Classifier(rows, context.card.logit_scale))


def _context_alone(beside: Beside) -> Fitted:
    if not len(beside.context.vectors):
        raise WrongOption(f"{beside.name} has weights of its classes and no context", "leave out coop of --baselines")
    return replace(_of(Classifier.of(beside.context, share=beside.share, head=False)), with_tokens=True)


def _of(classifier: Classifier) -> Fitted:
    return Fitted(lambda features: classifier.predict(features.vectors))


# --------------------------------------------------------------------------- by the stored shots


@dataclass(frozen=True)
class _Shots:
    """What a context was learned from, the classes that have none left out."""

    x: Rows  # (N, E) unit rows
    y: Targets  # (N,) index into present
    present: Targets  # (P,) of the C classes of the context
    remark: str

    def spread(self, logits: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
        """(N, C) of (N, P): a class without shots is never the answer."""
        every = np.full((len(logits), classes), -np.inf)
        every[:, self.present] = logits
        return every


def _shots(beside: Beside, name: str) -> _Shots:
    context = beside.plain
    if why := context.why_no_shots(each=True):
        raise WrongOption(f"{beside.name} has nothing to fit {name} to: {why}", f"leave out {name} of --baselines")
    rows, of_rows = context.learned_from()
    present, y = np.unique(of_rows, return_inverse=True)
    if len(present) < 2:
        raise WrongOption(
            f"{beside.name} has shots of one class only, and {name} takes two", f"leave out {name} of --baselines"
        )
    lacking = [context.card.names[c] for c in range(len(context.card.classes)) if c not in present]
    remark = f"has no shots of {listed(lacking, 5)}, and never answers so" if lacking else ""
    return _Shots(as_kept(rows), y.ravel().astype(np.int64), present.astype(np.int64), remark)


def _linear_probe(beside: Beside) -> Fitted:
    from promptctl.learners import linear_probe

    shots, classes = _shots(beside, "linear-probe"), len(beside.context.card.classes)
    probe = linear_probe.learn(shots.x, shots.y, *_held_out(beside.plain, shots))

    def predict(features: Features) -> Predictions:
        with np.errstate(divide="ignore"):
            return Predictions.of(shots.spread(np.log(probe.predict_proba(features.vectors)), classes))

    return Fitted(predict, shots.remark)


def _held_out(context: Context, shots: _Shots) -> tuple[Rows, Targets]:
    """As many held-out images of every class as the search for a strength may see; none where a class has none."""
    from promptctl.learners.linear_probe import MOST_VALIDATION

    rows, of_rows = context.held_out()
    of_class = [np.flatnonzero(of_rows == c) for c in shots.present]
    each = min(MOST_VALIDATION, *map(len, of_class))
    chosen = np.concatenate([some[:each] for some in of_class])
    return as_kept(rows[chosen]), np.repeat(np.arange(len(of_class)), each)


def _nearest_mean(beside: Beside) -> Fitted:
    from promptctl.classification.references import nearest_mean

    shots, card = _shots(beside, "nearest-mean"), beside.context.card
    linear = nearest_mean(shots.x, shots.y)

    def predict(features: Features) -> Predictions:
        cosines = linear.scores(features.vectors)
        return Predictions.of(shots.spread(card.logit_scale * cosines, len(card.classes)))

    return Fitted(predict, shots.remark)


def _ridge(beside: Beside) -> Fitted:
    from promptctl.classification.references import ridge

    shots, classes = _shots(beside, "ridge"), len(beside.context.card.classes)
    linear = ridge(shots.x, shots.y)
    return Fitted(
        lambda features: Predictions.of(shots.spread(linear.scores(features.vectors), classes)),
        shots.remark,
        has_probabilities=False,
    )


def _clap(beside: Beside) -> Fitted:
    from promptctl.learners import clap

    shots, context = _shots(beside, "clap"), beside.context
    start, scale = context.zero_shot_features, context.card.logit_scale
    settings = clap.Settings()
    found = clap.learn(shots.x, shots.y, start[shots.present], logit_scale=scale, settings=settings, balanced=True)
    rows = start.copy()
    rows[shots.present] = found.text_features
    return _of(Classifier(rows, scale))


_FITTED: Mapping[str, Callable[[Beside], Fitted]] = {
    "zero-shot": _zero_shot,
    "ensemble-7": _ensemble_of_7,
    "ensemble-80": _ensemble_of_80,
    "linear-probe": _linear_probe,
    "nearest-mean": _nearest_mean,
    "ridge": _ridge,
    "clap": _clap,
    "coop": _context_alone,
}


# --------------------------------------------------------------------------- another context


def _another(ref: str, beside: Beside) -> Fitted:
    """A stored context, its classes matched with those of the one it is beside by what they are called."""
    from promptctl.data.names import meant_by

    source = locate(ref, beside.store)
    other, own = source.load(), beside.context.card
    index = meant_by(own.labels, other.card.classes)
    if not index:
        raise WrongOption(f"{source.name} has none of the classes of {beside.name}", f"promptctl show {source.name}")
    column = {index[label]: i for i, label in reversed(list(enumerate(own.labels))) if label in index}
    further = iter(range(len(own.labels), len(own.labels) + len(other.card.classes)))
    columns = [column[j] if j in column else next(further) for j in range(len(other.card.classes))]
    lacking = [own.names[i] for i in range(len(own.labels)) if i not in columns]
    classifier = Classifier.of(other)

    def predict(features: Features) -> Predictions:
        found = classifier.predict(_seen_by(other, source.name, features, beside)).probabilities
        spread = np.zeros((len(found), max(len(own.labels), max(columns) + 1)))
        spread[:, columns] = found
        return Predictions(spread)

    return Fitted(predict, f"has no class {listed(lacking, 5)}" if lacking else "", with_tokens=True)


def _seen_by(other: Context, name: str, features: Features, beside: Beside) -> Rows:
    """(N, E) the photos as the image tower of the other context sees them, which may be the same."""
    if other.encoder_fingerprint == beside.context.encoder_fingerprint:
        return features.vectors
    encoder = load_encoder_for(other, name, None, beside.device)
    found, _ = encode_photos(features.paths, encoder, beside.on_progress)
    if found.sha256 != features.sha256:
        raise NoImages("a photo has changed or gone since a moment ago", "run the command again")
    return found.vectors
