"""Torch files: what `torch.save` wrote, read without torch, without running anything in it, and within bounds.

A file may say anything of itself. Its pickle is at most LONGEST_PICKLE long (that of a whole ViT-L/14 is 81 KB), is
written in the opcodes of protocols 2 to 5, and none of them costs more than its own bytes. Dictionaries and tensors
become values, every other name in it an `_Inert`, which takes anything and does nothing. Of the rest of a file only
the storages somebody asks for are read, a slice at a time.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

LONGEST_PICKLE = 1 << 18  # bytes, and of the list of what a zip file holds
LONGEST_STORAGE = 1 << 30  # bytes
_LONGEST_HEADER = 1 << 20  # bytes, of safetensors
_LONGEST_KEY = 1000  # letters
_LONGEST_OF_TRAINING = 1 << 22  # bytes of the pickle of a checkpoint with the state of its optimizer
_MOST_ARGUMENTS = 64
_MOST_AXES = 8
_CHUNK = 1 << 20
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_BFLOAT16 = "bfloat16"  # numpy has no numbers for it
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_SAFETENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": _BFLOAT16}


class Inert:
    """Stands for whatever else a file names: takes every call, item and state, and does nothing."""

    __slots__ = ()

    def __new__(cls, *_: object, **__: object) -> Inert:
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


class Storage(NamedTuple):
    """Where the values of tensors lie, not yet read."""

    kind: str  # a value of _STORAGES, if the file is honest
    key: str
    numel: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the bytes in the file."""
        if self.kind not in _STORAGES.values():
            raise ValueError("a storage of an unknown kind")
        return np.dtype("<u2" if self.kind == _BFLOAT16 else self.kind)

    @property
    def n_bytes(self) -> int:
        return self.numel * self.dtype.itemsize


class Tensor:
    """A view of a storage."""

    __slots__ = ("offset", "shape", "storage", "strides")

    def __init__(
        self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
    ) -> None:
        if type(storage) is not Storage or not (type(shape) is type(strides) is tuple):
            raise ValueError("a tensor that is not described as torch does")
        if len(shape) != len(strides) or len(shape) > _MOST_AXES:
            raise ValueError("a tensor of more axes than any here has")
        if not all(map(_is_count, (offset, *shape, *strides))):
            raise ValueError("a tensor that lies nowhere")
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def __setstate__(self, _: object) -> None:
        pass

    @property
    def is_float(self) -> bool:
        return self.storage.kind in (_BFLOAT16, "<f2", "<f4", "<f8")

    @property
    def is_bfloat16(self) -> bool:
        return self.storage.kind == _BFLOAT16

    def extent(self, first_axis: int = 0) -> int:
        """How many values of the storage there are from the first to the last of a tensor, or of a slice of it."""
        axes = zip(self.shape[first_axis:], self.strides[first_axis:], strict=True)
        return 1 + sum((length - 1) * stride for length, stride in axes)

    @property
    def end(self) -> int:
        return self.offset + self.extent()

    @property
    def is_row_by_row(self) -> bool:
        """Laid out as torch lays out a tensor or a slice of one, so that no value is in two places of it."""
        extent = 1
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if length == 1:
                continue
            if stride < extent:
                return False
            extent = length * stride
        return self.strides[-1:] == (1,) or self.shape[-1:] == (1,)


class _Parameter:
    """A tensor that was learned; the tensor itself."""

    def __new__(cls, tensor: Any, *_: object) -> Any:
        return tensor

    def __setstate__(self, _: object) -> None:
        pass


BeginOf = Callable[[Storage], int]


class TorchFile:
    """An open file of `torch.save`: what is in it, and the values of its tensors."""

    def __init__(self, file: IO[bytes], content: object, begin_of: BeginOf) -> None:
        self.content = content
        self._file, self._begin_of = file, begin_of

    @staticmethod
    def open(file: IO[bytes]) -> TorchFile:
        """Of today's zip form or the one before; any exception at all for what is neither."""
        sipped = _Sipped(file)
        return (_open_zip if zipfile.is_zipfile(sipped) else _open_legacy)(file)

    @staticmethod
    def open_safetensors(file: IO[bytes]) -> TorchFile:
        """The same of a safetensors file: a dictionary of its tensors."""
        return _open_safetensors(file)

    def slices(self, tensor: Tensor) -> Iterator[NDArray[np.float32]]:
        """The values of a tensor that lies row by row, one index of its first axis at a time; ValueError at once."""
        storage = tensor.storage
        if storage.n_bytes > LONGEST_STORAGE:
            raise ValueError("a storage is larger than any context")
        if tensor.end > storage.numel:
            raise ValueError("a tensor goes beyond its storage")
        return self._slices(tensor, self._begin_of(storage))

    def _slices(self, tensor: Tensor, begin: int) -> Iterator[NDArray[np.float32]]:
        kind, dtype, n_bytes = tensor.storage.kind, tensor.storage.dtype, tensor.storage.dtype.itemsize
        strides = tuple(step * n_bytes for step in tensor.strides[1:])
        for index in range(tensor.shape[0]):
            self._file.seek(begin + (tensor.offset + index * tensor.strides[0]) * n_bytes)
            data = _exactly(self._file, tensor.extent(1) * n_bytes)
            view: NDArray[Any] = np.ndarray(tensor.shape[1:], dtype, data, 0, strides)
            yield _as_float32(view, kind)


def foreign_names(file: IO[bytes]) -> tuple[str, ...]:
    """What a file of weights names beside tensors, and torch would refuse to make; nothing of it is run.

    raises   ValueError with a sentence's end, or any exception at all, for what is not of torch.save's zip form
    """
    with zipfile.ZipFile(_Sipped(file, _LONGEST_OF_TRAINING)) as archive:  # type: ignore[arg-type]
        entries = archive.infolist()
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise ValueError("it is a TorchScript archive, which holds a program")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("it is compressed, which torch.save never does")  # bombs are
    (pickled,) = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if pickled.file_size > _LONGEST_OF_TRAINING:
        raise ValueError("it names more tensors than any model has")
    file.seek(_begin_of_entry(file, pickled))
    unpickler = _Unpickler(io.BytesIO(_exactly(file, pickled.file_size)))
    unpickler.load()
    return tuple(dict.fromkeys(unpickler.foreign))


def _as_float32(values: NDArray[Any], kind: str) -> NDArray[np.float32]:
    if kind == _BFLOAT16:  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(values, np.float32)


def _is_count(number: object) -> bool:
    return type(number) is int and 0 <= number < 1 << 63


def _exactly(file: IO[bytes], n_bytes: int) -> bytes:
    data = file.read(n_bytes)
    if len(data) != n_bytes:
        raise ValueError("the file is cut off")
    return data


# --------------------------------------------------------------------------- the pickle

# nothing here is torch's own, and nothing can be changed by a file: strings, and classes that refuse a state
KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Dict,
    ("collections", "defaultdict"): _Dict,
    ("torch._utils", "_rebuild_tensor_v2"): Tensor,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}
# what protocols 2 to 5 write of a checkpoint: no lines of text, no number of more than 255 bytes, no extension codes
_OPCODES = (
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE"),
    *("EMPTY_DICT", "EMPTY_SET", "GLOBAL", "STACK_GLOBAL", "BUILD", "BINPERSID"),
    *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "MEMOIZE"),
)
_Load = Callable[[Any], None]


def _load_of(opcode: str) -> tuple[int, _Load]:
    (code,) = getattr(pickle, opcode)
    return code, pickle._Unpickler.dispatch[code]


def _with_plain_keys(opcode: str, keys: slice) -> tuple[int, _Load]:
    """An opcode whose keys of a dictionary or set lie so on the stack, for keys that are quick to hash and compare.

    A tuple that holds one tuple twice, and that another twice, and so on, is short in a file and endless to hash; of
    large numbers a file may choose many with one hash; two long words that are equal take long to compare.
    """
    code, load = _load_of(opcode)

    def checked(unpickler: Any) -> None:
        if not all(map(_is_plain, unpickler.stack[keys])):
            raise ValueError("a key that is neither a word nor a number")
        load(unpickler)

    return code, checked


def _is_plain(key: object) -> bool:
    if type(key) is str:
        return len(key) <= _LONGEST_KEY
    if type(key) is int:
        return -(1 << 63) <= key < 1 << 63
    return type(key) not in (tuple, frozenset, bytes)


def _with_few_arguments(opcode: str, arguments: int = 1) -> tuple[int, _Load]:
    """An opcode that makes a call: its arguments are copied, so a file could have the same thousands copied often."""
    code, load = _load_of(opcode)

    def checked(unpickler: Any) -> None:
        for given in unpickler.stack[-arguments:]:
            if type(given) not in (tuple, dict) or len(given) > _MOST_ARGUMENTS:
                raise ValueError("a call of more arguments than any here takes")
        load(unpickler)

    return code, checked


class _Unpickler(pickle._Unpickler):  # the one in Python: the one in C takes gigabytes where a file asks it to
    """An unpickler that imports nothing, and that does no more for an opcode than its bytes are worth."""

    dispatch: ClassVar[dict[int, _Load]] = dict(
        [
            *map(_load_of, _OPCODES),
            _with_plain_keys("SETITEM", slice(-2, -1)),
            _with_plain_keys("SETITEMS", slice(0, None, 2)),
            _with_plain_keys("ADDITEMS", slice(None)),
            _with_plain_keys("FROZENSET", slice(None)),
            _with_few_arguments("REDUCE"),
            _with_few_arguments("NEWOBJ"),
            _with_few_arguments("NEWOBJ_EX", 2),
            # as bytes, which take no more room than there are
            (pickle.BYTEARRAY8[0], pickle._Unpickler.dispatch[pickle.BINBYTES8[0]]),
        ]
    )

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, Storage] = {}
        self.foreign: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            self.foreign.append(f"{module}.{name}")
        return KNOWN.get((module, name), Inert)

    def persistent_load(self, pid: Any) -> Any:
        if type(pid) is not tuple or not 4 <= len(pid) <= 6:
            raise ValueError("a storage that is not described as torch does")
        if pid[0] == "module":  # a class with its source, in the form before
            return pid[1]
        _, kind, key, _, numel = pid[:5]
        if type(key) is not str or not _is_plain(key) or not _is_count(numel):
            raise ValueError("a storage that is not described as torch does")
        storage = Storage(kind if type(kind) is str else "unknown", key, numel)
        return self.storages.setdefault(storage.key, storage)


# --------------------------------------------------------------------------- the three forms of file


class _Sipped:
    """A file of which nobody takes more than a sip; zipfile takes whatever size the file itself names."""

    def __init__(self, file: IO[bytes], most: int = LONGEST_PICKLE) -> None:
        self._file, self._most = file, most
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, n_bytes: int = -1) -> bytes:
        data = self._file.read(min(n_bytes, self._most + 1) if n_bytes >= 0 else self._most + 1)
        if len(data) > self._most:
            raise ValueError("more at once than a checkpoint has")
        return data


def _open_zip(file: IO[bytes]) -> TorchFile:
    """The form torch writes since 1.6: a pickle, and each storage in a file of its own."""
    with zipfile.ZipFile(_Sipped(file)) as archive:  # type: ignore[arg-type]
        entries = archive.infolist()
    members = {entry.filename: entry for entry in entries}
    (pickled,) = [name for name in members if name.endswith("/data.pkl")]
    if len(members) != len(entries) or members[pickled].file_size > LONGEST_PICKLE:
        raise ValueError("a name twice, or a pickle larger than any")
    file.seek(_begin_of_entry(file, members[pickled]))
    content = _Unpickler(io.BytesIO(_exactly(file, members[pickled].file_size))).load()
    folder = pickled.removesuffix("data.pkl")

    def begin_of(storage: Storage) -> int:
        entry = members[f"{folder}data/{storage.key}"]
        if entry.file_size != storage.n_bytes:
            raise ValueError("a storage is not as long as its tensors say")
        return _begin_of_entry(file, entry)

    return TorchFile(file, content, begin_of)


def _begin_of_entry(file: IO[bytes], entry: zipfile.ZipInfo) -> int:
    """Where the bytes of an entry begin, which are as they were when it was written."""
    # torch never compresses; bombs do
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
        raise ValueError(f"{entry.filename} is compressed or encrypted")
    file.seek(entry.header_offset)
    signature, name, extra = struct.unpack("<4s22xHH", _exactly(file, 30))
    if signature != b"PK\3\4":
        raise ValueError(f"{entry.filename} does not begin where it should")
    begin = file.seek(name + extra, io.SEEK_CUR)
    crc = 0
    for done in range(0, entry.file_size, _CHUNK):
        crc = zlib.crc32(_exactly(file, min(_CHUNK, entry.file_size - done)), crc)
    if crc != entry.CRC:
        raise ValueError(f"{entry.filename} has been changed")
    return begin


def _open_legacy(file: IO[bytes]) -> TorchFile:
    """The form before: five pickles in a row, then for each storage its length and its values."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    pickles = _Pickles(file)
    if pickles.next() != _LEGACY_MAGIC:
        raise ValueError("not a file of torch.save")
    _version, _system, content = pickles.next(), pickles.next(), pickles.next()
    storages, keys = pickles.storages, pickles.next()
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise ValueError("a list of storages that is none")
    begins: dict[str, int] = {}
    for key in keys:
        storage = storages[key]
        if struct.unpack("<q", _exactly(file, 8)) != (storage.numel,):
            raise ValueError(f"storage {key} is not as long as its tensors say")
        begins[key] = file.tell()
        if file.seek(storage.n_bytes, io.SEEK_CUR) > size:
            raise ValueError(f"storage {key} is cut off")

    return TorchFile(file, content, lambda storage: begins[storage.key])


class _Pickles:
    """Pickles in a row, all of them together no longer than one may be."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, LONGEST_PICKLE
        self.storages: Mapping[str, Storage] = {}  # of the last one

    def next(self) -> object:
        begin = self._file.tell()
        data = io.BytesIO(self._file.read(self._left))
        unpickler = _Unpickler(data)
        content: object = unpickler.load()
        self.storages = unpickler.storages
        self._left -= data.tell()
        self._file.seek(begin + data.tell())
        return content


def _open_safetensors(file: IO[bytes]) -> TorchFile:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    (length,) = struct.unpack("<Q", _exactly(file, 8))
    if length > min(_LONGEST_HEADER, size - 8):
        raise ValueError("a header longer than the file or than any")
    described = json.loads(_exactly(file, length))
    begins: dict[str, int] = {}
    content: dict[str, object] = {}
    for name, entry in described.items():
        if name == "__metadata__":
            continue
        kind = _SAFETENSORS.get(entry["dtype"])
        if kind is None:
            content[name] = Inert()
            continue
        content[name] = tensor = _whole_tensor(kind, name, tuple(entry["shape"]))
        begin, end = entry["data_offsets"]
        if not (_is_count(begin) and _is_count(end) and end - begin == tensor.storage.n_bytes):
            raise ValueError(f"{name} is not as long as it says")
        if 8 + length + end > size:
            raise ValueError(f"{name} is cut off")
        begins[name] = 8 + length + begin
    return TorchFile(file, content, lambda storage: begins[storage.key])


def _whole_tensor(kind: str, name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor that fills a storage of its own."""
    if len(shape) > _MOST_AXES or not all(map(_is_count, shape)):
        raise ValueError(f"{name} has no shape")
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return Tensor(Storage(kind, name, math.prod(shape)), 0, shape, strides)
