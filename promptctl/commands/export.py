"""Export: a context as a file of its own, a checkpoint of the original CoOp code, a zero-shot head or an ONNX model."""

from __future__ import annotations

import os
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptctl import checks
from promptctl.commands.backbones import chosen_share, encoders_for, load_backbone_for
from promptctl.commands.places import EXPORTS, check_export_name
from promptctl.commands.sources import Source, locate
from promptctl.commands.writing import check_free, place_file, refuse_inside_store
from promptctl.context.card import read_card
from promptctl.errors import ExportFailed, ExtraMissing, WrongOption
from promptctl.learners import LEARNERS
from promptctl.report import CheckpointExported, ContextExported, HeadExported, OnnxExported
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.classification.head import Head
    from promptctl.context.context import Context

Exported = ContextExported | CheckpointExported | HeadExported | OnnxExported


def export(
    ref: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    kind: str = "context",
    shots: bool = True,
    prototypes: bool = False,
    blend: float | None = 1.0,
    force: bool = False,
    model: str | None = None,
    store: Store | None = None,
) -> Exported:
    """Write a context to a file: whole or not at all.

    ref      NAME, NAME@VERSION or a context file
    out      the file; it ends as its kind does, or has no suffix
    kind     context: a file from which any promptctl classifies and imports it;
             coop: a checkpoint that the original CoOp code loads;
             head: a plain (C, E) matrix and a bias for open_clip or any linear layer, safetensors;
             onnx: image tower, normalisation and head in one graph, pixels in, probabilities out
    shots    of a context file, False: without the features of the images it was learned from
    prototypes   of a context file: a mean and a variance per class in place of those features
    blend    of head and onnx: share of the learned text features, 0 to 1, the rest zero-shot's; None: chosen by folds
    force    replace the file if it is there
    model    where to find the context's own backbone, if not under the name it was learned with
    store    where names are looked up; None: the store of PROMPTCTL_HOME
    raises   BadSetting, WrongOption, NotInStore and its kind, BadContextFile, BackboneError and its kind, ExportFailed,
             ExtraMissing where onnx is not installed
    """
    out, blend, model = checks.path("out", out), checks.share(blend), checks.model(model)
    _check_settings(kind, blend, model)
    if prototypes and (kind != "context" or not shots):
        raise WrongOption("prototypes are for a context file, in place of its shots", "leave out --prototypes-only")
    check_export_name(ref, out, store, kind)
    source = locate(ref, store)
    check_free(out, force)
    refuse_inside_store(out, store or Store(), "name a file elsewhere, or promptctl copy")
    if kind == "onnx":
        _require_onnx()
    read_card(source.path)
    if kind == "context":
        return _export_context(source, out, shots, prototypes, force)
    if kind == "coop":
        return _export_checkpoint(source, out, model, force)
    context = source.load()
    share = chosen_share(blend, context, source.name, model, "cpu", None)
    from promptctl.classification.head import Head

    head = Head.of(context, source.name, share=share)
    if kind == "head":
        if not context.is_plain:
            _say_what_a_head_needs(context)
        return _export_head(head, out, force)
    return _export_onnx(head, context, out, model, force)


def _check_settings(kind: str, blend: float | None, model: str | None) -> None:
    if kind not in EXPORTS:
        raise WrongOption(f"nothing is exported as '{kind}'", f"--as {', '.join(EXPORTS)}")
    if blend != 1 and kind not in ("head", "onnx"):
        what = EXPORTS[kind].what
        raise WrongOption(f"{what} is written without a blend", "leave out --blend, or --as head or onnx")
    if model and (kind == "context" or (kind == "head" and blend is not None)):
        raise WrongOption(f"{EXPORTS[kind].what} is written without its backbone", "leave out --model")


def _export_context(source: Source, out: Path, shots: bool, prototypes: bool, force: bool) -> ContextExported:
    from promptctl.context.context import Context

    data = source.path.read_bytes()
    context = Context.from_bytes(data, source.path)
    if prototypes or not shots:
        say_what_a_head_tells(context)
        context = context.with_prototypes_only() if prototypes else context.without_shots()
        data = context.to_bytes()
    place_file(out, data, force)
    kept = context.prototypes
    known = 0 if kept is None else int((kept.count > 0).sum())
    return ContextExported(source.name, out, len(context.shots), known, len(data))


def say_what_a_head_tells(context: Context) -> None:
    """A row of a head that was fitted to hardly any photo is nearly that photo's own."""
    from promptctl.context.prototypes import FEWEST
    from promptctl.data import remarks

    counts = Counter(context.learned_from()[1].tolist())
    few = [entry.label for row, entry in enumerate(context.card.classes) if 0 < counts[row] < FEWEST]
    if context.head is not None and few:
        heeds = LEARNERS[context.card.method.learner].heeds
        without = "--no-head" if "head" in heeds else "--learner coop --no-head"
        remarks.say([remarks.head_of_few(few, FEWEST, without)])


def _export_checkpoint(source: Source, out: Path, model: str | None, force: bool) -> CheckpointExported:
    from promptctl.context import coop_checkpoint

    context = source.load()
    card, method = context.card, context.card.method
    if not context.vectors.size:
        raise ExportFailed(
            out, f"{source.name} was learned with {method.learner} and has no context", "leave out --as coop"
        )
    if context.visual_tokens is not None:
        reason = f"{source.name} has visual tokens, which no checkpoint of CoOp holds, and answers with both"
        raise ExportFailed(out, reason, "leave out --as coop, for a file that any promptctl reads")
    tower = load_backbone_for(context, source.name, model, "cpu").tower
    if not tower.is_clips:
        reason = f"the text tower of '{card.backbone.name}' is not CLIP's, the only one that CoOp knows"
        raise ExportFailed(out, reason, "--as context or --as head")
    data = coop_checkpoint.to_bytes(context.vectors, card.classes, tower, epochs=method.epochs)
    place_file(out, data, force)
    return CheckpointExported(
        context=source.name,
        path=out,
        classes=card.names,
        context_tokens=method.context_tokens,
        class_specific=method.class_specific,
        position=method.position,
        backbone=card.backbone.name,
        epochs=method.epochs,
        retokenised_names=coop_checkpoint.retokenised_names(card.classes, tower),
        n_bytes=len(data),
    )


def _say_what_a_head_needs(context: Context) -> None:
    from promptctl.data import remarks

    name, learned = context.card.backbone.name, context.learned_in_tower
    remarks.say([f"the head fits features of {name} with the {learned} of this context; {name} alone gives others"])


def _export_head(head: Head, out: Path, force: bool) -> HeadExported:
    data = head.to_bytes()
    place_file(out, data, force)
    rows_of, width = "head" if head.is_fitted else "text features", head.weight.shape[1]
    return HeadExported(head.context, out, head.names, rows_of, width, head.blend, head.backbone.name, len(data))


def _export_onnx(head: Head, context: Context, out: Path, model: str | None, force: bool) -> OnnxExported:
    backbone = load_backbone_for(context, head.context, model, "cpu")
    from promptctl.classification import onnx
    from promptctl.clip.registry import first_line
    from promptctl.encoding.torch import TorchEncoder

    encoder, size = encoders_for(context, backbone).own, backbone.encoder.size
    assert isinstance(encoder, TorchEncoder)
    if onnx.n_bytes(backbone.visual) > onnx.LARGEST:
        raise ExportFailed(out, f"the image tower of '{backbone.name}' is larger than the 2 GB of an ONNX file")
    visual: Any = encoder.visual
    if not context.is_plain:
        visual.preprocess_cfg = backbone.preprocess_settings
    try:
        data = onnx.to_bytes(visual, head, size)
    except Exception as error:  # whatever the exporter makes of an operation it does not know
        reason = f"the image tower of '{backbone.name}' cannot be translated ({first_line(error)})"
        raise ExportFailed(out, reason, "--as head, for the backbone in open_clip") from error
    place_file(out, data, force)
    return OnnxExported(head.context, out, head.names, size, head.blend, head.backbone.name, len(data))


def _require_onnx() -> None:
    for library in ("onnx", "onnxscript"):
        if find_spec(library) is None:
            raise ExtraMissing("an ONNX model", library, "onnx")
