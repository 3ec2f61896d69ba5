"""Visual tokens: VPT of a CLIP's image tower (Jia et al., "Visual Prompt Tuning", ECCV 2022), alone or with a context.

Learned tokens stand in the frozen image tower beside the patches: in its first block (VPT-shallow), or new ones in each
of its first D blocks (VPT-deep). The learner `vpt` learns them alone, and the text side is what the template says. With
`coop` both sides are learned together: independent vision-language prompting, which PromptSRC (Khattak et al., ICCV
2023) builds on. The loss is CoOp's, cross-entropy over cosine similarities times the backbone's scale.

    L = CE(s norm(f(x; tokens)) norm(g(context, names)).T, y) + anchor (1 - mean cos(g, z))

Every step runs the image tower forth and back, so photos are looked at again in every epoch. The optimiser is Dassl's
SGD of CoOp (momentum 0.9, weight decay 5e-4, a first epoch at 1e-5, then a cosine), the rate and the batch are those of
independent prompting in PromptSRC, 0.0025 and 4, for its 50 epochs; tokens begin as noise of deviation 0.02. On a GPU
the blocks run in bfloat16 and are computed twice instead of kept; elsewhere in float32.

A step is a new state made of the one before and of nothing else that changes: the order of an epoch and the crops come
from the seed and the number of the epoch. So what is kept of a state goes on to the same end, to the bit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from promptctl import __version__, signals
from promptctl.clip.image_tower import ImageTower, Precision
from promptctl.context.card import CurvePoint, Method
from promptctl.encoding.pipeline import pixels_of
from promptctl.encoding.preprocess import Preprocess
from promptctl.errors import BadSetting, LearningFailed
from promptctl.learners import unfinished
from promptctl.learners.fitting import Learned, Targets, TrainingSet, Vectors, refit_by_template, without_context
from promptctl.learners.noise import INIT_STD
from promptctl.learners.settings import VISUAL_EPOCHS, VISUAL_RATE
from promptctl.learners.training import Curve, warm_cosine_rate
from promptctl.learners.unfinished import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from promptctl.clip.backbone import Backbone
    from promptctl.encoding.torch import TorchEncoder
    from promptctl.learners.settings import LearnSettings
    from promptctl.progress import OnProgress

VERSION = 1  # of what a run computes: one that another version left unfinished starts again
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
SECONDS_A_SAVE = 30.0
KEPT_BYTES = 1 << 30  # of pixels in memory; what has no room is decoded again in every epoch
_TIMED = 3  # steps at least, of which the first is not counted
_TIMED_SECONDS = 1.0  # at least, unless all is over soon: a few short steps say little of the others
_AHEAD = 4  # batches that are decoded before the tower asks for them
_DECODERS = 4

Shown = Callable[["_State"], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Settings:
    """What decides a run of tokens alone beside its data."""

    visual_tokens: int = 4  # T
    visual_depth: int = 1  # D
    epochs: int = VISUAL_EPOCHS
    lr: float = VISUAL_RATE
    seed: int = 1


@dataclass(frozen=True)
class _Whole(Settings):
    """What decides any run."""

    views: int = 0  # random crops of a photo, one an epoch; 0: the centre
    anchor: float = 0.0  # lambda of KgCoOp's term, where a context is learned too
    balanced: bool = True  # every class counts alike, or every photo


@dataclass(frozen=True)
class Way:
    """How the image tower runs: chosen by the device."""

    precision: Precision
    checkpointed: bool


def way_on(device: torch.device) -> Way:
    """Half the memory and twice the work on a GPU, where memory is short; as it is elsewhere."""
    return Way("bfloat16", True) if device.type == "cuda" else Way("float32", False)


# --------------------------------------------------------------------------- the learner


def fit(training_set: TrainingSet, settings: LearnSettings, on_progress: OnProgress | None = None) -> Learned:
    """Visual tokens alone; those that the shots were seen with stay, and the template says what classes are.

    raises   NoVisualTokens, BadSetting for more depth than there is, LearningFailed, NoImages
    """
    if training_set.visual_tokens is not None:
        return _kept(training_set, settings)
    own, run = _prepared(training_set, settings, None, on_progress)
    texts = torch.from_numpy(training_set.zero_shot_features).to(run.device)
    end = run.to_the_end(lambda context: texts)
    learned = without_context(
        "vpt",
        training_set,
        training_set.zero_shot_features,
        steps=end.step,
        views=own.views,
        epochs=own.epochs,
        lr=own.lr,
        seed=own.seed,
    )
    return _with_tokens(learned, run, end)


def fit_both(training_set: TrainingSet, settings: LearnSettings, on_progress: OnProgress | None = None) -> Learned:
    """A context and visual tokens, each learned beside the other.

    raises   as `fit`, and NameTooLong
    """
    from promptctl.learners import coop

    tower, names = training_set.backbone.tower, training_set.names
    of_context = coop.Settings(
        context_tokens=settings.tokens(tower, names),
        init=settings.init,
        class_specific=settings.class_specific,
        position=settings.position,
        recipe=settings.recipe,
        anchor=settings.anchor,
        seed=settings.seed,
    )
    begin = coop.initial_context(tower, len(names), of_context)
    prompts = tower.prompts(
        names, of_context.context_tokens, position=of_context.position, shared=not of_context.class_specific
    )
    own, run = _prepared(training_set, settings, begin, on_progress)

    def texts_of(context: torch.Tensor | None) -> torch.Tensor:
        assert context is not None
        return F.normalize(tower.encode(context, prompts), dim=-1)

    end = run.to_the_end(texts_of)
    context = end.parameters[1]
    with torch.no_grad():
        texts = texts_of(context).float().cpu().numpy()
    if not np.isfinite(texts).all():
        unfinished.remove(run.path)
        raise LearningFailed(end.step, own.lr)
    of_context = dataclasses.replace(of_context, epochs=own.epochs, lr=own.lr)
    method = Method(learner="coop", steps=end.step, views=own.views, **dataclasses.asdict(of_context))
    return _with_tokens(Learned(method, context.cpu().numpy(), texts), run, end)


refit = refit_by_template


def effort(settings: LearnSettings, shots: int) -> float:
    return 1000.0


def ended(learned: Learned, features: Vectors, targets: Targets, logit_scale: float) -> Learned:
    """The same with the last point of its curve, of what is kept.

    features   (N, E) unit rows of the shots, seen with the tokens
    targets    (N,) class indices
    """
    if not learned.curve:
        return learned
    logits = torch.from_numpy(logit_scale * features @ learned.text_features.T)
    true = torch.from_numpy(targets)
    found, right = float(F.cross_entropy(logits, true)), float((logits.argmax(1) == true).float().mean())
    point = CurvePoint(learned.method.steps, float(f"{found:.4g}"), round(right, 4))
    return dataclasses.replace(learned, curve=(*learned.curve, point))


def check_depth(tower: ImageTower, depth: int) -> None:
    """BadSetting for more blocks than the tower has."""
    if depth > tower.layers:
        raise BadSetting("visual_depth", depth, f"at most {tower.layers} (the blocks of the image tower)", tower.layers)


def _kept(training_set: TrainingSet, settings: LearnSettings) -> Learned:
    """What becomes of a version that goes on from one with tokens: classes by their words."""
    lr = VISUAL_RATE if settings.lr is None else settings.lr
    return without_context("vpt", training_set, training_set.zero_shot_features, epochs=0, lr=lr, seed=settings.seed)


def _with_tokens(learned: Learned, run: _Run, end: _State) -> Learned:
    tokens = end.parameters[0].cpu().numpy()
    depth, count, _ = tokens.shape
    return dataclasses.replace(
        learned,
        method=dataclasses.replace(learned.method, visual_tokens=count, visual_depth=depth),
        curve=end.curve(run.own.epochs),
        visual_tokens=tokens,
        unfinished=run.path,
    )


def _prepared(
    training_set: TrainingSet, settings: LearnSettings, context: torch.Tensor | None, on_progress: OnProgress | None
) -> tuple[_Whole, _Run]:
    assert settings.tokens_shape is not None
    depth, count = settings.tokens_shape
    epochs = VISUAL_EPOCHS if settings.epochs is None else settings.epochs
    crops = epochs if settings.recipe == "paper" else 0
    own = _Whole(
        visual_tokens=count,
        visual_depth=depth,
        epochs=epochs,
        lr=VISUAL_RATE if settings.lr is None else settings.lr,
        views=crops if settings.views is None else min(settings.views, epochs),
        anchor=settings.anchor,
        balanced=settings.recipe != "paper",
        seed=settings.seed,
    )
    return own, _Run(training_set, settings, own, context, on_progress)


# --------------------------------------------------------------------------- a run


@dataclass(frozen=True, eq=False)
class _State:
    """Where a run is: what it is made of, and how it came there."""

    step: int
    parameters: tuple[torch.Tensor, ...]  # tokens (D, T, Wv), and the context where one is learned
    moved: tuple[torch.Tensor, ...]  # momentum of each
    seen: tuple[tuple[int, int, float, float], ...] = ()  # epoch, step, loss and share right, of some batches

    def after(self, gradients: Sequence[torch.Tensor], rate: float) -> _State:
        """PyTorch's SGD with momentum and weight decay."""
        both = zip(self.parameters, self.moved, gradients, strict=True)
        moved = tuple(m * MOMENTUM + (g + WEIGHT_DECAY * p) for p, m, g in both)
        parameters = tuple(p - rate * m for p, m in zip(self.parameters, moved, strict=True))
        return _State(self.step + 1, parameters, moved, self.seen)

    def curve(self, epochs: int) -> tuple[CurvePoint, ...]:
        return _Told(epochs).of(self.seen)

    def progress(self) -> Progress:
        arrays: dict[str, NDArray[np.float32]] = {}
        for kind, some in (("parameter", self.parameters), ("moved", self.moved)):
            arrays |= {f"{kind}_{i}": tensor.detach().cpu().numpy() for i, tensor in enumerate(some)}
        return Progress(arrays, {"step": self.step, "seen": [list(one) for one in self.seen]})

    def at(self, progress: Progress, steps: int) -> _State | None:
        """This state, gone on to what was kept; None where that can be no state of a run of so many steps."""
        arrays, device = progress.arrays, self.parameters[0].device

        def tensors(kind: str) -> tuple[torch.Tensor, ...]:
            return tuple(torch.from_numpy(arrays[f"{kind}_{i}"]).to(device) for i in range(len(self.parameters)))

        try:
            step = int(progress.facts["step"])
            seen = tuple((int(e), int(s), float(loss), float(right)) for e, s, loss, right in progress.facts["seen"])
        except (LookupError, TypeError, ValueError):
            return None
        return _State(step, tensors("parameter"), tensors("moved"), seen) if 0 <= step <= steps else None


class _Told(Curve):
    """A learning curve from numbers."""

    @property
    def chosen(self) -> set[int]:
        """Epochs that a point is made of."""
        return self._chosen

    def of(self, seen: Sequence[tuple[int, int, float, float]]) -> tuple[CurvePoint, ...]:
        for epoch, step, loss, right in seen:
            self._seen.setdefault(epoch, []).append((step, torch.tensor(loss), torch.tensor(right)))
        return self.points()


@dataclass(eq=False)
class _Run:
    """A run on its photos, from where it was left."""

    training_set: TrainingSet
    settings: LearnSettings
    own: _Whole
    context: torch.Tensor | None  # (M, W) or (C, M, W) to begin with
    on_progress: OnProgress | None
    _saved: float = field(default=0.0, init=False)  # seconds of a clock

    @cached_property
    def backbone(self) -> Backbone:
        found: Any = self.training_set.backbone
        return found  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    @cached_property
    def tower(self) -> ImageTower:
        tower = ImageTower(self.backbone.visual, name=self.backbone.name)
        check_depth(tower, self.own.visual_depth)
        return tower

    @cached_property
    def way(self) -> Way:
        return way_on(self.device)

    @cached_property
    def batch(self) -> int:
        return self.settings.visual_steps(len(self.training_set.targets))[1]

    @cached_property
    def batches_an_epoch(self) -> int:
        return len(self.training_set.targets) // self.batch

    @property
    def steps(self) -> int:
        return self.own.epochs * self.batches_an_epoch

    @cached_property
    def targets(self) -> torch.Tensor:
        return torch.from_numpy(self.training_set.targets).to(self.device)  # (N,)

    @cached_property
    def counts(self) -> torch.Tensor:
        """(C,) what a photo of each class counts."""
        found = torch.bincount(self.targets, minlength=len(self.training_set.names)).float()
        if not self.own.balanced:
            return torch.ones_like(found)
        return len(self.targets) / (found > 0).sum() / found.clamp(min=1)

    @cached_property
    def path(self) -> Path:
        """Where its progress is kept."""
        shots, digest = self.training_set.shots, hashlib.sha256(self.training_set.zero_shot_features.tobytes())
        names = [one if isinstance(one, str) else [one.name, list(one.tokens)] for one in self.training_set.names]
        return unfinished.path_of(
            {
                "version": [VERSION, __version__, torch.__version__],
                "backbone": self.backbone.id.fingerprint,
                "scale": self.backbone.logit_scale,
                "device": self.device.type,
                "way": dataclasses.asdict(self.way),
                "photos": list(shots.sha256),
                "targets": self.training_set.targets.tolist(),
                "names": names,
                "zero-shot": digest.hexdigest(),
                "settings": dataclasses.asdict(self.settings),
                "own": dataclasses.asdict(self.own),
            }
        )

    def begin(self) -> _State:
        """Noise from the seed."""
        generator = torch.Generator().manual_seed(self.own.seed)
        shape = self.own.visual_depth, self.own.visual_tokens, self.tower.width
        tokens = (torch.randn(shape, generator=generator) * INIT_STD).to(self.device)
        parameters = (tokens,) if self.context is None else (tokens, self.context.detach().clone())
        return _State(0, parameters, tuple(map(torch.zeros_like, parameters)))

    def to_the_end(self, texts_of: Callable[[torch.Tensor | None], torch.Tensor]) -> _State:
        """The state after all steps, which is kept until what is made of it is stored.

        texts_of   (C, E) unit rows of a context, or without one
        """
        state = self._where_it_was()
        photos = _Photos(self.training_set, self.backbone.encoder, self.own.views)
        state = self._stepped(state, photos, texts_of)
        if state.step:
            self._save(state)
            signals.say("all steps are kept: the same command goes on from there")
        return state

    def _where_it_was(self) -> _State:
        first = self.begin()
        kept = unfinished.read(self.path, first.progress().arrays)
        found = first.at(kept, self.steps) if kept else None
        if found is None or not found.step:
            return first
        self._say(f"goes on at step {found.step} of {self.steps}, where it was interrupted")
        return found

    def _stepped(
        self, state: _State, photos: _Photos, texts_of: Callable[[torch.Tensor | None], torch.Tensor]
    ) -> _State:
        chosen, timer = _Told(self.own.epochs).chosen, _Timer(self.batch, self.steps - state.step, self._say)
        self._saved = time.monotonic()
        try:
            for epoch in range(state.step // self.batches_an_epoch, self.own.epochs):
                rate = warm_cosine_rate(epoch, self.own.epochs, self.own.lr)
                left = self._order(epoch)[state.step % self.batches_an_epoch :]
                for rows, pixels in photos.of_epoch(epoch, left):
                    state = self._step(state, rows, pixels, texts_of, rate, epoch if epoch in chosen else None)
                    timer.stepped()
                    if self.on_progress:
                        self.on_progress("learning", state.step, self.steps)
                    if time.monotonic() - self._saved >= SECONDS_A_SAVE:
                        self._save(state)
        except LearningFailed:  # where it was, it would fail again
            unfinished.remove(self.path)
            raise
        except BaseException:  # Ctrl-C above all
            if state.step:
                kept = "are kept: the same command goes on from there" if self._save(state) else "could not be kept"
                signals.say(f"{state.step} of {self.steps} steps {kept}")
            raise
        finally:
            photos.close()
        return state

    def _order(self, epoch: int) -> list[NDArray[np.int64]]:
        """The batches of an epoch, (B,) rows of photos each."""
        order = np.random.default_rng([self.own.seed, epoch]).permutation(len(self.training_set.targets))
        return [order[i * self.batch : (i + 1) * self.batch] for i in range(self.batches_an_epoch)]

    def _step(
        self,
        state: _State,
        rows: NDArray[np.int64],
        pixels: NDArray[np.float32],
        texts_of: Callable[[torch.Tensor | None], torch.Tensor],
        rate: float,
        told: int | None,
    ) -> _State:
        """The state after a batch of photos.

        rows     (B,) of the photos
        pixels   (B, 3, S, S)
        told     the epoch, where its curve has a point
        """
        leaves = [parameter.detach().requires_grad_() for parameter in state.parameters]
        true = self.targets[torch.from_numpy(rows).to(self.device)]
        features = self._features(torch.from_numpy(pixels).to(self.device), leaves[0])
        texts = texts_of(leaves[1] if len(leaves) > 1 else None).float()
        logits = self.backbone.logit_scale * features @ texts.T  # (B, C)
        loss = (self.counts[true] * F.cross_entropy(logits, true, reduction="none")).mean()
        if self.own.anchor and len(leaves) > 1:
            loss = loss + self.own.anchor * self._distance(texts)
        gradients = torch.autograd.grad(loss, leaves)
        found, right = float(loss.detach()), float((logits.detach().argmax(1) == true).float().mean())
        if not np.isfinite(found):
            raise LearningFailed(state.step + 1, self.own.lr)
        after = state.after(gradients, rate)
        if told is None:
            return after
        return dataclasses.replace(after, seen=(*after.seen, (told, state.step, found, right)))

    def _features(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(B, E) unit rows of (B, 3, S, S)"""
        found = self.tower.encode(
            pixels, tokens, checkpointed=self.way.checkpointed, precision=self.way.precision
        ).float()
        return F.normalize(found, dim=-1)

    def _distance(self, texts: torch.Tensor) -> torch.Tensor:
        from promptctl.learners.coop import kgcoop_loss

        return kgcoop_loss(texts, torch.from_numpy(self.training_set.zero_shot_features).to(texts))

    def _save(self, state: _State) -> bool:
        self._saved = time.monotonic()
        return unfinished.write(self.path, state.progress())

    def _say(self, line: str) -> None:
        if self.training_set.on_line:
            self.training_set.on_line(line)


class _Timer:
    """Says after the first steps how long the others will take."""

    def __init__(self, batch: int, steps: int, say: Callable[[str], None]) -> None:
        self._batch, self._steps, self._say = batch, steps, say
        self._done, self._start, self._is_said = 0, 0.0, steps <= _TIMED

    def stepped(self) -> None:
        self._done += 1
        if self._done == 1:
            self._start = time.monotonic()
        elif self._done >= _TIMED and not self._is_said:
            self._timed(time.monotonic() - self._start)

    def _timed(self, elapsed: float) -> None:
        seconds = max(1e-6, elapsed / (self._done - 1))
        if elapsed >= _TIMED_SECONDS or self._steps * seconds <= _TIMED_SECONDS:
            self._is_said = True
            self._say(cost_in_words(self._steps, self._batch, self._batch / seconds))


def cost_in_words(steps: int, batch: int, photos_a_second: float) -> str:
    """What a run takes, in a line."""
    minutes = steps * batch / photos_a_second / 60
    seconds = max(1, round(60 * minutes))
    how_long = f"{minutes:.0f} minutes" if minutes >= 1.5 else f"{seconds} second{'' if seconds == 1 else 's'}"
    return f"{steps} steps of {batch} photos at {photos_a_second:.3g} photos/s: about {how_long}"


# --------------------------------------------------------------------------- the photos of a step


@dataclass(frozen=True)
class _Crops:
    """What of a photo is looked at, as bytes, of which a tower's input is four times as many."""

    size: int
    preprocess: Callable[[Image.Image], NDArray[np.uint8]]  # (S, S, 3)


class _Photos:
    """Pixels of the shots, decoded a little ahead of the tower and kept as far as there is room."""

    def __init__(self, training_set: TrainingSet, encoder: TorchEncoder, views: int) -> None:
        self._shots, self._views = training_set.shots, views
        transform = encoder.transform
        self._scaled: Callable[[Any], NDArray[np.float32]]
        if isinstance(transform, Preprocess):
            self._looks: Any = _Crops(encoder.size, transform.crop)
            self._scaled = transform.scaled
        else:  # another library's, which gives the tower's input alone
            self._looks, self._scaled = encoder, np.asarray
        self._kept: dict[tuple[int, int | None], NDArray[Any]] = {}
        self._n_bytes = 0
        self._pool = ThreadPoolExecutor(max_workers=_DECODERS)

    def of_epoch(
        self, epoch: int, batches: Sequence[NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Each batch, (B,) rows, and its (B, 3, S, S) pixels; NoImages where a photo has changed meanwhile."""
        number = epoch % self._views if self._views else None
        ahead: deque[tuple[NDArray[np.int64], list[Future[NDArray[Any]]]]] = deque()
        for rows in batches:
            ahead.append((rows, [self._pool.submit(self._pixels, int(row), number) for row in rows]))
            if len(ahead) > _AHEAD:
                yield self._taken(*ahead.popleft(), number)
        while ahead:
            yield self._taken(*ahead.popleft(), number)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _pixels(self, row: int, number: int | None) -> NDArray[Any]:
        known = self._kept.get((row, number))
        if known is not None:
            return known
        return pixels_of(self._shots.paths[row], self._shots.sha256[row], number, self._looks)

    def _taken(
        self, rows: NDArray[np.int64], some: Sequence[Future[NDArray[Any]]], number: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        pixels = [one.result() for one in some]
        for row, found in zip(rows.tolist(), pixels, strict=True):
            if (row, number) not in self._kept and self._n_bytes + found.nbytes <= KEPT_BYTES:
                self._kept[row, number] = found
                self._n_bytes += found.nbytes
        return rows, np.stack([self._scaled(found) for found in pixels])
