"""Load: a context ready for use from Python, without PyTorch until an image is to be encoded."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from promptctl import checks
from promptctl.commands.answers import UNKNOWN, Taking, gate_of
from promptctl.commands.backbones import chosen_share, load_encoder_for
from promptctl.commands.sources import Source, locate
from promptctl.errors import NoImages, WrongArgument
from promptctl.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from promptctl.classification.classifier import Answer, Classifier, Predictions
    from promptctl.classification.gate import Gate
    from promptctl.context.context import Context
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.encoding.files import Skipped
    from promptctl.encoding.images import AnImage, Item, Seen
    from promptctl.report import EvaluateReport


def load(
    context: str | os.PathLike[str],
    *,
    unknown: float | None = UNKNOWN,
    min_confidence: float = 0.0,
    accept_error: float | None = None,
    blend: float | None = 1.0,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
) -> ImageClassifier:
    """A context ready for use; only its file is read.

        birds = promptctl.load("birds")
        birds.classify("photo.jpg").name

    context          NAME, NAME@VERSION or the path of a context file
    unknown          share of one's own photos that may be called unknown, `Answer.unknown`; None: no photo is
    min_confidence   probability below which an answer is doubtful, `Answer.doubtful`
    accept_error     share of wrong ones among the answers that are not doubtful; None: any
    blend            share of the learned text features, 0 to 1, the rest zero-shot's; None: chosen by folds of the
                     shots
    model            where to find the context's own backbone, if not under the name it was learned with
    device           auto, cpu, cuda or mps: where images are encoded
    store            where names are looked up; None: the store of PROMPTCTL_HOME
    raises           InvalidName, NotInStore and its kind, BadContextFile and its kind, BadSetting, WrongArgument,
                     WrongOption for an accept_error of a context that knows none; with blend None also BackboneError
                     and its kind
    """
    share, taking = checks.share(blend), Taking(unknown, min_confidence, accept_error)
    model, device = checks.model(model), checks.one_of("device", device, checks.DEVICES)
    source = locate(context, store)
    loaded = source.load()
    gate = gate_of(loaded, source.name, taking, share)[0]
    chosen = chosen_share(share, loaded, source.name, model, device, None)
    return ImageClassifier(source, loaded, share=chosen, model=model, device=device, store=store, gate=gate)


class ImageClassifier:
    """A context in use: says which of its classes an image shows.

    `predict` and `predict_proba` take image features, as scikit-learn's classifiers do; `classify` takes images.
    """

    def __init__(
        self,
        source: Source,
        context: Context,
        *,
        share: float,
        model: str | None,
        device: str,
        store: Store | None,
        gate: Gate | None = None,
    ) -> None:
        self.name = source.name  # birds@3, or the path as it was given
        self.path = source.path
        self.context = context
        self.blend = share  # of the learned text features, the rest is of zero-shot
        self._model, self._device, self._store, self._gate = model, device, store, gate

    def __repr__(self) -> str:
        blend = "" if self.blend == 1 else f", blend {self.blend:g}"
        return f"<ImageClassifier {self.name}: {len(self.classes)} classes on {self.context.card.backbone.name}{blend}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels of its C classes: what their folders are called, in the order of every (N, C) array."""
        return self.context.card.labels

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its classes: what the prompt says."""
        return self.context.card.names

    @property
    def classes_(self) -> NDArray[np.str_]:
        """(C,) the labels as an array, which is what scikit-learn's tools look for."""
        import numpy as np

        return np.array(self.classes, dtype=np.str_)

    @property
    def text_features(self) -> NDArray[np.float32]:
        """(C, E) unit rows: what the context says of its classes, blended if that was asked for."""
        from promptctl.classification.classifier import Classifier

        return Classifier.of(self.context, share=self.blend, head=False).weight

    @property
    def weight(self) -> NDArray[np.float32]:
        """(C, E) what image features are multiplied with: the rows of the head, or the text features without one."""
        return self._classifier.weight

    @property
    def bias(self) -> NDArray[np.float32]:
        """(C,) what is added to the logits; zeros where nothing is."""
        import numpy as np

        bias = self._classifier.bias
        if bias is None:
            return np.zeros(len(self.classes), np.float32)
        return np.asarray(bias / self._classifier.temperature, np.float32)

    @property
    def logit_scale(self) -> float:
        """What cosine similarities are multiplied with before the softmax."""
        return self._classifier.logit_scale / self._classifier.temperature

    # ---------------------------------------------------------------- features

    def predict_proba(self, features: ArrayLike, *, together: bool = False) -> NDArray[np.float64]:
        """Probabilities of the classes.

        features  (N, E) image features of the context's own backbone: of open_clip's `encode_image`, of `encode`;
                  of any length, they are made unit rows here; where something was learned in the image tower,
                  of `encode` alone
        together  the images are answered together, each with the help of the others
        returns   (N, C), rows sum to 1
        raises    WrongArgument for another shape or width, and for rows that are zero or no numbers
        """
        return self._predictions(features, together).probabilities

    def predict(self, features: ArrayLike, *, together: bool = False) -> NDArray[np.str_]:
        """(N,) the label of the most probable class of each image; `features` and `together` as in `predict_proba`."""
        return self.classes_[self._predictions(features, together).best]

    def _predictions(self, features: ArrayLike, together: bool) -> Predictions:
        rows = self._unit_rows(features)
        if not checks.flag("together", together):
            return self._classifier.predict(rows)
        from promptctl.classification.together import shots_behind
        from promptctl.classification.together import together as answered_together

        return answered_together(rows, self._classifier, shots_behind(self.context, self.blend))

    # ---------------------------------------------------------------- images

    @overload
    def classify(self, images: AnImage, *, together: bool = ...) -> Answer: ...  # type: ignore[overload-overlap]  # text is several texts too
    @overload
    def classify(self, images: list[Any] | tuple[Any, ...], *, together: bool = ...) -> list[Answer | Skipped]: ...
    @overload
    def classify(self, images: Iterable[AnImage], *, together: bool = ...) -> Iterator[Answer | Skipped]: ...
    def classify(
        self, images: AnImage | Iterable[AnImage], *, together: bool = False
    ) -> Answer | list[Answer | Skipped] | Iterator[Answer | Skipped]:
        """What images show.

        images   paths, PIL images, or arrays (H, W, 3) of uint8 in RGB, mixed as you like; pictures in memory are
                 turned upright and made RGB as files are
        together  the images are answered together, each with the help of the others; `alone` of an answer is what the
                 image shows by itself, and no answer comes before the last image
        returns  for one image an Answer: `name`, `label`, `probability`, `top(3)`, `unknown`, `doubtful`; for a list, a
                 tuple or an array (N, H, W, 3) a list with an item for each; for any other iterable an iterator, which
                 takes images as it is asked for answers, paths some of them ahead
        raises   NoImages where the one image cannot be read; one of several has a Skipped in its place, with `path`
                 and `reason`. WrongArgument for what is no image at all; BackboneError and its kind
        """
        from promptctl.encoding.images import BATCH, as_item, as_items, is_one, is_sequence

        if is_one(images):
            return self._classifier.answer(_readable(next(self._encoded([as_item(images)]))))
        if is_sequence(images):  # what is no image is refused before any is encoded
            return list(self._answers(list(as_items(images)), BATCH, together))
        return self._answers(as_items(images), BATCH if together else 1, together)

    def encode(self, images: AnImage | Iterable[AnImage]) -> NDArray[np.float32]:
        """Features of images, for `predict_proba` and whatever else.

        images   as in `classify`, one or several
        returns  (N, E) unit rows
        raises   NoImages for the first that cannot be read, WrongArgument, BackboneError and its kind
        """
        import numpy as np

        from promptctl.encoding.images import as_item, as_items, is_one

        items = [as_item(images)] if is_one(images) else list(as_items(images))
        vectors = [_readable(item).vector for item in self._encoded(items)]
        return np.array(vectors, np.float32).reshape(-1, self.context.card.backbone.joint_width)

    def evaluate(
        self,
        photos: str | os.PathLike[str],
        *,
        split: str | None = None,
        path_column: str | None = None,
        label_column: str | None = None,
        split_column: str | None = None,
        unknown: str | os.PathLike[str] | None = None,
        together: bool = False,
    ) -> EvaluateReport:
        """How good it is on labelled photos, beside zero-shot on the same photos.

        photos   folder of class folders, with or without train/ val/ test/; or a list of images
        split    train, val, test or all; None: test, or else val, or else all
        path_column, label_column, split_column  what the columns of a list are called, where not as usual
        unknown  folder of photos that show none of the classes, to measure how well they are told from the others
        together  the images are answered together, each with the help of the others
        returns  a report: `learned.top1`, `zero_shot.top1`, `per_class` …; all of them fractions
        raises   DatasetError and its kind, BackboneError and its kind
        """
        from promptctl.commands.evaluate import evaluate

        return evaluate(
            self.name,
            photos,
            split=split,
            path_column=path_column,
            label_column=label_column,
            split_column=split_column,
            unknown=unknown,
            together=together,
            blend=self.blend,
            model=self._model,
            device=self._device,
            store=self._store,
        )

    # ---------------------------------------------------------------- inside

    def __getstate__(self) -> dict[str, Any]:
        """Without the encoder, which another process loads for itself."""
        return {key: value for key, value in self.__dict__.items() if key != "_encoder"}

    @cached_property
    def _classifier(self) -> Classifier:
        from promptctl.classification.classifier import Classifier

        return replace(Classifier.of(self.context, share=self.blend), gate=self._gate)

    @cached_property
    def _encoder(self) -> ImageEncoder:
        return load_encoder_for(self.context, self.name, self._model, self._device)

    def _encoded(self, images: Iterable[Item], batch: int = 1) -> Iterator[Seen | Skipped]:
        from promptctl.encoding.cache import FeatureCache
        from promptctl.encoding.images import encode_images

        with FeatureCache() as cache:
            yield from encode_images(images, self._encoder, cache, batch=batch)

    def _answers(self, images: Iterable[Item], batch: int, together: bool) -> Iterator[Answer | Skipped]:
        from promptctl.encoding.files import Skipped

        if together:
            from promptctl.classification.together import answers, shots_behind

            yield from answers(self._encoded(images, batch), self._classifier, shots_behind(self.context, self.blend))
            return
        for item in self._encoded(images, batch):
            yield item if isinstance(item, Skipped) else self._classifier.answer(item)

    def _unit_rows(self, features: ArrayLike) -> NDArray[np.float32]:
        import numpy as np

        try:
            rows = np.asarray(features, dtype=np.float64)
        except (TypeError, ValueError, RuntimeError) as error:  # of a tensor on a GPU, or one with a gradient
            raise WrongArgument("features", f"no array of numbers ({error})", "an array (N, E)") from error
        width = self.context.card.backbone.joint_width
        if rows.ndim != 2 or rows.shape[1] != width:
            expected = f"an array (N, {width}) of image features of {self.context.card.backbone.name}"
            raise WrongArgument("features", f"an array {rows.shape}", expected)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if len(odd := np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))):
            raise WrongArgument(f"row {odd[0]} of features", "zero or not finite", "a feature")
        return np.asarray(rows / lengths, dtype=np.float32)


def _readable(item: Seen | Skipped) -> Seen:
    from promptctl.encoding.files import Skipped

    if isinstance(item, Skipped):
        raise NoImages(f"{item.path} cannot be read as an image: {item.reason}", f"ls -l {shlex.quote(str(item.path))}")
    return item
