"""Export: a context as a file of its own, or as a checkpoint of the original CoOp code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import signals
from promptctl.commands.common import check_free, load_backbone_for, locate
from promptctl.commands.places import check_export_name
from promptctl.context.card import read_card
from promptctl.errors import (
    ExportFailed,
    reason_of,
)
from promptctl.report import CheckpointExported, ContextExported
from promptctl.store import files
from promptctl.store.store import Store

if TYPE_CHECKING:
    pass


def export_context(
    ref: str,
    out: Path,
    *,
    shots: bool = True,
    force: bool = False,
    store: Store | None = None,
) -> ContextExported:
    """Write a context to a file of its own, from which any promptctl classifies and imports it.

    shots    False: without the features of the images it was learned from
    raises   WrongOption, NotInStore and its kind, BadContextFile, ExportFailed
    """
    check_export_name(ref, out, store)
    source = locate(ref, store)
    check_free(out, force)
    from promptctl.context.context import Context

    _refuse_inside_store(out, store or Store())
    read_card(source.path)
    data = source.path.read_bytes()
    context = Context.from_bytes(data, source.path)
    if not shots:
        context = context.without_shots()
        data = context.to_bytes()
    _place(out, data, force)
    return ContextExported(source.name, out, len(context.shots), len(data))


def export_checkpoint(
    ref: str, out: Path, *, force: bool = False, model: str | None = None, store: Store | None = None
) -> CheckpointExported:
    """Write a context as a checkpoint that the original CoOp code loads."""
    check_export_name(ref, out, store, coop=True)
    source = locate(ref, store)
    check_free(out, force)
    _refuse_inside_store(out, store or Store())
    from promptctl.context import coop_checkpoint

    context = source.load()
    card, method = context.card, context.card.method
    if not context.vectors.size:
        raise ExportFailed(out, f"{source.name} is {method.learner} and has no context", "leave out --as coop")
    tower = load_backbone_for(context, source.name, model, "cpu").tower
    data = coop_checkpoint.to_bytes(context.vectors, card.classes, tower, epochs=method.epochs)
    _place(out, data, force)
    return CheckpointExported(
        context=source.name,
        path=out,
        classes=card.names,
        context_tokens=method.context_tokens,
        class_specific=method.class_specific,
        position=method.position,
        backbone=card.backbone.name,
        epochs=method.epochs,
        read_otherwise=coop_checkpoint.read_otherwise(card.classes, tower),
        n_bytes=len(data),
    )


def _refuse_inside_store(out: Path, store: Store) -> None:
    """Versions are written once; no export replaces or invents one."""
    inside = store.home.resolve()
    if any((inside / part) in out.resolve().parents for part in ("contexts", "trash")):
        raise ExportFailed(out, "it is inside the store", "name a file elsewhere, or promptctl copy")


def _place(out: Path, data: bytes, force: bool) -> None:
    try:
        with signals.step():
            files.write_atomic(out, data, replace=force)
    except OSError as error:
        raise ExportFailed(out, reason_of(error)) from error
