"""Lengths: how long image features are before they are made unit rows; the original's linear probe sees them so."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from promptctl.data.images import HashedImage
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.decode import DECODER
from promptctl.encoding.pipeline import encode_files
from promptctl.errors import NoImages
from promptctl.progress import OnStep

if TYPE_CHECKING:
    from promptctl.benchmark.results import Facts, Results
    from promptctl.clip.backbone import Backbone


def lengths(
    images: Sequence[HashedImage],
    backbone: Backbone,
    known: Results,
    on_progress: OnStep | None = None,
) -> dict[Path, float]:
    """The length of every image's feature, from what is known or from encoding it once more.

    raises   NoImages when a file has changed or gone meanwhile
    """
    found = {image.path: known.get("length", _facts(image, backbone)) for image in images}
    new = [image for image in images if found[image.path] is None]
    measured = _measured(new, backbone, on_progress) if new else {}
    known.put_all("length", [(_facts(image, backbone), (measured[image.path],)) for image in new])
    return {**{path: numbers[0] for path, numbers in found.items() if numbers}, **measured}


def _measured(images: Sequence[HashedImage], backbone: Backbone, on_progress: OnStep | None) -> dict[Path, float]:
    # a cache of its own: the cache of features holds unit rows
    with tempfile.TemporaryDirectory() as folder, FeatureCache(Path(folder)) as scratch:
        features, _ = encode_files([image.path for image in images], backbone.encoder.unscaled(), scratch, on_progress)
    now = dict(zip(features.paths, features.sha256, strict=True))
    changed = next((image.path for image in images if now.get(image.path) != image.sha256), None)
    if changed is not None:
        raise NoImages(f"{changed} has changed since a moment ago", "compare again")
    norms = np.linalg.norm(features.vectors, axis=1)
    return {path: float(norm) for path, norm in zip(features.paths, norms, strict=True)}


def _facts(image: HashedImage, backbone: Backbone) -> Facts:
    return {"backbone": backbone.id.fingerprint, "decoder": DECODER, "sha256": image.sha256}
