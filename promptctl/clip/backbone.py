"""Backbone: a frozen CLIP model, free to name, loaded on first use."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from promptctl.clip import architectures
from promptctl.clip.kept import file_facts
from promptctl.clip.own_weights import OTHERWISE
from promptctl.clip.registry import first_line, is_own, locate
from promptctl.clip.text_files import tokenizer_settings, write_plain_tower
from promptctl.clip.text_tower import TextTower
from promptctl.clip.vocabulary import Vocabulary
from promptctl.clip.weights import put_into, read_weights
from promptctl.context.card import BackboneId
from promptctl.encoding.preprocess import Preprocess
from promptctl.encoding.torch import TorchEncoder
from promptctl.errors import BackboneError, UnsupportedBackbone

_LOG = logging.getLogger(__name__)


class Backbone:
    """One of open_clip's models with its preprocessing, tokenizer and towers; nothing is read until asked for."""

    def __init__(self, name: str, device: str = "auto", *, fetch: bool = True) -> None:
        self.where = locate(name, fetch=fetch)
        self._is_typed = fetch
        self.name = self.where.name
        self.device = torch.device(choose_device(device))

    @cached_property
    def id(self) -> BackboneId:
        return BackboneId(self.name, self._fingerprint(), self.tower.width, self.tower.joint_width)

    @cached_property
    def files(self) -> list[list[Any]]:
        """What is noticed of its files before they are read."""
        return file_facts(self.where.place)

    @cached_property
    def model(self) -> torch.nn.Module:
        try:
            _ = self.files
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the loaders' own, which say nothing to a person
                model = self._own() if is_own(self.name) else self._known()
        except BackboneError:
            raise
        except Exception as error:  # whatever a damaged or foreign file makes the loaders raise
            reason, hint = first_line(error), OTHERWISE if is_own(self.name) else "promptctl models list"
            raise BackboneError(f"'{self.name}' cannot be loaded: {reason}", hint) from error
        model.eval().requires_grad_(False)
        return _channels_last(model)

    @cached_property
    def tower(self) -> TextTower:
        try:
            tokenizer = self._tokenizer()
        except Exception as error:
            raise UnsupportedBackbone(self.name, f"its tokenizer cannot be loaded ({error!s:.80})") from error
        return TextTower(self.model, tokenizer, name=self.name)

    @cached_property
    def encoder(self) -> TorchEncoder:
        """The image side of it."""
        settings = self.preprocess_settings
        size = settings["size"]
        side = int(size if isinstance(size, int) else min(size))
        transform = Preprocess.of(settings) or _in_numpy(self.transform)
        return TorchEncoder(self.id.fingerprint, self.id.joint_width, side, self.visual, transform, self.device)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Its tokens and their embeddings, in numpy."""
        return self.tower.vocabulary

    @property
    def logit_scale(self) -> float:
        return float(self.model.logit_scale.exp())  # type: ignore[operator,union-attr]

    @cached_property
    def visual(self) -> torch.nn.Module:
        """The image tower: pictures → (N, E)."""
        tower = cast(torch.nn.Module, self.model.visual)
        return Pooled(tower) if getattr(tower, "output_tokens", False) else tower

    @property
    def transform(self) -> Callable[[Image.Image], torch.Tensor]:
        """open_clip's own preprocessing: RGB picture → (3, S, S)."""
        transform: Callable[[Image.Image], torch.Tensor]
        transform = image_transform_v2(PreprocessCfg(**self.preprocess_settings), is_train=False)
        return transform

    @property
    def preprocess_settings(self) -> dict[str, Any]:
        """open_clip's `preprocess_cfg`."""
        return dict(self.model.visual.preprocess_cfg)  # type: ignore[union-attr,arg-type]

    def _known(self) -> torch.nn.Module:
        """A model with the weights that open_clip finds for it."""
        with self._tower_here() as tower:
            model: torch.nn.Module = open_clip.create_model(
                self.where.model,
                self.where.pretrained,
                device=self.device,
                force_quick_gelu=self.where.quick_gelu,
                force_preprocess_cfg=dict(self.where.preprocess),
                require_pretrained=True,
                **tower,
            )
        return model

    def _own(self) -> torch.nn.Module:
        """A model with weights of one's own; what they do not say of themselves is told to who typed their name."""
        preprocess, place = dict(self.where.preprocess), self.where.place
        with open_clip_unheard(), self._tower_here() as tower:
            model: torch.nn.Module = open_clip.create_model(
                self.where.model, pretrained_text=False, force_preprocess_cfg=preprocess, **tower
            )
        put_into(model, read_weights(place), name=self.where.model, path=place)
        if self._is_typed:
            _LOG.warning("%s", _assumed(self.where.model, place, model))
        return model.to(self.device)

    @contextmanager
    def _tower_here(self) -> Iterator[dict[str, Any]]:
        """For a text tower of Hugging Face: that open_clip builds it by what is plain in its description."""
        folder = self.where.text.tower
        if folder is None:
            yield {}
            return
        text = open_clip.get_model_config(self.where.model)["text_cfg"]
        with TemporaryDirectory() as plain:
            write_plain_tower(folder, Path(plain), self.name)
            yield {"text_cfg": {**text, "hf_model_name": plain, "hf_model_pretrained": False}}

    def _tokenizer(self) -> Any:
        folder = self.where.text.tokenizer
        if folder is None:
            return open_clip.get_tokenizer(self.where.model)
        return HFTokenizer(str(folder), **tokenizer_settings(open_clip.get_model_config(self.where.model)))

    def _fingerprint(self) -> str:
        """sha256 over preprocessing, every weight by name and the tokenizer where it is not CLIP's own.

        So the same from anywhere is the same.
        """
        digest = hashlib.sha256(json.dumps(self.preprocess_settings, sort_keys=True, default=list).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        quick_gelu = any(type(module).__name__ == "QuickGELU" for module in self.model.modules())
        digest.update(f"quick_gelu:{quick_gelu}".encode())
        if tokenizer := self.tower.tokenizer_digest:
            digest.update(f"tokenizer:{tokenizer}".encode())
        return digest.hexdigest()


class Pooled(torch.nn.Module):
    """An image tower that gives its patches as well, as CoCa's does, without them."""

    def __init__(self, tower: torch.nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(N, E)"""
        features: torch.Tensor = self.tower(pictures)[0]
        return features


def _assumed(model: str, place: Path, built: torch.nn.Module) -> str:
    """What a file of weights does not say and was taken from its architecture."""
    made = cast(dict[str, Any], built.visual.preprocess_cfg)  # type: ignore[union-attr]
    size = made["size"] if isinstance(made["size"], int) else "x".join(map(str, made["size"]))
    mean, std = (" ".join(f"{value:.3g}" for value in made[key]) for key in ("mean", "std"))
    other = f"{model}-quickgelu"
    gelu = f"; with GELU ({other}:{place} has QuickGELU)" if other in architectures.names() else ""
    how = f"{size} pixels, resized by {made['resize_mode']}, {made['interpolation']}, mean {mean}, std {std}"
    return f"photos are prepared as {model} has them: {how}{gelu}"


@contextmanager
def open_clip_unheard() -> Iterator[None]:
    """Without what open_clip logs of a model that is built before it has weights."""
    root = logging.getLogger()

    def is_not_open_clips(record: logging.LogRecord) -> bool:
        return Path(record.pathname).parent.name != "open_clip"

    root.addFilter(is_not_open_clips)
    try:
        yield
    finally:
        root.removeFilter(is_not_open_clips)


def _in_numpy(transform: Callable[[Image.Image], torch.Tensor]) -> Callable[[Image.Image], NDArray[np.float32]]:
    return lambda picture: transform(picture).numpy()


def choose_device(asked: str) -> str:
    """The device to run on: what was asked for, or the fastest that works here."""
    works = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if works[device])
    if asked not in works:
        raise BackboneError(f"'{asked}' is not a device", "--device auto, cpu, cuda or mps")
    if not works[asked]:
        raise BackboneError(f"this machine or this torch has no '{asked}'", "--device auto")
    return asked


def _channels_last(model: torch.nn.Module) -> torch.nn.Module:
    # convolutions on a CPU run twice as fast in this layout; the values are the same
    model.visual.to(memory_format=torch.channels_last)  # type: ignore[union-attr,call-overload]
    return model
