"""Answers: photos as features, and what a context or words say of them, for every command that acts on it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl.commands.backbones import chosen_share, load_encoder_for
from promptctl.progress import OnProgress

if TYPE_CHECKING:
    from promptctl.classification.classifier import Answer, Classifier
    from promptctl.context.context import Context
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.encoding.files import Skipped
    from promptctl.encoding.pipeline import Encoded


@dataclass(frozen=True, eq=False)
class Answering:
    """What photos are answered by."""

    context: str | None  # None: words
    classifier: Classifier
    encoder: ImageEncoder

    def answers(self, photos: Sequence[str], on_progress: OnProgress | None) -> Iterator[Answer | Skipped]:
        """What every photo shows, in the order of the paths and as soon as it is known, and what is passed over."""
        return self.of(encoded(photos, self.encoder, on_progress))

    def of(self, images: Iterator[Encoded | Skipped]) -> Iterator[Answer | Skipped]:
        """What images show that are encoded as they are taken, each in its place, and what is passed over."""
        from promptctl.encoding.files import Skipped

        for image in images:
            yield image if isinstance(image, Skipped) else self.classifier.answer(image)


def answered(
    answerings: Sequence[Answering], photos: Sequence[str], on_progress: OnProgress | None
) -> Iterator[tuple[Answer, ...] | Skipped]:
    """What every photo shows by each of several contexts of one backbone, which encodes it once; as `answers`."""
    from promptctl.encoding.files import Skipped

    with closing(encoded(photos, answerings[0].encoder, on_progress)) as images:
        shared = tee(images, len(answerings))
        for found in zip(*(one.of(some) for one, some in zip(answerings, shared, strict=True)), strict=True):
            skipped = next((one for one in found if isinstance(one, Skipped)), None)
            yield skipped or tuple(one for one in found if not isinstance(one, Skipped))


def encoded(
    photos: Sequence[str], encoder: ImageEncoder, on_progress: OnProgress | None
) -> Generator[Encoded | Skipped, None, None]:
    """Photos as an encoder sees them, in the order of the paths, and what is passed over."""
    from promptctl.encoding.cache import FeatureCache
    from promptctl.encoding.pipeline import stream

    total = len(photos)
    on_done = (lambda done: on_progress("encoding", done, total)) if on_progress else None
    with FeatureCache() as cache:
        yield from stream(map(Path, photos), encoder, cache, on_done)


def answering_by_context(
    context: Context,
    name: str,
    blend: float | None,
    model: str | None,
    device: str,
    on_progress: OnProgress | None,
    *,
    encoder: ImageEncoder | None = None,
) -> Answering:
    """A context in use, and what it is called; the other arguments and errors as in `classify`.

    encoder   where it is loaded already
    """
    from promptctl.classification.classifier import Classifier

    encoder = encoder or load_encoder_for(context, name, model, device)
    share = chosen_share(blend, context, name, model, device, on_progress)
    return Answering(name, Classifier.of(context, share=share), encoder)
