"""Projection: the linear layer that an image tower ends in, found, read, left out and replaced.

It is a parameter of open_clip's own ViT, the last layer of a ModifiedResNet's pooling by attention, and in a tower of
timm's a linear layer of the adapter's head or the trunk's own classifier. SigLIP's towers end in none, and heads of two
layers are left alone. A tower is never changed: its twin shares all weights but those that are other.

What comes before the projection is kept in unit rows, as all features are, that do not lose its length: (x, 1) divided
by its norm. So written a bias is a row of the projection like others, and what both give has the direction of x P + b.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from promptctl.context.card import fingerprint_with
from promptctl.errors import BackboneError

if TYPE_CHECKING:
    from PIL import Image

    from promptctl.encoding.torch import TorchEncoder

Rows = NDArray[np.float32]

_VIT = "open_clip.transformer.VisionTransformer"
_RESNET = "open_clip.modified_resnet.ModifiedResNet"
_TIMM = "open_clip.timm_model.TimmModel"
_POOLED = "promptctl.clip.backbone.Pooled"  # a tower inside of another module


@dataclass(frozen=True, eq=False)
class Projection:
    """x P + b at the end of an image tower."""

    weight: Rows  # (D, E)
    bias: Rows  # (E,), zeros where there is none

    def of(self, rows: Rows) -> Rows:
        """(N, E) unit rows of (N, D + 1) rows from before it."""
        features = rows @ np.concatenate([self.weight, self.bias[None]])
        return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True), np.float32)


def before_of(rows: Rows) -> Rows:
    """(N, D) the features themselves, of (N, D + 1) unit rows of them."""
    return rows[:, :-1] / rows[:, -1:]


def projection_of(visual: torch.nn.Module) -> Projection | None:
    """What an image tower ends in; None for one that ends in no linear layer."""
    path = _path(visual)
    if path is None:
        return None
    last = _at(visual, path)
    if isinstance(last, torch.nn.Linear):
        bias = torch.zeros(last.out_features) if last.bias is None else last.bias
        return Projection(_numbers(last.weight.T), _numbers(bias))
    return Projection(_numbers(last), np.zeros(last.shape[1], np.float32))


def encoder_before(encoder: TorchEncoder) -> TorchEncoder:
    """Of a tower that ends in a projection what comes before it, as (N, D + 1) unit rows, under a name of its own."""
    found = projection_of(encoder.visual)
    assert found is not None
    fingerprint = hashlib.sha256(f"{encoder.fingerprint}:before the projection".encode()).hexdigest()
    tower = _Before(_with_last(encoder.visual, None))
    return replace(encoder, visual=tower, width=len(found.weight) + 1, fingerprint=fingerprint)


def encoder_projecting(encoder: TorchEncoder, weight: Rows, *, name: str = "this model") -> TorchEncoder:
    """A backbone's encoder with another projection (D, E); its fingerprint is of both.

    raises   BackboneError for a tower that ends in no linear layer, or in one of another shape
    """
    own = projection_of(encoder.visual)
    if own is None or own.weight.shape != weight.shape:
        ends = "none" if own is None else _shape(own.weight)
        found = f"a projection of {_shape(weight)} is not for the image tower of '{name}', which ends in {ends}"
        raise BackboneError(found, "restore the file from a copy, or learn again")
    tower = _with_last(encoder.visual, torch.from_numpy(weight.astype("float32")).to(encoder.device))
    return replace(encoder, visual=tower, fingerprint=fingerprint_with(encoder.fingerprint, weight, "image_projection"))


@dataclass(frozen=True, eq=False)
class SharedTower:
    """An encoder of features behind a projection; by the same run of the tower it knows others of the same pictures."""

    before: TorchEncoder  # of `encoder_before`
    own: tuple[str, Projection]  # fingerprint of the features behind it
    others: Mapping[str, Projection | None]  # likewise; None: the rows before any

    @property
    def fingerprint(self) -> str:
        return self.own[0]

    @property
    def width(self) -> int:
        return int(self.own[1].weight.shape[1])

    @property
    def size(self) -> int:
        return self.before.size

    def preprocess(self, picture: Image.Image) -> NDArray[np.float32]:
        """As the tower's own encoder."""
        return self.before.preprocess(picture)

    def encode(self, pixels: NDArray[np.float32]) -> Rows:
        """(N, E) unit rows of (N, 3, S, S)"""
        return self.own[1].of(self.before.encode(pixels))

    def encode_with_others(self, pixels: NDArray[np.float32]) -> dict[str, Rows]:
        """Fingerprint → unit rows of (N, 3, S, S), its own first."""
        rows = self.before.encode(pixels)
        every = {self.own[0]: self.own[1], **self.others}
        return {name: rows if projection is None else projection.of(rows) for name, projection in every.items()}


def encoder_with_before(encoder: TorchEncoder) -> SharedTower | TorchEncoder:
    """A tower's own encoder that knows what comes before the projection too; itself where it ends in none."""
    own = projection_of(encoder.visual)
    if own is None:
        return encoder
    before = encoder_before(encoder)
    return SharedTower(before, (encoder.fingerprint, own), {before.fingerprint: None})


def encoder_with_plain(own: TorchEncoder, plain: TorchEncoder) -> SharedTower:
    """What `encoder_projecting` made of a plain encoder, that knows the features of this one too."""
    of_own, of_plain = projection_of(own.visual), projection_of(plain.visual)
    assert of_own is not None
    return SharedTower(encoder_before(plain), (own.fingerprint, of_own), {plain.fingerprint: of_plain})


class _Before(torch.nn.Module):
    """A tower without its projection, and a one behind its features."""

    def __init__(self, tower: torch.nn.Module) -> None:
        super().__init__()
        self.tower = tower
        self.eval()

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(N, D + 1)"""
        x: torch.Tensor = self.tower(pictures)
        return torch.cat([x, torch.ones_like(x[:, :1])], 1)


def _path(visual: Any) -> tuple[str, ...] | None:
    """By which names the last layer of a tower is reached, if it is a projection."""
    kind = f"{type(visual).__module__}.{type(visual).__name__}"
    if kind == _POOLED:
        inner = _path(visual.tower)
        return None if inner is None else ("tower", *inner)
    if kind == _VIT:
        return None if visual.proj is None else ("proj",)
    if kind == _RESNET:
        return ("attnpool", "c_proj")
    return _path_in_timm(visual) if kind == _TIMM else None


def _path_in_timm(visual: Any) -> tuple[str, ...] | None:
    if len(visual.head):
        return ("head", "proj") if isinstance(getattr(visual.head, "proj", None), torch.nn.Linear) else None
    classifier = visual.trunk.get_classifier()
    if not isinstance(classifier, torch.nn.Linear):
        return None
    return next(("trunk", *name.split(".")) for name, one in visual.trunk.named_modules() if one is classifier)


def _at(module: Any, path: Sequence[str]) -> Any:
    for name in path:
        module = getattr(module, name)
    return module


def _with_last(visual: torch.nn.Module, weight: torch.Tensor | None) -> torch.nn.Module:
    """The tower with another projection (D, E), or with none."""
    path = _path(visual)
    assert path is not None
    return _replaced(visual, path, _last(path, _at(visual, path), weight))


def _last(path: Sequence[str], old: Any, weight: torch.Tensor | None) -> Any:
    """What stands in place of a projection, for the code that uses it there."""
    if not isinstance(old, torch.nn.Linear):
        return None if weight is None else torch.nn.Parameter(weight, requires_grad=False)
    if weight is not None:
        return _linear(weight.T, old.bias)
    if path[-1] == "c_proj":  # its weight is read, and no layer is called
        return _linear(torch.eye(old.in_features, dtype=old.weight.dtype, device=old.weight.device), None)
    return torch.nn.Identity()


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> torch.nn.Linear:
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = torch.nn.Parameter(weight.contiguous(), requires_grad=False)
    layer.bias = cast(torch.nn.Parameter, bias)
    return layer.eval()


def _replaced(module: torch.nn.Module, path: Sequence[str], new: Any) -> torch.nn.Module:
    """A twin that differs in what lies at the path, and shares all else with the module."""
    twin, (name, *rest) = copy.copy(module), path
    twin._parameters, twin._modules = dict(module._parameters), dict(module._modules)
    setattr(twin, name, _replaced(getattr(module, name), rest, new) if rest else new)
    return twin


def _numbers(tensor: torch.Tensor) -> Rows:
    return np.array(tensor.detach().float().cpu().numpy(), np.float32)


def _shape(weight: Rows) -> str:
    return f"{weight.shape[0]} x {weight.shape[1]}"
