"""Architectures: what open_clip can build, and which weights it knows for each, without importing torch."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_NAME = re.compile(r"[\w.-]+", re.ASCII)
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


@cache
def table() -> Any:
    """open_clip's table of pretrained weights, without torch, whose import costs seconds."""
    spec = find_spec("open_clip")
    if "open_clip" in sys.modules or "torch" in sys.modules or spec is None:
        return import_module("open_clip.pretrained")
    # the module that holds the table needs nothing of its package but two files of constants
    bare = ModuleType("_open_clip_table")
    bare.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[bare.__name__] = bare
    # None makes its import fail: it would bring in torch, and the table does without
    sys.modules["safetensors.torch"] = None  # type: ignore[assignment]
    try:
        return import_module(f"{bare.__name__}.pretrained")
    except Exception:  # another open_clip, arranged differently
        return import_module("open_clip.pretrained")
    finally:
        sys.modules.pop("safetensors.torch", None)


def folders() -> tuple[Path, ...]:
    """Where open_clip keeps its descriptions of models."""
    return (Path(table().__file__).parent / "model_configs",)


def names() -> tuple[str, ...]:
    """Every architecture, in no order."""
    return tuple(path.stem for folder in folders() for path in folder.glob("*.json"))


def description(model: str) -> dict[str, Any] | None:
    """What open_clip builds for a name: `embed_dim`, `vision_cfg`, `text_cfg` …; None for no architecture."""
    if not _NAME.fullmatch(model):
        return None
    path = next((path for folder in folders() if (path := folder / f"{model}.json").is_file()), None)
    described: dict[str, Any] | None = json.loads(path.read_text("utf-8")) if path else None
    return described


def preprocessing(weights: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """How pictures are made for weights of open_clip's table, in the words of its `force_preprocess_cfg`."""
    return tuple(sorted((key, weights[key]) for key in _PREPROCESSING if weights.get(key)))


def usual_preprocessing(model: str) -> tuple[tuple[str, Any], ...]:
    """How pictures are made for most weights of an architecture: SigLIP's are not the same as CLIP's."""
    found = table()
    tags = (found.get_pretrained_cfg(model, tag) for name, tag in found.list_pretrained() if name == model)
    (made, _), *_ = Counter(map(preprocessing, tags)).most_common(1) or [((), 0)]
    return made
