"""Import: context files, and contexts of the original CoOp code."""

from __future__ import annotations

import contextlib
import json
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import __version__, checks
from promptctl.clip import templates
from promptctl.commands.backbones import library_needed
from promptctl.context.card import KEY, Card, ClassEntry, Method, Shots, check_fits, header_length, read_card
from promptctl.context.limits import POSITIONS
from promptctl.errors import (
    CheckpointMismatch,
    ContextExists,
    CorruptContext,
    DatasetError,
    InvalidName,
    NoSuchFile,
    NotAFile,
    WrongOption,
)
from promptctl.report import CheckpointImported, ContextImported
from promptctl.store.refs import Ref, check_name
from promptctl.store.store import SUFFIX, Store

if TYPE_CHECKING:
    from promptctl.clip.backbone import Backbone
    from promptctl.clip.text_tower import TextTower
    from promptctl.context.context import Context
    from promptctl.context.coop_checkpoint import Checkpoint


def import_context(
    file: str | os.PathLike[str],
    name: str | None = None,
    *,
    position: str | None = None,
    classes: str | os.PathLike[str] | None = None,
    model: str | None = None,
    usual_model: str = "mini",
    device: str = "auto",
    store: Store | None = None,
) -> CheckpointImported | ContextImported:
    """Store a context from a file: one that `export` wrote, or that the original CoOp code learned.

    file          a context file, or a checkpoint of the original, such as model.pth.tar-50
    name          what to call the context; None: what the file is called, a checkpoint of the original needs one
    position      of a checkpoint: where the class name stood, end, middle or front; None: end
    classes       of a checkpoint: a file of class names, one per line, in the order they were learned in; None: read
                  back from the checkpoint
    model         of a checkpoint: the backbone it was learned on
    usual_model   of a checkpoint: the backbone where model is None
    device        auto, cpu, cuda or mps
    store         where to keep it; None: the store of PROMPTCTL_HOME
    raises        BadSetting, WrongOption, InvalidName, ContextExists, NoSuchFile, BadContextFile and its kind, and
                  for a checkpoint what `import_checkpoint` raises
    """
    file, device = checks.path("file", file), checks.one_of("device", device, checks.DEVICES)
    position = None if position is None else checks.one_of("position", position, POSITIONS)
    classes = None if classes is None else checks.path("classes", classes)
    store = store or Store()
    if name is not None:
        check_new(name, store)
    if not file.exists():
        raise NoSuchFile(file)
    if not (file.is_file() or file.is_dir()):
        raise NotAFile(file)
    if not is_context_file(file) or _is_state_dict(file):
        if name is None and file.is_file():
            raise WrongOption(f"{file} does not say what its context is called", f"promptctl import {file} --name NAME")
        return import_checkpoint(
            file,
            name or file.stem,
            position=position or "end",
            classes=classes,
            model=model or usual_model,
            device=device,
            store=store,
        )
    for option, given in (("--position", position), ("--classes", classes), ("--model", model)):
        if given is not None:
            raise WrongOption(
                f"{file} is a context file and already contains what {option} would", f"leave out {option}"
            )
    if name is None:
        name = file.stem
        try:
            check_new(name, store)
        except InvalidName as error:
            raise InvalidName(name, error.reason, suggestion=error.suggestion, option="--name ") from None
    from promptctl.context.context import Context

    read_card(file)  # refuses what is no context before all of it is read
    data = file.read_bytes()
    context = Context.from_bytes(data, file)
    entry = store.save(name, data, new=True)
    return ContextImported(
        context=str(entry.ref),
        path=entry.path,
        source=file,
        classes=context.card.labels,
        backbone=context.card.backbone.name,
        shots=len(context.shots),
        n_bytes=entry.n_bytes,
    )


def is_context_file(file: Path) -> bool:
    """Whether a file starts as safetensors do, or is at least called so."""
    if not file.is_file():
        return False
    if file.suffix == SUFFIX:
        return True
    with file.open("rb") as start:
        return start.read(9)[8:] == b"{"


def _is_state_dict(file: Path) -> bool:
    """Whether a safetensors file is no context of ours, and has a `ctx` as CoOp's state_dict."""
    with file.open("rb") as start, contextlib.suppress(CorruptContext, ValueError, AttributeError, RecursionError):
        length = header_length(start.read(8), file.stat().st_size, file)
        described = json.loads(start.read(length))
        ours = KEY in described.get("__metadata__", {})
        return not ours and any(name.rpartition(".")[2] == "ctx" for name in described)
    return False


def check_new(name: str, store: Store) -> None:
    """InvalidName, or ContextExists where there is one of this name."""
    check_name(name)
    if store.has(name):
        raise ContextExists(store.find(Ref(name)).ref.name, "choose another --name")


def import_checkpoint(
    checkpoint: Path,
    name: str,
    *,
    position: str = "end",
    classes: Path | None = None,
    model: str = "mini",
    device: str = "auto",
    store: Store | None = None,
) -> CheckpointImported:
    """Store a context that the original CoOp code learned.

    position  of the class name, which a checkpoint does not tell
    classes   a file of class names in the checkpoint's order; None: read back from their embeddings
    raises    InvalidName, ContextExists, BadCheckpoint, DatasetError, CheckpointMismatch and other BackboneErrors
    """
    store = store or Store()
    check_new(name, store)
    from promptctl.clip.registry import ensure_available
    from promptctl.context.coop_checkpoint import Checkpoint, position_in_path, read_class_list, retokenised_names

    found = Checkpoint.read(checkpoint)
    listed = read_class_list(classes) if classes else None
    _check_listed(listed, classes, found, checkpoint)
    store.check_writable()
    with library_needed(model):
        ensure_available(model)
        from promptctl.clip.backbone import Backbone

    backbone = Backbone(model, device)
    embedded = _embedded_names(found, checkpoint, backbone)
    labels = _imported_labels(embedded, listed, classes, checkpoint, backbone.tower)
    entries = _class_entries(labels, embedded, backbone.tower)
    check_fits(entries)
    context = _imported(found, entries, position, backbone)
    entry = store.save(name, context.to_bytes(), new=True)
    return CheckpointImported(
        context=str(entry.ref),
        path=entry.path,
        checkpoint=checkpoint,
        classes=labels,
        context_tokens=context.card.method.context_tokens,
        class_specific=found.class_specific,
        position=position,
        path_position=position_in_path(checkpoint),
        backbone=backbone.name,
        backbone_checked=found.names is not None,
        names_listed=listed is not None,
        retokenised_names=retokenised_names(entries, backbone.tower),
        n_bytes=entry.n_bytes,
        next=(f"promptctl evaluate {entry.ref.name} TEST-FOLDER", f"promptctl inspect {entry.ref.name}"),
    )


def _check_listed(listed: tuple[str, ...] | None, classes: Path | None, found: Checkpoint, checkpoint: Path) -> None:
    """DatasetError where the list, as far as can be told without the backbone, is not the checkpoint's."""
    if listed is None:
        if found.names is None:
            raise DatasetError(
                f"{checkpoint} does not say what its classes are called",
                "--classes names.txt, one name per line, in the order they were learned in",
            )
    elif found.classes not in (None, len(listed)):
        raise DatasetError(
            f"{classes} names {len(listed)} classes, {checkpoint} holds {found.classes}",
            "one name per line, in the order they were learned in",
        )


def _embedded_names(found: Checkpoint, checkpoint: Path, backbone: Backbone) -> list[list[int]] | None:
    """Tokens of the class names as far as they are in the file; CheckpointMismatch on a backbone it is not for."""
    from promptctl.context.coop_checkpoint import ORIGINAL_BACKBONES

    width, reason = found.vectors.shape[-1], None
    embedded = None
    if not backbone.tower.is_clips:
        reason = "that model's text tower is not CLIP's, the only one that CoOp knows"
    elif width != backbone.tower.width:
        reason = f"its vectors have width {width}, that model's tokens {backbone.tower.width}"
    elif found.names is not None:
        embedded = found.names.tokens(backbone.tower)
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
    from promptctl.context.coop_checkpoint import tokenised_apart, tokenised_together
    from promptctl.data.names import readable

    read = [tower.read(tokens).removesuffix(".").strip() for tokens in embedded]
    if listed is None:
        return _unlike(read, checkpoint)
    for line, (label, tokens) in enumerate(zip(listed, embedded, strict=True), 1):
        # our own exports may have the full stop apart
        if tokens not in (tokenised_together(readable(label), tower), tokenised_apart(readable(label), tower)):
            raise DatasetError(
                f"{classes} says '{label}' in line {line}, {checkpoint} has '{read[line - 1]}' there",
                "the names stand in the order they were learned in; without --classes they are read back",
            )
    return listed


def _unlike(labels: Sequence[str], checkpoint: Path) -> tuple[str, ...]:
    known: set[str] = set()
    for number, label in enumerate(labels, 1):
        if not label or any(unicodedata.category(letter) == "Cc" for letter in label):
            raise DatasetError(f"{checkpoint} gives class {number} the name {label!r}, which is not a name")
        if label in known:
            hint = "capitals tell them apart, one name per line in the order they were learned in"
            raise DatasetError(f"{checkpoint} calls two classes '{label}'", f"--classes names.txt, where {hint}")
        known.add(label)
    return tuple(labels)


def _imported(found: Checkpoint, entries: tuple[ClassEntry, ...], position: str, backbone: Backbone) -> Context:
    import torch

    from promptctl.context.context import Context, ShotTable

    tower, tokens = backbone.tower, found.vectors.shape[-2]
    vectors = torch.from_numpy(found.vectors).to(tower.token_table.device)
    prompts = tower.prompts(entries, tokens, position=position, shared=not found.class_specific)
    with torch.no_grad():
        texts = torch.nn.functional.normalize(tower.encode(vectors, prompts), dim=-1)
    joint = backbone.id.joint_width
    no_shots = ShotTable.empty(joint)
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
        zero_shot_template=templates.DEFAULT,
        logit_scale=backbone.logit_scale,
        written_by=f"promptctl {__version__}",
    )
    zero_shot_features = templates.text_features(tower, [entry.name for entry in entries])
    return Context(card, found.vectors, texts.float().cpu().numpy(), zero_shot_features, no_shots)


def _class_entries(
    labels: Sequence[str], embedded: Sequence[Sequence[int]] | None, tower: TextTower
) -> tuple[ClassEntry, ...]:
    """The classes of a checkpoint, with the tokens in the file, or in those the original makes of their names."""
    from promptctl.context.coop_checkpoint import tokenised_apart, tokenised_together
    from promptctl.data.names import readable

    entries = []
    for id, label in enumerate(labels):
        if not readable(label):
            raise DatasetError(
                f"class {id + 1} is called '{label}', which is not a name", "give it another in --classes"
            )
        name, folder = readable(label), label.replace(" ", "_")  # the images, if any, may lie in such a folder
        tokens = tokenised_together(name, tower) if embedded is None else list(embedded[id])
        own = () if tokens == tokenised_apart(name, tower) else tuple(tokens)
        entries.append(ClassEntry(id, label, name, (folder,) if folder != label else (), own))
    return tuple(entries)
