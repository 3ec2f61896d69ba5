"""Checkpoint: a context of the original CoOp code, read without running anything in its file, and written for it.

The original saves with `torch.save`, and its scheduler drags a live optimiser into the file: a safe loader stops at
it, and a loader that follows it runs whatever a file says. `torchfile` reads them; here is what they mean.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptctl.context.torchfile import LONGEST_STORAGE, Inert, Tensor, TorchFile
from promptctl.errors import BadCheckpoint, DatasetError

if TYPE_CHECKING:
    from promptctl.clip.text_tower import TextTower
    from promptctl.context.card import ClassEntry

PROMPT = 77  # tokens of every CLIP the original code knows
LONGEST = PROMPT - 4  # context vectors: start-of-text, a name, the full stop and end-of-text need a place
ORIGINAL_BACKBONES = {  # by text width
    512: ("ViT-B-16/openai", "RN50/openai", "ViT-B-32/openai", "RN101/openai"),
    640: ("RN50x4/openai",),
    768: ("ViT-L-14/openai", "RN50x16/openai"),
}
_MOST_CLASSES = 1 << 14  # more than fit into a context file, however short their names
_MOST_VALUES = 1 << 27  # of a ctx: ten thousand classes with 16 vectors of width 768
_MOST_EPOCHS = 1_000_000
_LONGEST_LIST = 1 << 24  # bytes of a file of class names
_LEARNER = "prompt_learner."
_FROZEN = ("image_encoder.", "text_encoder.", "logit_scale")  # the towers of CoOp's CustomCLIP, as they were before
_DEEPER: dict[str, Callable[[str], bool]] = {  # keys of whole models whose prompts are more than a context
    "MaPLe": lambda key: "compound_prompt" in key or key.startswith("prompt_learner.proj."),
    "PromptSRC or IVLP": lambda key: "VPT" in key or "ZS_image_encoder" in key,
    "LASP": lambda key: key == "prompt_learner.w",
}


@dataclass(frozen=True)
class EmbeddedNames:
    """Class names as rows of a token table that is not known yet."""

    rows: tuple[bytes, ...]  # a digest of every row there is
    which: NDArray[np.int32]  # (C, 76 - M) index into rows: name, full stop, end-of-text and padding
    in_bfloat16: bool  # what the rows were rounded to; otherwise float16, the precision the original learns in

    def tokens(self, tower: TextTower) -> list[list[int]] | None:
        """Tokens of every class name with its full stop; None if a row is not in this tower's token table."""
        table = tower.token_table.detach().float().cpu().numpy()
        token_of: dict[bytes, int] = {}
        for token, row in enumerate(_digests(table, in_bfloat16=self.in_bfloat16)):
            token_of.setdefault(row, token)
        known = [token_of.get(row) for row in self.rows]
        names = [_until(tower.end_of_text, (known[row] for row in rows)) for rows in self.which]
        return None if None in names else [name for name in names if name is not None]


@dataclass(frozen=True)
class Checkpoint:
    """What an original checkpoint knows; not its backbone, nor where the class name stands."""

    vectors: NDArray[np.float32]  # (M, W) shared by all classes, or (C, M, W) class-specific
    names: EmbeddedNames | None
    epochs: int  # 0: not known

    @property
    def class_specific(self) -> bool:
        return self.vectors.ndim == 3

    @property
    def classes(self) -> int | None:
        """C, where the file tells."""
        if self.names is not None:
            return len(self.names.which)
        return len(self.vectors) if self.class_specific else None

    @staticmethod
    def read(path: Path) -> Checkpoint:
        """The context in a file of `torch.save`, or of safetensors; OSError or BadCheckpoint."""
        if path.is_dir():
            inside = [*path.glob("model*.pth.tar*"), *path.glob("prompt_learner/model*.pth.tar*")]
            raise BadCheckpoint(path, "it is a folder", f"did you mean {max(inside, key=_epoch)}?" if inside else None)
        with path.open("rb") as file:
            if not (start := file.peek(9)):
                raise BadCheckpoint(path, "it is empty")
            of_safetensors = starts_as_safetensors(start)
            try:
                opened = (TorchFile.open_safetensors if of_safetensors else TorchFile.open)(file)
                return _checkpoint(opened, path)
            except BadCheckpoint:
                raise
            except Exception as error:  # whatever a damaged or hostile file makes the readers raise
                wrote = "it is not a whole safetensors file" if of_safetensors else "torch.save did not write it"
                raise BadCheckpoint(path, f"{wrote}, or it is cut off or damaged") from error


def starts_as_safetensors(start: bytes) -> bool:
    """Whether the first bytes of a file are those of safetensors."""
    return start[8:9] == b"{"


def _epoch(path: Path) -> int:
    """The epoch at the end of a checkpoint's name, `model.pth.tar-200`; 0 where there is none."""
    number = path.name.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


def position_in_path(path: Path) -> str | None:
    """Where the class name stood, as the original's scripts write it into a folder's name: `nctx16_cscFalse_ctpend`."""
    found = re.findall("ctp(end|middle|front)", str(path.absolute().parent))
    return found[-1] if found else None


def read_class_list(path: Path) -> tuple[str, ...]:
    """Class names, one per line, in the checkpoint's order; DatasetError for an empty line or a name said twice."""
    try:
        lines = [line.strip() for line in _text(path).rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not a text file in UTF-8", "write one class name per line") from error
    known: set[str] = set()
    for number, line in enumerate(lines or [""], 1):
        if not line:
            raise DatasetError(f"{path} has no class name in line {number}", "write one class name per line")
        if line in known:
            raise DatasetError(f"{path} names '{line}' twice", "give each class a name of its own")
        known.add(line)
    return tuple(lines)


def _text(path: Path) -> str:
    """A text in UTF-8, which a device that never ends does not have."""
    with path.open("rb") as file:
        data = file.read(_LONGEST_LIST + 1)
    if len(data) > _LONGEST_LIST:
        raise DatasetError(f"{path} is too long for a list of class names", "write one class name per line")
    return data.decode("utf-8-sig")


def tokenised_together(name: str, tower: TextTower) -> list[int]:
    """Tokens of a name and its full stop as the original reads them: together, so byte pairs may merge across."""
    return tower.tokens(f"{name}.")


def tokenised_apart(name: str, tower: TextTower) -> list[int]:
    """The same as promptctl reads what it learns itself."""
    return tower.tokens(name) + tower.tokens(".")


def retokenised_names(classes: Sequence[ClassEntry], tower: TextTower) -> tuple[str, ...]:
    """The names the original reads with other tokens than the context was learned with."""
    return tuple(
        entry.name for entry in classes if tower.name_tokens(entry)[0] != tokenised_together(entry.name, tower)
    )


def to_bytes(vectors: NDArray[np.float32], classes: Sequence[ClassEntry], tower: TextTower, *, epochs: int) -> bytes:
    """A checkpoint the original code loads.

    The context stays float32: `load_state_dict` casts it to whatever the model there computes in. The embedded
    names are those the context speaks; the original ignores them and tokenises the names it has once more.
    """
    import torch  # here, because reading does without

    tokens = vectors.shape[-2]
    suffixes = torch.zeros(len(classes), PROMPT - 1 - tokens, dtype=torch.long)  # padded with token 0
    for suffix, entry in zip(suffixes, classes, strict=True):
        own = torch.tensor([*tower.name_tokens(entry)[0], tower.end_of_text])
        suffix[: len(own)] = own
    state = OrderedDict(
        ctx=torch.from_numpy(vectors.copy()),
        token_prefix=tower.embedded([tower.start_of_text]).expand(len(classes), 1, -1).clone(),
        token_suffix=tower.embedded(suffixes),
    )
    content = {"state_dict": state, "epoch": epochs, "optimizer": None, "scheduler": None, "val_result": None}
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


# --------------------------------------------------------------------------- what the content means


def _checkpoint(file: TorchFile, path: Path) -> Checkpoint:
    state = _prompt_learner(_state_dict(file.content, path), path)
    _refuse_other_methods(tuple(state), path)
    ctx = _tensor(state, "ctx", path)
    _check_ctx(ctx.shape, path)
    suffix = _tensor(state, "token_suffix", path) if "token_suffix" in state else None
    if suffix is not None:
        _check_suffix(suffix.shape, ctx.shape, path)
    for name, tensor in (("ctx", ctx), ("token_suffix", suffix)):
        if tensor is not None:
            _check_place(name, tensor, path)
    names = None if suffix is None else _embedded_names(file, suffix)
    return Checkpoint(_vectors(file, ctx, path), names, _epochs(file.content))


def _epochs(content: object) -> int:
    epoch = content.get("epoch") if isinstance(content, dict) else None
    return epoch if type(epoch) is int and 0 < epoch <= _MOST_EPOCHS else 0


def _state_dict(content: object, path: Path) -> Mapping[Any, Any]:
    """The tensors by name, of a checkpoint or saved by themselves."""
    if isinstance(content, Inert):
        raise BadCheckpoint(path, "it is an object of some class, not the state_dict of one")
    if isinstance(content, dict):
        state = content.get("state_dict", content)
        if isinstance(state, dict) and (state is not content or any(map(_is_ctx, state))):
            return state
        for key, part in content.items():
            if isinstance(part, dict) and any(map(_is_ctx, part)):
                whose = (
                    "DeepSpeed's, it" if "ds_version" in content or "ds_config" in content else "another program's, it"
                )
                raise BadCheckpoint(path, f"it is {whose} has its weights under '{key!s:.40}' and no state_dict")
    raise BadCheckpoint(path, "it has no state_dict")


def _is_ctx(key: object) -> bool:
    return isinstance(key, str) and key.rpartition(".")[2] == "ctx"


def _prompt_learner(state: Mapping[Any, Any], path: Path) -> Mapping[str, Any]:
    """What is in a state_dict of the prompt learner or of the model around it, without DataParallel's `module.`."""
    named: dict[str, Any] = {}
    for key, value in state.items():
        name = ".".join(part for part in str(key).split(".") if part != "module")
        if name in named:
            raise BadCheckpoint(path, f"it has '{name:.40}' twice")
        named[name] = value
    learned = {key.removeprefix(_LEARNER): value for key, value in named.items() if key.startswith(_LEARNER)}
    if not learned:
        return named
    for method, said in _DEEPER.items():
        if more := next((key for key in named if said(key)), None):
            raise BadCheckpoint(
                path, f"it is a whole model of {method} with '{more:.60}', which is more than a context"
            )
    more = next((key for key in named if not key.startswith((_LEARNER, *_FROZEN))), None)
    if more:
        raise BadCheckpoint(path, f"beside its prompt_learner it has '{more:.40}', so it is another method's")
    return learned


def _refuse_other_methods(keys: Sequence[str], path: Path) -> None:
    """BadCheckpoint for prompts that are more than a context."""
    if "bias_vectors" not in keys and any(key.startswith("meta_net.") for key in keys):
        raise BadCheckpoint(path, "it has a meta_net, as CoCoOp's, whose context changes with every image")
    if "ctx" not in keys:
        other = next(filter(_is_ctx, keys), None)
        called = (
            f", only a '{other:.60}', as no CoOp checkpoint calls it" if other else ", the context of a CoOp checkpoint"
        )
        raise BadCheckpoint(path, f"it has no ctx{called}")
    # KgCoOp and ProGrad learn otherwise, and what they learn is a plain context
    ours = ("ctx", "token_prefix", "token_suffix", "bias_vectors")
    more = next((key for key in keys if key not in ours and not key.startswith("meta_net.")), None)
    if more:
        raise BadCheckpoint(path, f"beside ctx it has '{more:.40}', so it is another method's and more than a context")


def _tensor(state: Mapping[str, Any], name: str, path: Path) -> Tensor:
    tensor = state[name]
    if not isinstance(tensor, Tensor) or not tensor.is_float:
        raise BadCheckpoint(path, f"its {name} is not a tensor of float16, bfloat16, float32 or float64")
    return tensor


def _check_ctx(shape: tuple[int, ...], path: Path) -> None:
    if len(shape) not in (2, 3) or not all(shape) or shape[-2] > LONGEST:
        expected = f"(M, W) or (classes, M, W), M up to {LONGEST}"
        raise BadCheckpoint(path, f"its ctx has the shape {shape}, {expected}, was expected")
    if len(shape) == 3 and shape[0] > _MOST_CLASSES:
        raise BadCheckpoint(path, f"its ctx is of {shape[0]} classes, and a context has at most {_MOST_CLASSES}")
    if math.prod(shape) > _MOST_VALUES:
        raise BadCheckpoint(path, f"its ctx has the shape {shape}, which is larger than any context")


def _check_suffix(shape: tuple[int, ...], ctx: tuple[int, ...], path: Path) -> None:
    rest = (PROMPT - 1 - ctx[-2], ctx[-1])
    if len(shape) != 3 or not shape[0] or shape[1:] != rest:
        raise BadCheckpoint(
            path, f"its token_suffix has the shape {shape}, (classes, {rest[0]}, {rest[1]}) fits its ctx"
        )
    if len(ctx) == 3 and ctx[0] != shape[0]:
        raise BadCheckpoint(path, f"its ctx is of {ctx[0]} classes, its token_suffix of {shape[0]}")
    if shape[0] > _MOST_CLASSES:
        raise BadCheckpoint(
            path, f"its token_suffix is of {shape[0]} classes, and a context has at most {_MOST_CLASSES}"
        )


def _check_place(name: str, tensor: Tensor, path: Path) -> None:
    if not tensor.is_row_by_row:
        raise BadCheckpoint(path, f"its {name} is a transposed or repeated tensor, as none of CoOp's is")
    if tensor.storage.n_bytes > LONGEST_STORAGE:
        raise BadCheckpoint(path, f"its {name} lies among {tensor.storage.n_bytes} bytes, more than a context takes")


def _vectors(file: TorchFile, ctx: Tensor, path: Path) -> NDArray[np.float32]:
    slices = file.slices(ctx)  # which refuses what is not in the file, before there is room for it
    vectors = np.empty(ctx.shape, np.float32)
    for index, values in enumerate(slices):
        if not (np.abs(values) <= np.finfo(np.float16).max).all():
            raise BadCheckpoint(path, "its ctx holds a value that is not a number, or far too large")
        vectors[index] = values
    return vectors


def _embedded_names(file: TorchFile, suffix: Tensor) -> EmbeddedNames:
    known: dict[bytes, int] = {}
    which = np.empty(suffix.shape[:2], np.int32)
    for index, rows in enumerate(file.slices(suffix)):
        which[index] = [known.setdefault(row, len(known)) for row in _digests(rows, in_bfloat16=suffix.is_bfloat16)]
    return EmbeddedNames(tuple(known), which, suffix.is_bfloat16)


def _digests(rows: NDArray[np.float32], *, in_bfloat16: bool) -> Iterator[bytes]:
    """Every row, rounded to two bytes a value, as sixteen bytes; adding zero makes one zero of the two."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = _bfloat16(rows + np.float32(0)) if in_bfloat16 else rows.astype(np.float16) + np.float16(0)
    before, digest = b"", b""
    for row in map(np.ndarray.tobytes, rounded):
        if row != before:  # padding is the same row many times
            before, digest = row, hashlib.blake2b(row, digest_size=16).digest()
        yield digest


def _bfloat16(rows: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of float32 values, rounded to the nearest, to the even one between two."""
    bits = rows.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def _until(end: int, tokens: Iterable[int | None]) -> list[int] | None:
    """The tokens before `end`; None when one is not known or there is no end."""
    found: list[int] = []
    for token in tokens:
        if token == end:
            return found
        if token is None:
            return None
        found.append(token)
    return None
