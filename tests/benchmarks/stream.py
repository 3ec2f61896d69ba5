"""The stream of `classify`: images per second against what two cores allow, memory, the first row, a second run.

    python tests/benchmarks/stream.py [--large 200] [--small 2000] [--photos FOLDER] [--loop 60]
    python tests/benchmarks/stream.py --memory 100000

It makes folders of JPEGs of 12 and of 0.3 megapixels, no two files the same, and measures on each:

decode   CPU-seconds of reading, hashing, decoding and preprocessing them one after another
encode   CPU-seconds of the tower on batches of 32 of them
allowed  images per second that these two leave to the cores there are
loop     a plain open_clip loop: Image.open, preprocess, encode_image of 32 at a time; its own start is left out
first    `promptctl classify` of all of them in a new process with an empty cache: rows per second once its batches are
         full, seconds from its start to the first row and to the end, CPU-seconds in all
again    the same command from the cache, beside reading and hashing the files alone

Times of commands are wall time: the machine must be quiet. --memory classifies so many small files with an encoder of
no work, and tells how far the process grew from file 1,000 to the last.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

CLASSES = ("red", "green", "blue")
SIZES = {"large": (4000, 3000), "small": (640, 480)}


def make(folder: Path, count: int, size: tuple[int, int], sources: list[Path]) -> list[Path]:
    """JPEGs of a few pictures; a comment at their end makes every file another."""
    folder.mkdir(parents=True)
    bytes_of = [encoded(picture(size, source, i)) for i, source in enumerate(sources or [None] * 8)]
    paths = [folder / f"{i:06}.jpg" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes_of[i % len(bytes_of)] + str(i).encode())
    return paths


def picture(size: tuple[int, int], source: Path | None, seed: int) -> Image.Image:
    """A photo blown up, or something of as much detail."""
    if source:
        return Image.open(source).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (60, 80, 3)).astype(np.uint8)).resize(size)
    grain = rng.normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def cpu_seconds(call: Callable[[], object]) -> float:
    before = time.process_time()
    call()
    return time.process_time() - before


def alone(paths: list[Path]) -> tuple[float, float]:
    """CPU-seconds per image of decoding, and of the tower."""
    from promptctl.clip.backbone import Backbone
    from promptctl.encoding.decode import decoded
    from promptctl.encoding.files import file_bytes
    from promptctl.encoding.views import look_of

    encoder = Backbone("mini").encoder
    some = paths[: min(len(paths), 128)]
    pixels = []

    def decode() -> None:
        for path in some:
            with file_bytes(path) as data:
                hashlib.sha256(data).hexdigest()
                with decoded(data, look_of(encoder.size, views=False)) as picture:
                    pixels.append(encoder.preprocess(picture))

    decoding = min(cpu_seconds(decode) for _ in range(2)) / len(some)
    batch = np.stack([pixels[i % len(pixels)] for i in range(32)])
    for _ in range(5):  # past the point where the tower is compiled
        encoder.encode(batch)
    encoding = min(cpu_seconds(lambda: encoder.encode(batch)) for _ in range(5)) / len(batch)
    return decoding, encoding


def plain_loop(paths: list[Path]) -> float:
    """Seconds an image of the loop that everybody writes."""
    import open_clip
    import torch

    from promptctl.mini import __path__ as mini

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{next(iter(mini))}")
    model.eval()
    started = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, len(paths), 32):
            batch = torch.stack([preprocess(Image.open(path).convert("RGB")) for path in paths[first : first + 32]])
            model.encode_image(batch, normalize=True)
    return (time.perf_counter() - started) / len(paths)


class Run:
    """`promptctl classify` of a folder in a process of its own."""

    def __init__(self, folder: Path, home: Path) -> None:
        command = [sys.executable, "-m", "promptctl", "classify", str(folder), "--prompt", "c", "--format", "jsonl"]
        before, started = os.times(), time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(home)) as process:
            assert process.stdout is not None
            rows = [time.perf_counter() - started for _ in process.stdout]
        assert process.returncode == 0
        after = os.times()
        self.seconds = time.perf_counter() - started
        self.cpu = after.children_user + after.children_system - before.children_user - before.children_system
        self.rows, self.first, self.last = len(rows), rows[0], rows[-1]
        middle = len(rows) // 4  # where the batches are full
        self.a_second = (len(rows) - middle) / (rows[-1] - rows[middle])


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PROMPTCTL_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}


def learned(folder: Path, home: Path) -> None:
    """A context of the name of c."""
    for i, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for j in range(2):
            Image.new("RGB", (64, 64), tuple(255 - 9 * j if k == i else 0 for k in range(3))).save(
                folder / name / f"{j}.png"
            )
    command = [sys.executable, "-m", "promptctl", "learn", str(folder), "--name", "c", "--epochs", "1", "--shots", "1"]
    subprocess.run(command, env=environment(home), check=True, capture_output=True)


def hash_alone(paths: list[Path]) -> float:
    """Seconds of reading and hashing all files, four at a time."""
    from concurrent.futures import ThreadPoolExecutor

    started = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda path: hashlib.sha256(path.read_bytes()).hexdigest(), paths))
    return time.perf_counter() - started


def speed(name: str, paths: list[Path], home: Path, n_loop: int) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    decoding, encoding = alone(paths)
    allowed = cores / (decoding + encoding)
    print(f"{name}: {len(paths)} files of {paths[0].stat().st_size / 1e6:.2f} MB, {cores} cores", flush=True)
    print(
        f"  decode {1000 * decoding:.1f} CPU-ms, encode {1000 * encoding:.1f} CPU-ms: {allowed:.1f}/s allowed",
        flush=True,
    )
    loop = plain_loop(paths[:n_loop])
    print(f"  plain loop {1 / loop:.1f}/s", flush=True)
    first = Run(paths[0].parent, home)
    print(
        f"  first  {first.a_second:.1f}/s, {first.a_second / allowed:.2f} of what is allowed, "
        f"{first.a_second * loop:.1f} times the loop; first row after {first.first:.1f} s, all {first.rows} after "
        f"{first.seconds:.1f} s ({len(paths) * loop / first.seconds:.1f} times the loop, start included), "
        f"{first.cpu:.1f} CPU-s ({cores * first.seconds:.1f} there were)",
        flush=True,
    )
    again, hashing = Run(paths[0].parent, home), hash_alone(paths)
    print(
        f"  again  {again.seconds:.1f} s ({len(paths) * loop / again.seconds:.1f} times the loop, start included), "
        f"rows in {again.last - again.first:.2f} s, hashing alone {hashing:.2f} s",
        flush=True,
    )


def memory(count: int) -> None:
    """How far a process grows from file 1,000 to file `count`."""
    from promptctl.classification.classifier import Classifier
    from promptctl.data.walk import every_file
    from promptctl.encoding.cache import FeatureCache

    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "photos", count, (64, 48), [])
        files = [one for one in every_file([Path(folder) / "photos"]) if isinstance(one, str)]
        texts = np.eye(3, dtype=np.float32)
        for run in ("first", "again"):
            with FeatureCache(Path(folder) / "cache") as cache:
                answers = Classifier(texts).classify(map(Path, files), _Mean(), cache)
                steps = {1000, *range(0, count, max(1000, count // 5)), count}
                grown = {i: resident() for i, _ in enumerate(answers, 1) if i in steps}
            said = ", ".join(f"{n_bytes:.0f} MB at file {i:,}" for i, n_bytes in grown.items())
            print(f"{run}: {said}", flush=True)


class _Mean:
    """An encoder of no work."""

    fingerprint, width, size = "mean", 3, 224

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        return np.asarray(picture.resize((224, 224)), np.float32).transpose(2, 0, 1)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        means = pixels.mean((2, 3)) + 1
        return means / np.linalg.norm(means, axis=1, keepdims=True)


def resident() -> float:
    """Megabytes of memory this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=int, default=200, help="files of 12 megapixels; 0: none")
    parser.add_argument("--small", type=int, default=2000, help="files of 0.3 megapixels; 0: none")
    parser.add_argument("--photos", type=Path, help="a folder of photos to blow up; otherwise they are made")
    parser.add_argument("--loop", type=int, default=60, help="files of the plain loop")
    parser.add_argument("--memory", type=int, default=0, help="measure memory alone, over so many files")
    options = parser.parse_args()
    if options.memory:
        memory(options.memory)
        return
    sources = sorted(options.photos.rglob("*.jpg"))[:8] if options.photos else []
    with tempfile.TemporaryDirectory() as folder:
        learned(Path(folder) / "classes", Path(folder) / "home")
        for name, count in (("large", options.large), ("small", options.small)):
            if count:
                paths = make(Path(folder) / name, count, SIZES[name], sources)
                speed(name, paths, Path(folder) / "home", options.loop)


if __name__ == "__main__":
    main()
