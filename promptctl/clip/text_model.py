"""TextModel: the text side of a CLIP model, read out of its file of weights by PyTorch alone.

open_clip takes longer to import than a context to learn from known features.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from promptctl.clip.stored import StoredTensor, stored_tensors

# what a text tower may say of itself
_PLAIN = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
_CAUSAL = float("-inf")


class Block(nn.Module):
    """One residual attention block, its parts called as open_clip calls them."""

    def __init__(self, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, mlp_width))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(mlp_width, width))
        self.ls_1, self.ls_2 = nn.Identity(), nn.Identity()


class TextModel(nn.Module):
    """What `TextTower` looks for in a CLIP model of open_clip."""

    text_pool_type = "argmax"

    def __init__(self, settings: Mapping[str, Any], joint_width: int) -> None:
        super().__init__()
        width, length = settings["width"], settings.get("context_length", 77)
        self.context_length = length
        # an Embedding would fill itself with noise, which imports PyTorch's compiler
        self.token_embedding = nn.Module()
        self.token_embedding.weight = nn.Parameter(torch.empty(settings.get("vocab_size", 49408), width))
        self.positional_embedding = nn.Parameter(torch.empty(length, width))
        blocks = (
            Block(width, settings["heads"], int(width * settings.get("mlp_ratio", 4.0)))
            for _ in range(settings["layers"])
        )
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(blocks)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, joint_width))
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.attn_mask: torch.Tensor | None = None


def read_text_model(folder: Path) -> TextModel | None:
    """The text side of the backbone in a local-dir folder; None where it is anything but plain."""
    try:
        config = json.loads((folder / "open_clip_config.json").read_text("utf-8"))["model_cfg"]
        settings, weights = config["text_cfg"], folder / "open_clip_model.safetensors"
        if config.keys() - {"embed_dim", "vision_cfg", "text_cfg"} or settings.keys() - _PLAIN:
            return None
        return _filled(settings, config["embed_dim"], stored_tensors(weights), weights)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _filled(
    settings: Mapping[str, Any], joint_width: int, stored: Mapping[str, StoredTensor], weights: Path
) -> TextModel | None:
    with torch.device("meta"):
        model = TextModel(settings, joint_width)
    state = model.state_dict()
    if any(name not in stored or stored[name].shape != tuple(tensor.shape) for name, tensor in state.items()):
        return None
    values = {name: torch.from_numpy(stored[name].read(weights)) for name in state}
    model.load_state_dict(values, assign=True)
    # not while it was empty, for PyTorch would import its compiler
    model.attn_mask = torch.full((model.context_length, model.context_length), _CAUSAL).triu(1)
    return model.eval().requires_grad_(False)


def plain_tokenizer(context_length: int) -> Any:
    """open_clip's tokenizer of CLIP, from its own file, without the rest of the package.

    raises   ImportError where it is not there
    """
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise ImportError("open_clip is not installed", name="open_clip")
    file = Path(package.submodule_search_locations[0]) / "tokenizer.py"
    spec = importlib.util.spec_from_file_location("promptctl.clip._open_clip_tokenizer", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be read", name="open_clip")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = getattr(module, "_tokenizer", None)  # one is made as the file is read, which takes a third of a second
    fits = made is not None and made.context_length == context_length
    return made if fits else module.SimpleTokenizer(context_length=context_length)
