"""Backbones of contexts: found by fingerprint, without PyTorch where that can be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import __version__
from promptctl.clip.vit import require_image_tokens
from promptctl.context.card import BackboneId
from promptctl.errors import (
    BackboneError,
    BackboneMismatch,
    BadSetting,
    LibraryMissing,
    OtherBackbone,
    WeightsUnavailable,
    WrongArgument,
    WrongOption,
)
from promptctl.progress import OnProgress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.clip.backbone import Backbone
    from promptctl.clip.kept import KeptBackbone
    from promptctl.clip.quick import QuickBackbone
    from promptctl.clip.vocabulary import Vocabulary
    from promptctl.context.context import Context
    from promptctl.encoding.encoder import ImageEncoder


def load_backbone_for(context: Context, name: str, model: str | None, device: str) -> Backbone:
    """The backbone a context was learned on, told by fingerprint; `model` may say where else to find it.

    The name in the context is somebody else's word: only a model that a person typed is fetched.
    """
    expected = context.card.backbone
    named, fetch = model or _where_now(expected), bool(model)
    with library_needed(named):
        from promptctl.clip.registry import ensure_available

        ensure_available(named, fetch=fetch)
        from promptctl.clip.backbone import Backbone

    backbone = Backbone(named, device, fetch=fetch)
    if not _is_same(backbone.id, expected):
        raise BackboneMismatch(name, _id_line(expected), _id_line(backbone.id))
    return backbone


def _where_now(expected: BackboneId) -> str:
    """The name of a backbone; of a folder or file that was moved, as it was named when it was answered with last."""
    from promptctl.clip import kept
    from promptctl.clip.registry import is_local

    found = kept.find(expected.fingerprint) if is_local(expected.name) else None
    return found.id.name if found and is_local(found.id.name) else expected.name


def quick_backbone_for(context: Context, name: str, model: str | None, device: str) -> Backbone | QuickBackbone:
    """The same for learning on, without open_clip where what is kept of it says which it is."""
    from promptctl.clip import kept

    if not context.is_plain:  # what was learned goes into open_clip's own image tower
        return load_backbone_for(context, name, model, device)

    found = kept.find(context.card.backbone.fingerprint)
    if found is not None and model is None and found.id.name == context.card.backbone.name:
        with library_needed(found.id.name):
            from promptctl.clip.quick import backbone_of

            backbone = backbone_of(found.id.name, device, fetch=False)
        if _is_same(backbone.id, context.card.backbone):
            return backbone
    return load_backbone_for(context, name, model, device)


def backbone_to_learn_on(context: Context, ref: str, model: str | None, device: str) -> Backbone | QuickBackbone:
    """The same; OtherBackbone where `model` has other weights than the context was learned on."""
    try:
        return quick_backbone_for(context, ref, model, device)
    except BackboneMismatch as error:
        if model is None:
            raise
        raise OtherBackbone(ref, context.card.backbone.name, model) from error


def check_known(model: str) -> None:
    """What `fetched_backbone` would raise, but for weights that it would download."""
    with library_needed(model), suppress(WeightsUnavailable):
        from promptctl.clip.registry import locate

        locate(model, fetch=False)


def check_same_model(model: str, context: Context, ref: str) -> None:
    """OtherBackbone, before it is loaded, for a name that says so; a folder or file may have been moved."""
    from promptctl.clip import registry

    own = context.card.backbone.name
    if registry.is_local(model):
        check_known(model)
    if registry.parse(model) != registry.parse(own) and not registry.is_local(model) and not Path(model).exists():
        raise OtherBackbone(ref, own, model)


def load_encoder_for(
    context: Context, name: str, model: str | None, device: str, *, with_plain: bool = False
) -> ImageEncoder:
    """The image side of the backbone a context was learned on, without PyTorch where that can be.

    with_plain   zero-shot is asked next, so that plain features known by the same run of the tower are kept
    raises       as `load_backbone_for`
    """
    from promptctl.clip import device as devices
    from promptctl.clip.registry import MINI

    if not context.is_plain:
        encoders = encoders_for(context, load_backbone_for(context, name, model, device))
        return encoders.together if with_plain else encoders.own

    def otherwise() -> ImageEncoder:
        return _load_and_keep(context, name, model, device).encoder

    # of so small a tower the CPU has answered before a GPU is ready
    on_cpu = devices.is_cpu(device) or (device == "auto" and context.card.backbone.name == MINI)
    kept = _kept_for(context, model) if on_cpu else None
    return (kept and kept.encoder(otherwise)) or otherwise()


@dataclass(frozen=True)
class Encoders:
    """What sees photos for a context: what it was learned with, and what zero-shot is asked about, mostly the same."""

    own: ImageEncoder
    plain: ImageEncoder
    together: ImageEncoder  # its own, which knows the plain features by the same run of the tower where that can be

    @property
    def are_one(self) -> bool:
        return self.own.fingerprint == self.plain.fingerprint


def encoders_for(context: Context, backbone: Backbone | QuickBackbone) -> Encoders:
    """With what the context learned in the image tower, and without; one and the same where that is nothing.

    backbone   its own; where something was learned in it, a Backbone
    raises     BackboneError for what was learned in another tower, NoVisualTokens
    """
    if context.is_plain:
        return Encoders(backbone.encoder, backbone.encoder, backbone.encoder)
    from promptctl.clip.backbone import Backbone

    assert isinstance(backbone, Backbone)
    if context.projection is not None:
        from promptctl.clip.projection import encoder_projecting, encoder_with_plain

        own = encoder_projecting(backbone.encoder, context.projection, name=backbone.name)
        return Encoders(own, backbone.encoder, encoder_with_plain(own, backbone.encoder))
    assert context.visual_tokens is not None
    with_tokens = _encoder_with(context.visual_tokens, backbone)
    return Encoders(with_tokens, backbone.encoder, with_tokens)


def _encoder_with(tokens: NDArray[np.float32], backbone: Backbone) -> ImageEncoder:
    from promptctl.clip.image_tower import encoder_with

    try:
        return encoder_with(backbone.encoder, tokens, name=backbone.name)
    except (WrongArgument, BadSetting) as error:  # its file may say what it likes
        depth, _, width = tokens.shape
        found = f"visual tokens of width {width} in {depth} blocks are not for the image tower of '{backbone.name}'"
        raise BackboneError(found, "restore the file from a copy, or learn again") from error


def load_plain_encoder_for(context: Context, name: str, model: str | None, device: str) -> ImageEncoder:
    """The image side in which nothing was learned, which zero-shot is asked about, as in `load_encoder_for`."""
    return load_encoder_for(context.seen_plainly(), name, model, device)


def load_vocabulary_for(context: Context, name: str, model: str | None, device: str) -> Vocabulary:
    """The vocabulary of the backbone a context was learned on, as in `load_encoder_for`."""
    kept = _kept_for(context, model) if device in ("auto", "cpu") else None
    return (kept and kept.vocabulary()) or _load_and_keep(context, name, model, device).vocabulary


@contextmanager
def library_needed(model: str) -> Iterator[None]:
    """BackboneError for a backbone that cannot be loaded because PyTorch or open_clip is not installed."""
    try:
        yield
    except ImportError as error:
        raise LibraryMissing(model, (error.name or "torch").partition(".")[0]) from error


def fetched_backbone(
    model: str, device: str, *, whole: bool = False, takes_tokens: bool = False
) -> Backbone | QuickBackbone:
    """The backbone of a name that somebody typed, downloaded where it is not on this machine.

    whole          a Backbone, whose image tower can be learned in
    takes_tokens   visual tokens are to be learned in it
    raises         BackboneError and its kind; NoVisualTokens before a download, for what takes no tokens
    """
    with library_needed(model):
        from promptctl.clip.registry import described, ensure_available, parse

        if takes_tokens:
            require_image_tokens(model, described(parse(model)) or {})
        ensure_available(model)
        if whole:
            from promptctl.clip.backbone import Backbone

            return Backbone(model, device)
        from promptctl.clip.quick import backbone_of

        return backbone_of(model, device)


def chosen_share(
    asked: float | None,
    context: Context,
    name: str,
    model: str | None,
    device: str,
    on_progress: OnProgress | None,
) -> float:
    """The share that was asked for, or the one folds choose: once per version, which never changes.

    raises   WrongOption for a blend of what photos are asked with something learned in the image tower and without
    """
    if asked != 1 and not context.is_plain:
        own = context.learned_in_tower
        raise WrongOption(
            f"{name} sees photos with its own {own} and zero-shot sees them without, so there is no blend of the two",
            "leave out --blend",
        )
    if asked is not None:
        return asked
    from promptctl.benchmark.results import Results
    from promptctl.classification.blend import CHOOSER, SHARES, share_by_folds

    facts = {"context": context.card.sha256, "chooser": CHOOSER, "by": __version__}
    with Results() as results:
        known = results.get("share", facts)
        if known is not None and known[0] in SHARES:
            return known[0]
        on_fold = partial(on_progress, "blending") if on_progress else None
        share = share_by_folds(context, name, lambda: load_backbone_for(context, name, model, device).tower, on_fold)
        results.put("share", facts, (share,))
    return share


def _kept_for(context: Context, model: str | None) -> KeptBackbone | None:
    """What is kept of the backbone of a context, if a model that a person typed is that one."""
    from promptctl.clip import kept, registry

    found = kept.find(context.card.backbone.fingerprint)
    if found is None or not _is_same(found.id, context.card.backbone):
        return None
    if model and registry.parse(model) != found.id.name:
        with library_needed(model):
            registry.ensure_available(model)
            here = registry.locate(model, fetch=False)
        # one file of weights may be named with several architectures
        is_own = registry.is_own(model) or registry.is_own(found.id.name)
        return found if here.place == found.place and not is_own else None
    return found


def _load_and_keep(context: Context, name: str, model: str | None, device: str) -> Backbone:
    """The backbone, and where this command had to wait for PyTorch, what spares the next one that."""
    has_waited = "torch" not in sys.modules
    backbone = load_backbone_for(context, name, model, device)
    if has_waited:
        from promptctl.clip.keeping import keep

        keep(backbone)
    return backbone


def _is_same(found: BackboneId, expected: BackboneId) -> bool:
    """Whatever they are called."""
    return replace(found, name=expected.name) == expected


def _id_line(backbone: BackboneId) -> str:
    return f"{backbone.name} {backbone.fingerprint[:12]}"
