"""Checkpoints nobody should have sent: real ones with mistakes in them, and soups of opcodes.

`python tests/hostile.py SEED COUNT REAL-CHECKPOINT…` reads COUNT of them, each with a gigabyte of memory and five
seconds, and prints the first that is neither read nor refused in a sentence; it ends with 1 then.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOM = 10**9  # bytes
SECONDS = 5
CONTENT = b"\x80\x02}X\n\x00\x00\x00state_dict"
NAMES = (b"torch\nFloatStorage", b"torch._utils\n_rebuild_tensor_v2", b"collections\nOrderedDict", b"os\nsystem")
LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: "<B",
    pickletools.TAKEN_FROM_ARGUMENT4: "<i",
    pickletools.TAKEN_FROM_ARGUMENT4U: "<I",
    pickletools.TAKEN_FROM_ARGUMENT8U: "<Q",
}
FIXED = {"uint1": 1, "uint2": 2, "int4": 4, "uint4": 4, "uint8": 8, "float8": 8}


def opcode(rng: random.Random) -> bytes:
    """Any opcode there is, with an argument that may be absurd."""
    op = rng.choice(pickletools.opcodes)
    code = op.code.encode("latin-1")
    if op.arg is None:
        return code
    if op.arg.name in FIXED:
        length = FIXED[op.arg.name]
        return code + rng.choice([bytes(length), b"\xff" * length, b"\1" + bytes(length - 1), rng.randbytes(length)])
    if op.arg.n in LENGTHS:
        form = LENGTHS[op.arg.n]
        most = 1 << 8 * struct.calcsize(form) - 1
        data = b"ctx" * rng.choice([0, 1, 1, 50, 20_000])
        says = rng.choice([len(data) % most, len(data) % most, most - 1, 200, min(1 << 29, most - 1)])
        return code + struct.pack(form, says) + data
    line = rng.choice([b"1", b"-1", b"0x" + b"f" * 50_000, b"9" * 5000, b"1e999", b"'x'", *NAMES])
    return code + line + b"\n" * (1 if b"\n" in line or rng.random() < 0.9 else 2)


def soup(rng: random.Random) -> bytes:
    """Opcodes in a row, some of them over and over, so that what each does to a stack and a memo adds up."""
    parts = [b"\x80" + bytes([rng.choice([2, 2, 3, 4, 5, 6, 255])])]
    parts += [b"c" + name + b"\nq" + bytes([i]) for i, name in enumerate(NAMES)]
    for _ in range(rng.randrange(1, 30)):
        piece = b"".join(sensible(rng) if rng.random() < 0.7 else opcode(rng) for _ in range(rng.randrange(1, 5)))
        parts.append(piece * rng.choice([1, 1, 1, 2, 60, 1000, 50_000]) if len(piece) < 40 else piece)
        if rng.random() < 0.05:
            break
    return b"".join(parts)[: rng.choice([1000, (1 << 18) - 100, 1 << 18, 1 << 23])] + rng.choice(
        [b".", b"", b"e.", b"u."]
    )


def sensible(rng: random.Random) -> bytes:
    """An opcode that a checkpoint may well have, and that does not fail on what lies below."""
    return rng.choice(
        [
            *(
                b"N",
                b"\x88",
                b"K\1",
                b"J\xff\xff\xff\x7f",
                b")",
                b"]",
                b"}",
                b"\x8f",
                b"(",
                b"t",
                b"\x85",
                b"\x86",
                b"\x87",
            ),
            *(
                b"0",
                b"2",
                b"1",
                b"l",
                b"d",
                b"a",
                b"e",
                b"s",
                b"u",
                b"\x90",
                b"\x91",
                b"R",
                b"b",
                b"\x81",
                b"\x92",
                b"Q",
            ),
            *(
                b"h\0",
                b"h\1",
                b"h\2",
                b"h\3",
                b"h\4",
                b"q\4",
                b"\x94",
                b"r\xff\xff\xff\xff",
                b"(h\2)R",
                b"h\3)R",
                b"h\3)\x81",
            ),
            *(b"X\3\0\0\0ctx", b"\x8c\1a", b"\x8a\xff" + b"\xff" * 255, b"\x8a\x08" + b"\xff" * 7 + b"\x1f"),
            *(b"X\3\0\0\0ctxh\4s", b"K\1K\1s", b"(h\4h\4t", b"(h\4h\4e", b"h\4h\4\x86q\4", b"h\3h\4R0"),
            b"\x96" + struct.pack("<Q", rng.choice([1 << 20, 1 << 32, 1 << 62])),
            b"\x95" + struct.pack("<Q", rng.choice([1, 1 << 20, 1 << 62])),
        ]
    )


def as_zip(pickled: bytes, storage: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", storage)
    return file.getvalue()


def as_legacy(pickled: bytes, storage: bytes = b"") -> bytes:
    head = b"".join(pickle.dumps(thing, 2) for thing in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    return head + pickled + pickle.dumps(["0"], 2) + struct.pack("<q", len(storage) // 4) + storage


def tensor(rng: random.Random) -> bytes:
    """Opcodes of a tensor in a state_dict, and of nothing else wrong with the file."""
    number: Callable[[], bytes] = lambda: rng.choice(  # noqa: E731
        [
            b"K\0",
            b"K\1",
            b"K\4",
            b"K\x20",
            b"J\xff\xff\xff\x7f",
            b"J\xff\xff\xff\xff",
            b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
            b"N",
        ]
    )
    shape = b"".join(number() for _ in range(rng.choice([1, 2, 2, 2, 3, 3, 9])))
    if rng.random() < 0.1:
        shape = b"K\xff" * 50_000
    numel = rng.choice([b"K\x80", number()])
    place = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpu" + numel + b"tQ"
    view = b"(" + place + number() + b"(" + shape + b"t(" + (shape if rng.random() < 0.5 else b"K\1K\1") + b"t\x89)tR"
    suffix = b"X\x0c\0\0\0token_suffix" + view + b"s" if rng.random() < 0.3 else b""
    return CONTENT + b"}X\3\0\0\0ctxctorch._utils\n_rebuild_tensor_v2\n" + view + b"s" + suffix + b"s."


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A real file with bytes changed, taken out, doubled or cut off; half the time in its first few thousand."""
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        end = min(len(damaged), rng.choice([len(damaged), 4000])) or 1
        if rng.random() < 0.3:
            damaged = damaged[::-1]  # where the list of a zip file is
        place = rng.randrange(end)
        kind = rng.randrange(5)
        if kind == 0:
            damaged[place : place + 1] = rng.randbytes(1)
        elif kind == 1:
            damaged[place : place + 8] = rng.choice([b"\xff" * 8, bytes(8), struct.pack("<Q", 1 << rng.randrange(64))])
        elif kind == 2:
            del damaged[place : place + rng.choice([1, 4, 100])]
        elif kind == 3:
            damaged[place:place] = damaged[place : place + rng.choice([1, 20, 500])] * rng.choice([1, 3, 1000])
        else:
            damaged[place:place] = opcode(rng)
        if len(damaged) > 1 << 22:
            del damaged[1 << 22 :]
    return bytes(damaged)


def case(rng: random.Random, real: list[bytes]) -> bytes:
    kind = rng.randrange(3)
    if kind == 0 and real:
        return mutated(rng.choice(real), rng)
    storage = bytes(rng.choice([0, 512, 1 << 20]))
    return rng.choice([as_zip, as_legacy])(tensor(rng) if kind == 1 else soup(rng), storage)


def limit_memory() -> None:
    """A gigabyte more than there is now."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))


def outcome(path: Path) -> str:
    from promptctl.context.coop_checkpoint import Checkpoint
    from promptctl.errors import BadCheckpoint

    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        Checkpoint.read(path)
        return "read"
    except BadCheckpoint as error:
        if isinstance(error.__cause__, MemoryError):
            return "needed more than a gigabyte"
        return "refused"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main(seed: int, count: int, real: list[bytes]) -> int:
    import promptctl.context.coop_checkpoint  # noqa: F401  before memory is limited

    limit_memory()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends it
    found: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        for number in range(seed, seed + count):
            path.write_bytes(case(random.Random(number), real))
            begun = time.monotonic()
            found[outcome(path)] += 1
            slowest = max(slowest, time.monotonic() - begun)
            if set(found) - {"read", "refused"}:
                print(f"{number}: {dict(found)}")
                return 1
    print(f"{dict(sorted(found.items()))}, the slowest took {slowest:.2f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{peak} MB at most", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), [Path(name).read_bytes() for name in sys.argv[3:]]))
