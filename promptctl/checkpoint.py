"""Checkpoint: a context of the original CoOp code, read without running anything in its file, and written for it.

The original saves with `torch.save`, and its scheduler drags a live optimiser into the file: a safe loader stops at
it, and a loader that follows it runs whatever a file says. This one knows dictionaries and tensors; every other name
in a file becomes an `_Inert`, which takes anything and does nothing. Tensors are bytes, torch is not asked.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptctl.errors import BadCheckpoint, DatasetError

if TYPE_CHECKING:
    from promptctl.text import TextTower

PROMPT = 77  # tokens of every CLIP the original code knows
LONGEST = PROMPT - 4  # context vectors: start-of-text, a name, the full stop and end-of-text need a place
ORIGINAL_BACKBONES = {  # by text width
    512: ("ViT-B-16/openai", "RN50/openai", "ViT-B-32/openai", "RN101/openai"),
    640: ("RN50x4/openai",),
    768: ("ViT-L-14/openai", "RN50x16/openai"),
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "V2",  # two bytes that numpy has no numbers for
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


@dataclass(frozen=True)
class Checkpoint:
    """What an original checkpoint knows; not its backbone, nor where the class name stands."""

    vectors: NDArray[np.float32]  # (M, W) shared by all classes, or (C, M, W) class-specific
    suffix: NDArray[np.float32] | None  # (C, 76 - M, W) embedded name, full stop, end-of-text and padding
    epochs: int  # 0: not known

    @property
    def class_specific(self) -> bool:
        return self.vectors.ndim == 3

    @property
    def classes(self) -> int | None:
        """C, where the file tells."""
        if self.suffix is not None:
            return len(self.suffix)
        return len(self.vectors) if self.class_specific else None

    @staticmethod
    def read(path: Path) -> Checkpoint:
        """The context in a file of `torch.save`, of today's zip form or the one before; OSError or BadCheckpoint."""
        if path.is_dir():
            inside = [*path.glob("model*.pth.tar*"), *path.glob("prompt_learner/model*.pth.tar*")]
            raise BadCheckpoint(path, "it is a folder", f"did you mean {max(inside, key=_epoch)}?" if inside else None)
        with path.open("rb") as file:
            if not file.peek(1):
                raise BadCheckpoint(path, "it is empty")
            try:
                content, bytes_of = (_open_zip if zipfile.is_zipfile(file) else _open_legacy)(file)
                return _checkpoint(content, bytes_of, path)
            except BadCheckpoint:
                raise
            except Exception as error:  # whatever a damaged or hostile file makes the readers raise
                raise BadCheckpoint(path, "torch.save did not write it, or it is cut off or damaged") from error

    def class_tokens(self, tower: TextTower) -> list[list[int]] | None:
        """Tokens of every class name with its full stop; None if a row is not in this tower's token table.

        Compared as float16, the precision the original code learns in.
        """
        assert self.suffix is not None
        table = tower.token_table.detach().float().cpu().numpy()
        token_of: dict[bytes, int] = {}
        for token, row in enumerate(_rounded(table)):
            token_of.setdefault(row, token)
        names = [_until(tower.end_of_text, map(token_of.get, _rounded(rows))) for rows in self.suffix]
        return None if None in names else [name for name in names if name is not None]


def _epoch(path: Path) -> int:
    """The epoch at the end of a checkpoint's name, `model.pth.tar-200`; 0 where there is none."""
    number = path.name.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


def position_in_path(path: Path) -> str | None:
    """Where the class name stood, as the original's scripts write it into a folder's name: `nctx16_cscFalse_ctpend`."""
    found = re.findall("ctp(end|middle|front)", str(path.absolute().parent))
    return found[-1] if found else None


def read_class_list(path: Path) -> tuple[str, ...]:
    """Class names one a line, in the checkpoint's order; DatasetError for an empty line or a name said twice."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not a text file in UTF-8", "write one class name a line") from error
    for number, line in enumerate(lines or [""], 1):
        if not line:
            raise DatasetError(f"{path} has no class name in line {number}", "write one class name a line")
        if line in lines[: number - 1]:
            raise DatasetError(f"{path} names '{line}' twice", "give each class a name of its own")
    return tuple(lines)


def joined(name: str, tower: TextTower) -> list[int]:
    """Tokens of a name and its full stop as the original reads them: together, so byte pairs may merge across."""
    return tower.tokens(f"{name}.")


def read_otherwise(names: Sequence[str], tower: TextTower) -> tuple[str, ...]:
    """The names the original reads with other tokens than promptctl, which takes the full stop apart."""
    stop = tower.tokens(".")
    return tuple(name for name in names if joined(name, tower) != tower.tokens(name) + stop)


def to_bytes(vectors: NDArray[np.float32], names: Sequence[str], tower: TextTower, *, epochs: int) -> bytes:
    """A checkpoint the original code loads.

    The context stays float32: `load_state_dict` casts it to whatever the model there computes in. The embedded
    names are those the original would make itself, from `X … X name.` tokenised in one piece.
    """
    import torch  # here, because reading does without

    tokens = vectors.shape[-2]
    prompts = torch.tensor([tower.sentence(f"{'X ' * tokens}{name}.") for name in names])  # (C, 77)
    embedded = tower.token_table.detach().float().cpu()[prompts]  # (C, 77, W)
    state = OrderedDict(
        ctx=torch.from_numpy(vectors.copy()),
        token_prefix=embedded[:, :1].clone(),
        token_suffix=embedded[:, 1 + tokens :].clone(),
    )
    content = {"state_dict": state, "epoch": epochs, "optimizer": None, "scheduler": None, "val_result": None}
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


# --------------------------------------------------------------------------- what the content means


def _checkpoint(content: object, bytes_of: _BytesOf, path: Path) -> Checkpoint:
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(state, dict):
        raise BadCheckpoint(path, "it has no state_dict")
    _refuse_other_methods([str(key) for key in state], path)
    vectors = _floats(state, "ctx", bytes_of, path)
    if vectors.ndim not in (2, 3) or not all(vectors.shape) or vectors.shape[-2] > LONGEST:
        wanted = f"(M, W) or (classes, M, W), M up to {LONGEST}"
        raise BadCheckpoint(path, f"its ctx has the shape {vectors.shape}, {wanted}, was expected")
    if not (np.abs(vectors) <= np.finfo(np.float16).max).all():
        raise BadCheckpoint(path, "its ctx holds a value that is not a number, or far too large")
    suffix = _floats(state, "token_suffix", bytes_of, path) if "token_suffix" in state else None
    if suffix is not None:
        _check_suffix(suffix.shape, vectors.shape, path)
    epoch = content.get("epoch")
    return Checkpoint(vectors, suffix, epoch if type(epoch) is int and epoch > 0 else 0)


def _refuse_other_methods(keys: Sequence[str], path: Path) -> None:
    """BadCheckpoint for prompts that are more than a context."""
    if any(key.startswith(("prompt_learner.", "image_encoder.", "text_encoder.")) for key in keys):
        raise BadCheckpoint(path, "it is a whole model, as MaPLe, PromptSRC and LASP save it, not a context")
    if "bias_vectors" not in keys and any(key.startswith("meta_net.") for key in keys):
        raise BadCheckpoint(path, "it has a meta_net, as CoCoOp's, whose context changes with every image")
    if "ctx" not in keys:
        raise BadCheckpoint(path, "it has no ctx, the context of a CoOp checkpoint")
    # KgCoOp and ProGrad learn otherwise, and what they learn is a plain context
    ours = ("ctx", "token_prefix", "token_suffix", "bias_vectors")
    more = next((key for key in keys if key not in ours and not key.startswith("meta_net.")), None)
    if more:
        raise BadCheckpoint(path, f"beside ctx it has '{more:.40}', so it is another method's and more than a context")


def _check_suffix(shape: tuple[int, ...], ctx: tuple[int, ...], path: Path) -> None:
    rest = (PROMPT - 1 - ctx[-2], ctx[-1])
    if len(shape) != 3 or not shape[0] or shape[1:] != rest:
        raise BadCheckpoint(
            path, f"its token_suffix has the shape {shape}, (classes, {rest[0]}, {rest[1]}) fits its ctx"
        )
    if len(ctx) == 3 and ctx[0] != shape[0]:
        raise BadCheckpoint(path, f"its ctx is of {ctx[0]} classes, its token_suffix of {shape[0]}")


def _floats(state: Mapping[Any, Any], name: str, bytes_of: _BytesOf, path: Path) -> NDArray[np.float32]:
    tensor = state[name]
    array = tensor.array(bytes_of) if isinstance(tensor, _Tensor) else None
    if array is None or array.dtype.kind != "f":
        raise BadCheckpoint(path, f"its {name} is not a tensor of float16, float32 or float64")
    with np.errstate(over="ignore"):
        return np.array(array, np.float32)


def _rounded(rows: NDArray[np.float32]) -> Iterable[bytes]:
    """Every row as the bytes of its float16 values; adding zero makes one zero of the two."""
    with np.errstate(over="ignore"):
        return (row.tobytes() for row in rows.astype(np.float16) + np.float16(0))


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


# --------------------------------------------------------------------------- what torch.save writes


class _Inert:
    """Stands for whatever else a file names: takes every call, item and state, and does nothing."""

    __slots__ = ()

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return super().__new__(cls)

    def _ignore(self, *_: object, **__: object) -> None:
        pass

    __init__ = __setstate__ = __setitem__ = append = extend = add = __call__ = _ignore  # type: ignore[assignment]


class _Dict(dict[Any, Any]):
    """An OrderedDict or defaultdict; its items come after it is made."""

    __slots__ = ()

    def __init__(self, *_: object) -> None:
        super().__init__()

    def __setstate__(self, _: object) -> None:
        pass


class _Storage(NamedTuple):
    """Where the values of tensors lie, not yet read."""

    kind: str  # a value of _STORAGES, if the file is honest
    key: str
    numel: int

    @property
    def dtype(self) -> np.dtype[Any]:
        if self.kind not in _STORAGES.values():
            raise ValueError("a storage of an unknown kind")
        return np.dtype(self.kind)

    @property
    def n_bytes(self) -> int:
        return self.numel * self.dtype.itemsize


class _Tensor:
    """A view of a storage."""

    def __init__(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
    ) -> None:
        self._storage, self._offset, self._shape, self._strides = storage, offset, shape, strides

    def __setstate__(self, _: object) -> None:
        pass

    def array(self, bytes_of: _BytesOf) -> NDArray[Any]:
        if any(type(number) is not int for number in (self._offset, *self._shape, *self._strides)):
            raise ValueError("a tensor that is not described as torch does")
        dtype, data = self._storage.dtype, bytes_of(self._storage)
        # a stride of zero would make any size of nothing
        if len(data) != self._storage.n_bytes or math.prod(self._shape) > self._storage.numel:
            raise ValueError("a storage is shorter than its tensors say")
        strides = tuple(step * dtype.itemsize for step in self._strides)
        # numpy checks that the view stays inside
        view: NDArray[Any] = np.ndarray(self._shape, dtype, data, self._offset * dtype.itemsize, strides)
        return view


class _Parameter:
    """A tensor that was learned; the tensor itself."""

    def __new__(cls, tensor: Any, *_: object) -> Any:
        return tensor

    def __setstate__(self, _: object) -> None:
        pass


_BytesOf = Callable[[_Storage], bytes]
# nothing here is torch's own, and nothing can be changed by a file: strings, and classes that refuse a state
_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Dict,
    ("collections", "defaultdict"): _Dict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}


def _with_plain_keys(load: Callable[[Any], None], keys: slice) -> Callable[[Any], None]:
    """An opcode's method, for keys of a dictionary or set that lie so on the stack and are no tuples.

    A tuple that holds one tuple twice, and that another twice, and so on, is short in a file and endless to hash.
    """

    def checked(unpickler: Any) -> None:
        if any(type(key) in (tuple, frozenset) for key in unpickler.stack[keys]):
            raise ValueError("a key that is neither a word nor a number")
        load(unpickler)

    return checked


class _Unpickler(pickle._Unpickler):  # the one in Python: the one in C takes gigabytes where a file asks it to
    """An unpickler that imports nothing, and lets nothing be a key whose hash could take for ever."""

    dispatch = pickle._Unpickler.dispatch | {
        opcode[0]: _with_plain_keys(pickle._Unpickler.dispatch[opcode[0]], keys)
        for opcode, keys in (
            (pickle.SETITEM, slice(-2, -1)),
            (pickle.SETITEMS, slice(0, None, 2)),
            (pickle.DICT, slice(0, None, 2)),
            (pickle.ADDITEMS, slice(None)),
            (pickle.FROZENSET, slice(None)),
        )
    }

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        return _KNOWN.get((module, name), _Inert)

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":  # a class with its source, in the form before
            return pid[1]
        _, kind, key, _, numel, *_ = pid
        if type(key) is not str or type(numel) is not int:
            raise ValueError("a storage that is not described as torch does")
        storage = _Storage(kind if type(kind) is str else "unknown", key, numel)
        return self.storages.setdefault(storage.key, storage)


def _open_zip(file: IO[bytes]) -> tuple[object, _BytesOf]:
    """The pickled content, and how to read a storage, of the form torch writes since 1.6."""
    archive = zipfile.ZipFile(file)
    (pickled,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    folder = pickled.removesuffix("data.pkl")
    content = _Unpickler(io.BytesIO(_stored(archive, pickled))).load()
    return content, lambda storage: _stored(archive, f"{folder}data/{storage.key}")


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:  # torch never compresses; bombs do
        raise ValueError(f"{name} is compressed")
    return archive.read(name)


def _open_legacy(file: IO[bytes]) -> tuple[object, _BytesOf]:
    """The same of the form before: five pickles in a row, then for each storage its length and its values."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if _Unpickler(file).load() != _LEGACY_MAGIC:
        raise ValueError("not a file of torch.save")
    _version, _system = _Unpickler(file).load(), _Unpickler(file).load()
    unpickler = _Unpickler(file)
    content = unpickler.load()
    begins: dict[str, int] = {}
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        if struct.unpack("<q", file.read(8)) != (storage.numel,):
            raise ValueError(f"storage {key} is not as long as its tensors say")
        begins[storage.key] = file.tell()
        end = file.seek(storage.n_bytes, io.SEEK_CUR)
        if end > size:
            raise ValueError(f"storage {key} is cut off")

    def bytes_of(storage: _Storage) -> bytes:
        file.seek(begins[storage.key])
        return file.read(storage.n_bytes)

    return content, bytes_of
