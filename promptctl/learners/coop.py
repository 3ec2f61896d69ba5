"""CoOp: Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022, on frozen image features.

The objective is the paper's: plain cross-entropy over cosine similarities times the backbone's frozen scale.
Two recipes reach its minimum. `paper` is the original's to the last default: SGD, momentum 0.9, weight decay 5e-4,
batches of 32 with the last partial one dropped, one epoch at 1e-5 and then a cosine over the epochs that never
quite reaches zero, random crops, the last step kept. `fast` takes the gradient of all images at once, so that a hundred
steps or a few do, and every class counts alike in it however many photos it has. A shared context from the beginning
steps by momentum made orthogonal, the rate falling along a line; a context for every class, and vectors that have
learned before, by Adam along a cosine.
Unlike the reference code the context is float32 throughout.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from promptctl.clip.packing import Prompts
from promptctl.clip.text_tower import TextTower
from promptctl.context.card import ClassEntry, CurvePoint, Method
from promptctl.errors import LearningFailed
from promptctl.learners.fitting import Learned, Start, Targets, TrainingSet, Vectors
from promptctl.learners.noise import INIT_STD
from promptctl.learners.training import (
    Adam,
    Batches,
    Curve,
    Optimiser,
    Orthogonal,
    Sgd,
    Views,
    cosine_rate,
    falling_rate,
    threads_for,
    warm_cosine_rate,
)
from promptctl.progress import OnProgress, OnStep

if TYPE_CHECKING:
    from promptctl.learners.settings import LearnSettings

UPDATE_EPOCHS, UPDATE_LR = 50, 0.005  # of the fast recipe, from the vectors of the version before (docs/benchmarks.md)
ROWS_EPOCHS, ROWS_LR = 100, 0.002  # the same of some class-specific vectors, where the others stay as they are
POLISH_EPOCHS = 20  # of all class-specific vectors, after those of new classes
PAPER_BATCH = 32
PAPER_MOMENTUM = 0.9
PAPER_WEIGHT_DECAY = 5e-4
_MOST_SHOTS = 16
_LATE, _SPREAD = 0.9, 0.1  # of the epochs: where the weights of an average lie (PromptSRC's 45 and 5 of 50)
_STEPS_A_CHECK = 50  # looking at the loss makes a GPU wait
_EFFORT_AROUND = 50.0  # steps that take as long as loading and sampling, and the crops of a photo


@dataclass(frozen=True)
class Settings:
    """What decides a CoOp run beside its data."""

    context_tokens: int = 16  # M
    init: str | None = None  # words to start from; None: normal, standard deviation 0.02
    class_specific: bool = False
    position: str = "end"
    recipe: str = "fast"
    epochs: int = 100
    lr: float = 0.002
    anchor: float = 0.0  # lambda of KgCoOp's term
    average: bool = False  # keep the mean of the late epochs instead of the last step
    seed: int = 1


@dataclass(frozen=True)
class Solution:
    """Where a run ended."""

    vectors: NDArray[np.float32]  # (M, W) or (C, M, W)
    text_features: NDArray[np.float32]  # (C, E) unit rows
    steps: int
    curve: tuple[CurvePoint, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """How the objective is minimised."""

    batch: int | None  # images per step; None: all
    optimiser: Callable[[torch.Tensor], Optimiser]
    rate: Callable[[int, int, float], float]  # epoch from 0, epochs, lr
    epochs: Callable[[float], int]  # by shots per class
    crops: bool  # learns from random crops, one view an epoch
    balanced: bool  # every class counts alike, or every image


def paper_epochs(shots: float) -> int:
    """50 epochs at 1 shot, 100 up to 4, 200 above (CoOp's scripts); beyond 16 shots as many steps as 16 take."""
    if shots <= 1:
        return 50
    if shots <= 4:
        return 100
    return max(1, round(200 * min(1.0, _MOST_SHOTS / shots)))


def fast_epochs(shots: float, *, class_specific: bool = False) -> int:
    """15 steps at 1 shot, 35 up to 4, 80 above; class-specific 100 up to 4, 200 up to 8 and 400 above.

    Where they come from is in docs/benchmarks.md. An epoch is one step.
    """
    one, few, more, most = (100, 100, 200, 400) if class_specific else (15, 35, 80, 80)
    if shots <= 4:
        return one if shots <= 1 else few
    return more if shots <= 8 else most


def pace(start: Start, *, polished: bool = False) -> tuple[int, float]:
    """Epochs and rate of the fast recipe from vectors that have learned.

    Where some stay as they are the others take longer, unless all of them are polished afterwards.
    """
    some = start.frozen is not None and start.frozen.any() and not polished
    return (ROWS_EPOCHS, ROWS_LR) if some else (UPDATE_EPOCHS, UPDATE_LR)


RECIPES = {
    "fast": Recipe(
        None,
        lambda context: Orthogonal(context, momentum=0.8),
        falling_rate,
        fast_epochs,
        False,
        True,
    ),
    "paper": Recipe(
        PAPER_BATCH,
        lambda context: Sgd(context, momentum=PAPER_MOMENTUM, weight_decay=PAPER_WEIGHT_DECAY),
        warm_cosine_rate,
        paper_epochs,
        True,
        False,
    ),
}
_BY_ADAM = replace(
    RECIPES["fast"],
    optimiser=lambda context: Adam(context, betas=(0.9, 0.99)),
    rate=cosine_rate,
    epochs=partial(fast_epochs, class_specific=True),
)


def recipe_of(name: str, *, class_specific: bool, goes_on: bool = False) -> Recipe:
    """How the recipe called so gets to its minimum.

    goes_on   from vectors that have learned before
    """
    return _BY_ADAM if name == "fast" and (class_specific or goes_on) else RECIPES[name]


def fit(training_set: TrainingSet, settings: LearnSettings, on_progress: OnProgress | None = None) -> Learned:
    """A context from the shots, by the recipe that was asked for.

    raises   NameTooLong, LearningFailed, NoImages
    """
    if settings.tokens_shape is not None and training_set.visual_tokens is None:
        from promptctl.learners import visual

        return visual.fit_both(training_set, settings, on_progress)
    tower, start = training_set.backbone.tower, training_set.start
    recipe = recipe_of(settings.recipe, class_specific=settings.class_specific)
    if start and settings.recipe == "fast":
        epochs, lr = pace(start)
    else:
        epochs, lr = recipe.epochs(training_set.shots_per_class), Settings.lr
    own = Settings(
        context_tokens=start.vectors.shape[-2] if start else settings.tokens(tower, training_set.names),
        init=settings.init,
        class_specific=settings.class_specific,
        position=settings.position,
        recipe=settings.recipe,
        epochs=epochs if settings.epochs is None else settings.epochs,
        lr=lr if settings.lr is None else settings.lr,
        anchor=settings.anchor,
        average=settings.average,
        seed=settings.seed,
    )
    views = (own.epochs if recipe.crops else 0) if settings.views is None else min(settings.views, own.epochs)
    views = views if training_set.has_photos else 0
    found = learn(
        training_set.seen(views, on_progress),
        training_set.targets,
        training_set.names,
        tower,
        logit_scale=training_set.backbone.logit_scale,
        settings=own,
        anchors=training_set.zero_shot_features,
        start=start,
        on_step=partial(on_progress, "learning") if on_progress else None,
    )
    method = Method(learner="coop", steps=found.steps, views=views, **dataclasses.asdict(own))
    return Learned(method, found.vectors, found.text_features, found.curve)


def refit(
    method: Method,
    features: Vectors,
    targets: Targets,
    *,
    classes: Sequence[str | ClassEntry],
    zero_shot_features: Vectors,
    tower: TextTower,
    logit_scale: float,
) -> Vectors:
    """(C, E) unit rows: the text features of a context learned from (N, E) unit rows by a method."""
    own = Settings(**{field.name: getattr(method, field.name) for field in dataclasses.fields(Settings)})
    found = learn(features, targets, classes, tower, logit_scale=logit_scale, settings=own, anchors=zero_shot_features)
    return found.text_features


def effort(settings: LearnSettings, shots: int) -> float:
    recipe = recipe_of(settings.recipe, class_specific=settings.class_specific)
    epochs = recipe.epochs(shots) if settings.epochs is None else settings.epochs
    return _EFFORT_AROUND + epochs


def initial_context(tower: TextTower, n_classes: int, settings: Settings) -> torch.Tensor:
    """(M, W), or (C, M, W) when class-specific: the words of `init`, or noise from the seed."""
    classes = (n_classes,) if settings.class_specific else ()
    if settings.init is not None:
        words = tower.embed(settings.init).float()
        return words.expand(*classes, *words.shape).clone()
    generator = torch.Generator().manual_seed(settings.seed)
    noise = torch.randn(*classes, settings.context_tokens, tower.width, generator=generator)
    return (noise * INIT_STD).to(tower.token_table.device)


def learn(
    features: NDArray[np.float32],
    targets: NDArray[np.int64],
    names: Sequence[str | ClassEntry],
    tower: TextTower,
    *,
    logit_scale: float,
    settings: Settings,
    anchors: NDArray[np.float32] | None = None,
    start: Start | None = None,
    on_step: OnStep | None = None,
) -> Solution:
    """Learn a context from arrays.

    features      (N, V, E) unit rows, V views of every image, one of them an epoch; or (N, E), always the same
    targets       (N,) index into names
    names         C readable class names, or the classes of a stored context
    logit_scale   the backbone's own, already exponentiated
    anchors       (C, E) unit rows, what settings.anchor holds the text features to
    start         vectors to go on from; None: those that the settings say
    raises        NameTooLong, LearningFailed
    """
    recipe = recipe_of(settings.recipe, class_specific=settings.class_specific, goes_on=start is not None)
    device = tower.token_table.device
    rng = torch.Generator().manual_seed(settings.seed)
    images = Views(features, device, rng)
    true = torch.from_numpy(targets).to(device)  # (N,)
    kept_near = None if anchors is None else torch.from_numpy(anchors).to(device)
    begin = torch.from_numpy(start.vectors).to(device) if start else initial_context(tower, len(names), settings)
    part = _Part.of(begin, names, tower, settings, start)
    context = part.context
    optimiser = recipe.optimiser(context)
    weights = balance(true, len(names)) if recipe.balanced else None
    batches = Batches(len(images), recipe.batch, device, rng)
    late = _Average(settings.epochs) if settings.average else None
    curve = Curve(settings.epochs)
    step = 0

    def loss_of(texts: torch.Tensor, seen: torch.Tensor, of_batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of text features (C, E) and their (B, C) logits."""
        logits = logit_scale * seen @ texts.T
        loss = F.cross_entropy(logits, of_batch, weight=weights)
        if kept_near is not None and settings.anchor:
            loss = loss + settings.anchor * kgcoop_loss(texts, kept_near)
        return loss, logits

    with threads_for(tower.operations(part.prompts)):
        for epoch in range(settings.epochs):
            rate = recipe.rate(epoch, settings.epochs, settings.lr)
            seen = images.of_epoch(epoch)
            for batch in batches.epoch():
                loss, logits = loss_of(part.texts(context), seen[batch], true[batch])
                curve.add(epoch, step, loss, logits, true[batch])
                optimiser.step(rate, loss)
                step += 1
                if step % _STEPS_A_CHECK == 1 and not torch.isfinite(loss):
                    raise LearningFailed(step, settings.lr)
                if on_step:
                    on_step(step, settings.epochs * len(batches))
            if late:
                late.add(epoch, context.detach())
    found = late.mean() if late and step else context.detach()
    with torch.no_grad():
        texts = part.texts(found)
        if step:
            curve.end(step, *loss_of(texts, seen, true), true)
    if not torch.isfinite(texts).all():
        raise LearningFailed(step, settings.lr)
    return Solution(part.whole(found).cpu().numpy(), texts.float().cpu().numpy(), step, curve.points())


def balance(targets: torch.Tensor, n_classes: int) -> torch.Tensor | None:
    """(C,) what an image of each class counts, so that the classes count alike; None where they do anyway.

    targets   (N,) class indices
    """
    counts = torch.bincount(targets, minlength=n_classes)
    some = counts[counts > 0]
    if not len(some) or bool((some == some[0]).all()):
        return None
    return (len(targets) / len(some)) / counts.clamp(min=1).float()


@dataclass(frozen=True, eq=False)
class _Part:
    """The vectors that are learned, and how they give the text features of all classes."""

    context: torch.Tensor  # (M, W), or (L, M, W) of the classes that are learned
    prompts: Prompts  # of those classes
    tower: TextTower
    learned: torch.Tensor | None = None  # (L,) indices of classes; None: all
    vectors: torch.Tensor | None = None  # (C, M, W) all of them, as they began
    others: torch.Tensor | None = None  # (C, E) unit rows, right for the classes that are not learned

    @staticmethod
    def of(
        begin: torch.Tensor,
        names: Sequence[str | ClassEntry],
        tower: TextTower,
        settings: Settings,
        start: Start | None,
    ) -> _Part:
        """begin   (M, W) or (C, M, W)"""

        def prompts_of(some: Sequence[str | ClassEntry]) -> Prompts:
            shared = not settings.class_specific
            return tower.prompts(some, settings.context_tokens, position=settings.position, shared=shared)

        if start is None or start.frozen is None or not start.frozen.any():
            return _Part(begin.clone().requires_grad_(), prompts_of(names), tower)
        learned = torch.from_numpy(np.flatnonzero(~start.frozen)).to(begin.device)
        prompts = prompts_of([names[int(i)] for i in learned])
        if start.text_features is not None:
            others = torch.from_numpy(start.text_features).to(begin.device)
        else:
            with torch.no_grad():
                others = F.normalize(tower.encode(begin, prompts_of(names)), dim=-1)
        return _Part(begin[learned].clone().requires_grad_(), prompts, tower, learned, begin, others)

    def texts(self, context: torch.Tensor) -> torch.Tensor:
        """(C, E) unit rows."""
        own = F.normalize(self.tower.encode(context, self.prompts), dim=-1)
        if self.learned is None or self.others is None:
            return own
        return self.others.index_copy(0, self.learned, own)

    def whole(self, context: torch.Tensor) -> torch.Tensor:
        """(M, W) or (C, M, W)"""
        if self.learned is None or self.vectors is None:
            return context
        return self.vectors.index_copy(0, self.learned, context)


def kgcoop_loss(texts: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """How far the text features have gone from the hand-written ones, 1 - mean cosine (KgCoOp, Yao et al., CVPR 2023).

    texts, anchors   (C, E) unit rows
    """
    return 1 - (texts * anchors).sum(-1).mean()


class _Average:
    """The mean of the contexts of late epochs, weighted by a bell (PromptSRC, Khattak et al., ICCV 2023)."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._sum: torch.Tensor | None = None
        self._weight = 0.0

    def add(self, epoch: int, context: torch.Tensor) -> None:
        """The context (M, W) or (C, M, W) as it is after an epoch, from 0."""
        weight = bell(epoch + 1, self._epochs)
        self._sum = weight * context if self._sum is None else self._sum + weight * context
        self._weight += weight

    def mean(self) -> torch.Tensor:
        """The weighted mean, of the shape of what was added."""
        assert self._sum is not None
        return self._sum / self._weight


def bell(epoch: int, epochs: int) -> float:
    """The weight of an epoch, from 1, in an average: Gaussian around 0.9 of the epochs, deviation 0.1 of them."""
    return math.exp(-(((epoch / epochs - _LATE) / _SPREAD) ** 2) / 2)
