"""QuickBackbone: a backbone whose text side is read at once and whose image side waits until a picture is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import torch

from promptctl.clip import device as devices
from promptctl.clip import kept, registry
from promptctl.clip.text_model import TextModel, plain_tokenizer, read_text_model
from promptctl.clip.text_tower import TextTower

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from promptctl.clip.backbone import Backbone
    from promptctl.clip.kept import KeptBackbone
    from promptctl.context.card import BackboneId
    from promptctl.encoding.torch import TorchEncoder


@dataclass(frozen=True)
class WaitingEncoder:
    """An image encoder that is loaded when the first picture comes; of known pictures it gives name and width alone."""

    fingerprint: str
    width: int  # E
    size: int  # S
    load: Callable[[], TorchEncoder]

    def preprocess(self, picture: Image.Image) -> NDArray[np.float32]:
        """(3, S, S) of an RGB picture, as the weights were trained."""
        return self.load().preprocess(picture)

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, E) unit rows of (N, 3, S, S) pixels."""
        return self.load().encode(pixels)

    def unscaled(self) -> TorchEncoder:
        """As TorchEncoder's."""
        return self.load().unscaled()


class QuickBackbone:
    """What learning asks of a Backbone, the same to the bit."""

    def __init__(self, found: KeptBackbone, model: TextModel, size: int) -> None:
        self.id: BackboneId = found.id
        self.name = found.id.name
        self.device = torch.device("cpu")
        self.tower = TextTower(model, plain_tokenizer(model.context_length), name=self.name)
        self.logit_scale = float(model.logit_scale.exp())
        self.encoder = WaitingEncoder(self.id.fingerprint, self.id.joint_width, size, self._load)
        self._whole: Backbone | None = None
        self._loading = Lock()  # pictures come in several threads

    def _load(self) -> TorchEncoder:
        with self._loading:
            if self._whole is None:
                from promptctl.clip.backbone import Backbone

                self._whole = Backbone(self.name, "cpu", fetch=False)
            return self._whole.encoder


def backbone_of(name: str, device: str, *, fetch: bool = True) -> Backbone | QuickBackbone:
    """The backbone of a name: without open_clip where what is kept of it says which it is, and its text side is plain.

    fetch    whether a person named it
    raises   BackboneError and its kind
    """
    found = _quick(name, fetch) if devices.is_cpu(device) else None
    if found:
        return found
    from promptctl.clip.backbone import Backbone

    return Backbone(name, device, fetch=fetch)


def _quick(name: str, fetch: bool) -> QuickBackbone | None:
    here = registry.locate(name, fetch=fetch)
    found = kept.at(here.place)
    transform = found.preprocess() if found else None
    if found is None or found.id.name != here.name or transform is None or not here.place.is_dir() or here.quick_gelu:
        return None
    model = read_text_model(here.place)
    try:
        return QuickBackbone(found, model, min(transform.height, transform.width)) if model else None
    except (ImportError, AttributeError, OSError):  # another open_clip, which is asked in its own way
        return None
