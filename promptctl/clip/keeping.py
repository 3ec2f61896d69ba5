"""Keeping: a loaded backbone made into what is kept of it, while PyTorch is there."""

from __future__ import annotations

import json
import logging
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from promptctl.clip import kept
from promptctl.clip.backbone import Backbone
from promptctl.clip.kept import LAYOUT, TOKENS_REST, TOPOLOGY, TOWER_REST, WORDS, Facts, KeptBackbone
from promptctl.clip.stored import StoredTensor, stored_tensors
from promptctl.encoding.openvino import program_of, without_converter
from promptctl.encoding.preprocess import Preprocess
from promptctl.encoding.translate import is_same, translated, written

_SAMPLES = ((301, 200), (64, 97), (40, 40))  # width and height of the pictures that both ways are compared on
_FARTHEST = 1e-6  # a pixel from open_clip's, in units of the standard deviation
_MOST_PARTS = 4  # of one tensor; attention keeps queries, keys and values in one
_LOG = logging.getLogger(__name__)

Parts = dict[str, bytes]
Bytes = NDArray[np.uint8]


def keep(backbone: Backbone) -> KeptBackbone | None:
    """Keep what a loaded backbone needs for answering, unless that is there; None where it cannot be kept."""
    if backbone.device.type != "cpu":
        return None
    there = kept.find(backbone.id.fingerprint)
    if there and (there.facts["tower"] or there.facts["openvino"] == _openvino()):
        return there
    try:
        facts, parts = described(backbone)
        if kept.file_facts(backbone.where.place) != backbone.files:  # changed while it was loaded
            return None
    except OSError as error:  # a full disk, weights that have gone
        _LOG.info("not kept: %s", error)
        return None
    kept.forget_outdated()
    return kept.write(facts, parts)


def _openvino() -> str | None:
    """Which OpenVINO there is, if any."""
    try:
        return str(without_converter().__version__)
    except ImportError:
        return None


def described(backbone: Backbone) -> tuple[Facts, Parts]:
    """What is said of a backbone, and the parts that are kept of it."""
    weights, tensors = _weights(backbone)
    tower, parts = _tower(backbone, tensors, weights)
    table = _table(backbone, tensors, weights)
    if table is None:
        parts[TOKENS_REST] = _embeddings(backbone).tobytes()
    facts = {
        "layout": LAYOUT,
        "openvino": _openvino(),
        "backbone": asdict(backbone.id),
        "place": str(backbone.where.place),
        "files": backbone.files,
        "weights": str(weights) if weights else None,
        "preprocess": backbone.preprocess_settings,
        "tower": tower,
        "tokens": [table.offset, table.dtype, table.shape] if table else None,
        "special": backbone.tower.special_tokens,
        **({} if backbone.tower.reads_byte_pairs else {"byte_pairs": False}),
    }
    return facts, {**parts, WORDS: json.dumps(backbone.vocabulary.words).encode()}


def _weights(backbone: Backbone) -> tuple[Path | None, Mapping[str, StoredTensor]]:
    """The safetensors file of a backbone and what is in it, where there is only one."""
    found = [name for name, *_ in backbone.files if name.endswith(".safetensors")]
    if len(found) != 1:
        return None, {}
    place = backbone.where.place
    path = place / found[0] if place.is_dir() else place
    try:
        return path, stored_tensors(path)
    except (OSError, ValueError, LookupError, TypeError):
        return None, {}


# --------------------------------------------------------------------------- the image tower


def _tower(
    backbone: Backbone, tensors: Mapping[str, StoredTensor], weights: Path | None
) -> tuple[dict[str, Any] | None, Parts]:
    """Where the bytes of the translated tower are, and those kept here; None where it is not the same to rounding."""
    model = _translated(backbone)
    if model is None:
        return None, {}
    topology, constants = written(model)
    if not is_same(program_of(topology, constants), backbone.visual, _samples(backbone)):
        return None, {}
    tower, rest = _placed(topology, constants, tensors, weights)
    return tower, {TOPOLOGY: topology, TOWER_REST: rest}


def _translated(backbone: Backbone) -> Any | None:
    try:
        return translated(backbone.visual, _samples(backbone)[:2])
    except Exception as error:  # no OpenVINO, an operation it does not know, a tower that cannot be traced …
        _LOG.info("not translated: %s", error)
        return None


def _samples(backbone: Backbone) -> torch.Tensor:
    """(3, 3, S, S) noise as pictures, through both preprocessings; ValueError where they differ."""
    transform, rng = Preprocess.of(backbone.preprocess_settings), np.random.default_rng(0)
    if transform is None:
        raise ValueError("its preprocessing is not known")
    rows = []
    for width, height in _SAMPLES:
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        rows.append(backbone.transform(picture))
        if np.abs(transform(picture) - rows[-1].numpy()).max() > _FARTHEST:
            raise ValueError("its preprocessing differs")
    return torch.stack(rows)


def _placed(
    topology: bytes, constants: Bytes, tensors: Mapping[str, StoredTensor], weights: Path | None
) -> tuple[dict[str, Any], bytes]:
    """Every constant of a tower as it lies in the weights or, where it does not, among the rest."""
    search = _Search(tensors, weights)
    stored, beside, rest = [], [], bytearray()
    for at, n_bytes, is_float in sorted(_constants(topology)):
        data = constants[at : at + n_bytes]
        found = search.find(data.view("<f4")) if is_float else None
        if found:
            stored.append([at, found.offset, found.dtype, prod(found.shape)])
        else:
            beside.append([at, len(rest), n_bytes])
            rest += data.tobytes()
    return {"n_bytes": len(constants), "stored": stored, "kept": beside}, bytes(rest)


def _constants(topology: bytes) -> Iterable[tuple[int, int, bool]]:
    """Where each constant lies in the .bin, how many bytes it has, and whether it is made of float32."""
    found = {}
    for data in ET.fromstring(topology).iterfind("./layers/layer[@type='Const']/data"):
        at, n_bytes = int(data.attrib["offset"]), int(data.attrib["size"])
        found[at, n_bytes] = data.attrib["element_type"] == "f32"
    return [(at, n_bytes, is_float) for (at, n_bytes), is_float in found.items()]


class _Search:
    """The numbers of a file of weights, to find constants among them: whole tensors, or one of a few equal parts."""

    def __init__(self, tensors: Mapping[str, StoredTensor], weights: Path | None) -> None:
        self._weights = weights
        self._of_size: defaultdict[int, list[StoredTensor]] = defaultdict(list)
        for tensor in tensors.values():
            self._of_size[prod(tensor.shape)].append(tensor)

    def find(self, numbers: NDArray[np.float32]) -> StoredTensor | None:
        for parts in range(1, _MOST_PARTS + 1):
            for tensor in self._of_size.get(parts * len(numbers), ()):
                for i in range(parts):
                    part = tensor.part(i * len(numbers), len(numbers))
                    if self._is(part, numbers):
                        return part
        return None

    def _is(self, part: StoredTensor, numbers: NDArray[np.float32]) -> bool:
        assert self._weights is not None
        few = part.part(0, min(16, len(numbers))).read(self._weights)
        return _same(few, numbers[: len(few)]) and _same(part.read(self._weights), numbers)


def _same(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """To the bit; minus zero is not zero."""
    return a.tobytes() == b.tobytes()


# --------------------------------------------------------------------------- the token table


def _embeddings(backbone: Backbone) -> NDArray[np.float32]:
    """(V, W) of every token."""
    return np.ascontiguousarray(backbone.tower.token_table.detach().float().cpu().numpy(), dtype="<f4")


def _table(backbone: Backbone, tensors: Mapping[str, StoredTensor], weights: Path | None) -> StoredTensor | None:
    """The token table where it lies in the weights."""
    table = _embeddings(backbone)
    alike: Sequence[StoredTensor] = [tensor for tensor in tensors.values() if tensor.shape == table.shape]
    return next((tensor for tensor in alike if weights and _same(tensor.read(weights), table)), None)
