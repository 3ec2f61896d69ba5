"""Answers: photos as features, and what a context or words say of them, for every command that acts on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice, tee
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
        return self.of(encoded(photos, self.encoder, on_progress, len(photos)))

    def of(self, images: Iterator[Encoded | Skipped]) -> Iterator[Answer | Skipped]:
        """What images show that are encoded as they are taken, each in its place, and what is passed over."""
        from promptctl.encoding.files import Skipped

        for image in images:
            yield image if isinstance(image, Skipped) else self.classifier.answer(image)


def answered(
    answerings: Sequence[Answering],
    photos: Sequence[str],
    on_progress: OnProgress | None,
    *,
    burst: float | None = None,
) -> Iterator[tuple[Answer, ...] | Skipped]:
    """What every photo shows by each of several contexts of one backbone, which encodes it once; as `answers`.

    burst   seconds between photos of one folder that are answered as one; None: each by itself. Photos then come
            folder by folder, those of a burst together
    """
    if burst is None:
        return _answered(answerings, photos, len(photos), on_progress)
    return _in_bursts(answerings, photos, burst, on_progress)


def _answered(
    answerings: Sequence[Answering], photos: Iterable[str], total: int, on_progress: OnProgress | None
) -> Generator[tuple[Answer, ...] | Skipped, None, None]:
    from promptctl.encoding.files import Skipped

    with closing(encoded(photos, answerings[0].encoder, on_progress, total)) as images:
        shared = tee(images, len(answerings))
        for found in zip(*(one.of(some) for one, some in zip(answerings, shared, strict=True)), strict=True):
            skipped = next((one for one in found if isinstance(one, Skipped)), None)
            yield skipped or tuple(one for one in found if not isinstance(one, Skipped))


def _in_bursts(
    answerings: Sequence[Answering], photos: Sequence[str], gap: float, on_progress: OnProgress | None
) -> Iterator[tuple[Answer, ...] | Skipped]:
    from promptctl.data.bursts import bursts_of

    sizes: deque[int] = deque()  # of the bursts that are being encoded

    def in_order() -> Iterator[str]:
        for burst in bursts_of(photos, gap, partial(on_progress, "reading times") if on_progress else None):
            sizes.append(len(burst))
            yield from burst

    with closing(_answered(answerings, in_order(), len(photos), on_progress)) as answers:
        for first in answers:
            yield from _as_one(answerings, [first, *islice(answers, sizes.popleft() - 1)])


def _as_one(
    answerings: Sequence[Answering], burst: Sequence[tuple[Answer, ...] | Skipped]
) -> Iterator[tuple[Answer, ...] | Skipped]:
    """A burst answered as one by each context; what is passed over stays in its place."""
    from promptctl.classification.bursts import as_one

    told = zip(*(one for one in burst if isinstance(one, tuple)), strict=True)
    whole = zip(*(as_one(some, by.classifier.gate) for by, some in zip(answerings, told, strict=False)), strict=True)
    return (next(whole) if isinstance(one, tuple) else one for one in burst)


def encoded(
    photos: Iterable[str], encoder: ImageEncoder, on_progress: OnProgress | None, total: int
) -> Generator[Encoded | Skipped, None, None]:
    """Photos as an encoder sees them, in the order of the paths, and what is passed over."""
    from promptctl.encoding.cache import FeatureCache
    from promptctl.encoding.pipeline import stream

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
