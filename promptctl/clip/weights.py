"""Weights: a file of them read as data, and put into a model that open_clip built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from safetensors import SafetensorError

from promptctl.clip.own_weights import is_safetensors
from promptctl.errors import WeightsDoNotFit

State = dict[str, torch.Tensor]
_WRAPPERS = ("module.", "_orig_mod.")  # what training on several GPUs, and compiling, put before every name
_STATES = ("state_dict", "model_state_dict", "model")  # what checkpoints call their weights; open_clip the first
_BESIDE = ("input_resolution", "context_length", "vocab_size", "text.transformer.embeddings.position_ids")


def read_weights(path: Path) -> State:
    """The tensors of a file that `own_weights.checked` has looked at, by name; any exception at all for a damaged one.

    Nothing in it is run, and what is read of it stays in the file until it is asked for.
    """
    if is_safetensors(path):
        try:
            return _unwrapped(safetensors.torch.load_file(path))
        except SafetensorError as error:
            raise ValueError(f"{path.name} is damaged, or not all of it is here") from error
    return _unwrapped(_tensors(_of_torch(path)))


def put_into(model: torch.nn.Module, state: State, *, name: str, path: Path) -> None:
    """Give a model its weights: every one of them, and in its own shape.

    name     of the architecture
    raises   WeightsDoNotFit
    """
    state = _as_named(model, convert_state_dict(model, state))
    wanted = model.state_dict()
    lacking = [key for key in wanted if key not in state]
    foreign = [key for key in state if key not in wanted]
    shapes = [
        f"{key} is {_shape(state[key])} and not {_shape(tensor)}"
        for key, tensor in wanted.items()
        if key in state and state[key].shape != tensor.shape
    ]
    if lacking or foreign or shapes:
        raise WeightsDoNotFit(path, name, total=len(wanted), lacking=lacking, shapes=shapes, foreign=foreign)
    _check_numbers(state, wanted, path)
    model.load_state_dict(state)


def _check_numbers(state: State, wanted: Mapping[str, torch.Tensor], path: Path) -> None:
    """ValueError for whole numbers, as of quantised weights without their scales, and for what is not finite."""
    for key, tensor in state.items():
        if tensor.is_floating_point() != wanted[key].is_floating_point():
            raise ValueError(f"{key} in {path.name} is made of {str(tensor.dtype).removeprefix('torch.')}")
        exact = tensor.float() if tensor.element_size() == 1 else tensor  # float8 has no sum
        if not exact.sum(dtype=torch.float64).isfinite():
            raise ValueError(f"{key} in {path.name} has numbers that are not finite")


def _of_torch(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    with path.open("rb") as file:  # PyTorch would go by the name
        return torch.load(file, map_location="cpu", weights_only=True)


def _tensors(content: Any) -> State:
    """The state_dict of a checkpoint, which training keeps beside its optimizer's."""
    if not isinstance(content, Mapping):
        raise ValueError("there is no state_dict in it")
    inside = next((content[key] for key in _STATES if isinstance(content.get(key), Mapping)), content)
    found = {key: value for key, value in inside.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    if not found:
        has = ", ".join(f"'{key!s:.40}'" for key in list(content)[:5])
        raise ValueError(f"there are no weights in it, just {has}" if has else "there is nothing in it")
    return found


def _unwrapped(state: State) -> State:
    for wrapper in _WRAPPERS * 2:  # one may be in the other
        if state and all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): tensor for key, tensor in state.items()}
    return state


def _as_named(model: torch.nn.Module, state: State) -> State:
    """A state_dict with the names and numbers that a model of open_clip asks for today, as its own loader has it."""
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    wanted = model.state_dict()
    state = {key: tensor for key, tensor in state.items() if key in wanted or key not in _BESIDE}
    for key in ("logit_scale", "logit_bias"):
        if key in state and key in wanted and state[key].numel() == wanted[key].numel():
            state[key] = state[key].reshape(wanted[key].shape)
    if "logit_bias" in wanted:
        state.setdefault("logit_bias", torch.zeros_like(wanted["logit_bias"]))
    else:
        state.pop("logit_bias", None)  # the same for every class
    return state


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
