"""Import and export: contexts of the original CoOp code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import __version__, zero_shot
from promptctl.api.common import check_free, own_backbone
from promptctl.card import Card, ClassEntry, Method, Shots
from promptctl.errors import CheckpointMismatch, ContextExists, DatasetError, ExportFailed, reason_of
from promptctl.refs import Ref, check_name
from promptctl.report import ExportReport, ImportReport
from promptctl.store import Store

if TYPE_CHECKING:
    from promptctl.backbone import Backbone
    from promptctl.checkpoint import Checkpoint
    from promptctl.context import Context
    from promptctl.text import TextTower


def import_context(
    checkpoint: Path,
    name: str,
    *,
    position: str = "end",
    classes: Path | None = None,
    model: str = "mini",
    device: str = "auto",
    store: Store | None = None,
) -> ImportReport:
    """Store a context that the original CoOp code learned.

    position  of the class name, which a checkpoint does not tell
    classes   a file of class names in the checkpoint's order; None: read back from their embeddings
    raises    InvalidName, ContextExists, BadCheckpoint, DatasetError, CheckpointMismatch and other BackboneErrors
    """
    store = store or Store()
    check_name(name)
    if store.has(name):
        raise ContextExists(store.find(Ref(name)).ref.name, "choose another --name")
    from promptctl.checkpoint import Checkpoint, position_in_path, read_class_list, read_otherwise
    from promptctl.models import refuse_if_hopeless

    found = Checkpoint.read(checkpoint)
    listed = read_class_list(classes) if classes else None
    _check_listed(listed, classes, found, checkpoint)
    store.check_writable()
    refuse_if_hopeless(model)
    from promptctl.backbone import Backbone

    backbone = Backbone(model, device)
    embedded = _embedded_names(found, checkpoint, backbone)
    labels = _imported_labels(embedded, listed, classes, checkpoint, backbone.tower)
    context = _imported(found, labels, position, backbone)
    entry = store.save(name, context.to_bytes(), new=True)
    return ImportReport(
        context=str(entry.ref),
        path=entry.path,
        checkpoint=checkpoint,
        classes=labels,
        context_tokens=context.card.method.context_tokens,
        class_specific=found.class_specific,
        position=position,
        folder_says=position_in_path(checkpoint),
        backbone=backbone.name,
        backbone_checked=found.suffix is not None,
        names_listed=listed is not None,
        read_otherwise=read_otherwise(context.card.names, backbone.tower),
        n_bytes=entry.n_bytes,
        next=(f"promptctl evaluate {entry.ref.name} TEST-FOLDER", f"promptctl inspect {entry.ref.name}"),
    )


def export_context(
    ref: str, out: Path, *, force: bool = False, model: str | None = None, store: Store | None = None
) -> ExportReport:
    """Write a context as a checkpoint that the original CoOp code loads."""
    entry = (store or Store()).find(Ref.parse(ref))
    check_free(out, force)
    from promptctl import checkpoint, files
    from promptctl.context import Context

    context = Context.load(entry.path)
    if not context.vectors.size:
        raise ExportFailed(out, f"{entry.ref} is {context.card.method.learner} and has no context")
    card, method = context.card, context.card.method
    tower = own_backbone(context, entry, model, "cpu").tower
    data = checkpoint.to_bytes(context.vectors, card.names, tower, epochs=method.epochs)
    try:
        files.place(out, data, replace=force)
    except OSError as error:
        raise ExportFailed(out, reason_of(error)) from error
    return ExportReport(
        context=str(entry.ref),
        path=out,
        classes=card.names,
        context_tokens=method.context_tokens,
        class_specific=method.class_specific,
        position=method.position,
        backbone=card.backbone.name,
        epochs=method.epochs,
        read_otherwise=checkpoint.read_otherwise(card.names, tower),
        n_bytes=len(data),
    )


def _check_listed(listed: tuple[str, ...] | None, classes: Path | None, found: Checkpoint, checkpoint: Path) -> None:
    """DatasetError where the list, as far as can be told without the backbone, is not the checkpoint's."""
    if listed is None:
        if found.suffix is None:
            raise DatasetError(
                f"{checkpoint} does not say what its classes are called",
                "--classes names.txt, one name a line, in the order they were learned in",
            )
    elif found.classes not in (None, len(listed)):
        raise DatasetError(
            f"{classes} names {len(listed)} classes, {checkpoint} holds {found.classes}",
            "one name a line, in the order they were learned in",
        )


def _embedded_names(found: Checkpoint, checkpoint: Path, backbone: Backbone) -> list[list[int]] | None:
    """Tokens of the class names as far as they are in the file; CheckpointMismatch on a backbone it is not for."""
    from promptctl.checkpoint import ORIGINAL_BACKBONES

    width, reason = found.vectors.shape[-1], None
    embedded = None
    if width != backbone.tower.width:
        reason = f"its vectors have width {width}, that model's tokens {backbone.tower.width}"
    elif found.suffix is not None:
        embedded = found.class_tokens(backbone.tower)
        reason = None if embedded else "its class names are not embedded in that model's tokens"
    if reason:
        others = [other for other in ORIGINAL_BACKBONES.get(width, ()) if other != backbone.name]
        raise CheckpointMismatch(checkpoint, backbone.name, reason, others=others)
    return embedded


def _imported_labels(
    embedded: Sequence[Sequence[int]] | None,
    listed: tuple[str, ...] | None,
    classes: Path | None,
    checkpoint: Path,
    tower: TextTower,
) -> tuple[str, ...]:
    """The class names listed, checked against those embedded in the file, or these."""
    if embedded is None:
        return listed or ()
    from promptctl.checkpoint import joined
    from promptctl.images import readable

    read = [tower.read(tokens).removesuffix(".").strip() for tokens in embedded]
    if listed is None:
        return _unlike(read, checkpoint)
    for line, (label, tokens) in enumerate(zip(listed, embedded, strict=True), 1):
        if joined(readable(label), tower) != tokens:
            raise DatasetError(
                f"{classes} says '{label}' in line {line}, {checkpoint} has '{read[line - 1]}' there",
                "the names stand in the order they were learned in; without --classes they are read back",
            )
    return listed


def _unlike(labels: Sequence[str], checkpoint: Path) -> tuple[str, ...]:
    twice = next((label for i, label in enumerate(labels) if label in labels[:i]), None)
    if twice is not None:
        raise DatasetError(
            f"{checkpoint} calls two classes '{twice}'",
            "--classes names.txt, where capitals tell them apart, one name a line in the order they were learned in",
        )
    return tuple(labels)


def _imported(found: Checkpoint, labels: Sequence[str], position: str, backbone: Backbone) -> Context:
    import numpy as np
    import torch

    from promptctl.context import Context, ShotTable

    entries = tuple(_class_entry(i, label) for i, label in enumerate(labels))
    names = [entry.name for entry in entries]
    tower, tokens = backbone.tower, found.vectors.shape[-2]
    vectors = torch.from_numpy(found.vectors).to(tower.token_table.device)
    prompts = tower.prompts(names, tokens, position=position, shared=not found.class_specific)
    with torch.no_grad():
        texts = torch.nn.functional.normalize(tower.encode(vectors, prompts), dim=-1)
    joint = backbone.id.joint_width
    no_shots = ShotTable(
        np.empty((0, joint), np.float16), np.empty(0, np.int32), np.empty((0, 32), np.uint8), np.empty(0, np.uint8)
    )
    card = Card(
        backbone=backbone.id,
        classes=entries,
        method=Method(
            learner="coop",
            context_tokens=tokens,
            init=None,
            class_specific=found.class_specific,
            position=position,
            epochs=found.epochs,
            lr=0.0,
            seed=0,
            steps=0,
        ),
        shots=Shots(None, 0, 0),
        zero_shot_template=zero_shot.DEFAULT,
        logit_scale=backbone.logit_scale,
        written_by=f"promptctl {__version__}",
    )
    by_hand = zero_shot.text_features(tower, names)
    return Context(card, found.vectors, texts.float().cpu().numpy(), by_hand, no_shots)


def _class_entry(id: int, label: str) -> ClassEntry:
    """A class that was imported: its images, if any, may lie in a folder with underscores."""
    from promptctl.images import readable

    folder = label.replace(" ", "_")
    return ClassEntry(id, label, readable(label), (folder,) if folder != label else ())
