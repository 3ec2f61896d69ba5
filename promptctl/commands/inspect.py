"""Inspect: the vocabulary tokens nearest to each learned vector."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.backbones import load_vocabulary_for
from promptctl.commands.sources import locate
from promptctl.report import (
    InspectReport,
    NearWordRow,
    VectorReport,
)
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.clip.vocabulary import NearWord


def inspect(
    ref: str | PathLike[str],
    *,
    top: int = 5,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
) -> InspectReport:
    """What a context is, and the vocabulary tokens nearest to each of its vectors.

    ref      NAME, NAME@VERSION or a context file
    top      tokens per vector, from 1
    model    where to find the context's own backbone, if not under the name it was learned with
    device   auto, cpu, cuda or mps
    store    where names are looked up; None: the store of PROMPTCTL_HOME
    raises   BadSetting, NotInStore and BadContextFile and their kinds, BackboneError and its kind
    """
    top = checks.whole("top", top, 1, checks.MOST, 5)
    model, device = checks.model(model), checks.one_of("device", device, checks.DEVICES)
    source = locate(ref, store)
    from promptctl.clip import vocabulary

    context = source.load()
    words = load_vocabulary_for(context, source.name, model, device)
    flat = context.vectors.reshape(-1, context.vectors.shape[-1])
    near = vocabulary.nearest(flat, words, k=top)
    tokens = context.card.method.context_tokens
    names: Sequence[str | None] = context.card.names if context.card.method.class_specific else (None,)
    vectors = tuple(
        VectorReport(
            names[row // tokens], row % tokens + 1, float((vector @ vector) ** 0.5), _words(by_l2), _words(by_cosine)
        )
        for row, (vector, by_l2, by_cosine) in enumerate(zip(flat, *near.values(), strict=True))
    )
    return InspectReport(source.name, context.card, source.path.stat().st_size, source.path, vectors)


def _words(near: Sequence[NearWord]) -> tuple[NearWordRow, ...]:
    return tuple(NearWordRow(word.word, word.euclidean, word.cosine) for word in near)
