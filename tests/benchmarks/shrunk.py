"""JPEGs decoded shrunk: what features lose by it, and what is gained: python shrunk.py COMMAND FOLDER …

    python tests/benchmarks/shrunk.py features birds clothing textures --part train [--megapixels 12] --out train.npz
    python tests/benchmarks/shrunk.py features birds clothing textures --part train --mosaic --out mosaics.npz
    python tests/benchmarks/shrunk.py table train.npz mosaics.npz
    python tests/benchmarks/shrunk.py speed birds

Each folder has train/ and test/ with class folders.

features   every photo blown up to so many megapixels, by another resampler, quality and chroma in turn, then decoded
           whole and at a half, a quarter and an eighth: the features of each, of the picture and of two of its random
           views. --mosaic makes one picture of many photos instead, whose finest detail is real; --plain decodes whole
           at a half and at a quarter, without views.
table      cosine to the features of the full decode, by the least short side that is asked for, in sides of the
           backbone's input; and whether the class is the same, zero-shot and by a context learned from 16 shots.
speed      CPU-milliseconds from a file to pixels and to the backbone's input, at 12, 3 and 0.3 megapixels.
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
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from promptctl.clip.backbone import Backbone
from promptctl.context.context import Context
from promptctl.encoding.decode import decoded
from promptctl.encoding.encoder import ImageEncoder
from promptctl.encoding.files import file_bytes
from promptctl.encoding.shrink import Look
from promptctl.encoding.views import look_of, view

Resampling = Image.Resampling
VARIANTS = tuple(product((75, 85, 95), (0, 2), (Resampling.BICUBIC, Resampling.LANCZOS, Resampling.BILINEAR)))
FACTORS = (1, 2, 4, 8)
VIEWS = (None, 0, 1)  # the picture itself, and two of its random views
SHA = "ab" * 32
ACROSS = 12  # photos in a row of a mosaic


def blown_up(picture: Image.Image, megapixels: float, resampling: Resampling) -> Image.Image:
    times = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
    return picture.resize((round(picture.width * times), round(picture.height * times)), resampling)


def as_jpeg(picture: Image.Image, quality: int, subsampling: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return file.getvalue()


def shrunk(data: bytes, factor: int, size: int) -> Image.Image:
    """The picture as promptctl decodes it for a backbone that needs so much of it."""
    with Image.open(io.BytesIO(data)) as whole:
        detail = min(whole.size) // factor / size
    with decoded(data, Look(size, detail) if factor > 1 else None) as picture:
        return picture


def mosaic(paths: list[Path]) -> Image.Image:
    tiles = [Image.open(path).convert("RGB").resize((300, 300)) for path in paths]
    whole = Image.new("RGB", (300 * ACROSS, 300 * (len(tiles) // ACROSS)))
    for i, tile in enumerate(tiles):
        whole.paste(tile, (300 * (i % ACROSS), 300 * (i // ACROSS)))
    return whole


def pictures(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    """(class, JPEG) of every photo."""
    paths = sorted(folder.glob(f"{options.part}/*/*"))[:: options.step]
    if options.mosaic:
        rng = np.random.default_rng(0)
        for _ in range(len(paths) // 20):
            chosen = [paths[i] for i in rng.integers(0, len(paths), ACROSS * (ACROSS - 3))]
            yield "", as_jpeg(mosaic(chosen), 90, 2)
        return
    for i, path in enumerate(paths):
        quality, subsampling, resampling = VARIANTS[i % len(VARIANTS)]
        large = blown_up(Image.open(path).convert("RGB"), options.megapixels, resampling)
        yield path.parent.name, as_jpeg(large, quality, subsampling)


def seen(picture: Image.Image, number: int | None, encoder: ImageEncoder) -> np.ndarray:
    return encoder.preprocess(picture if number is None else view(picture, SHA, number, encoder.size))


def features(options: argparse.Namespace) -> None:
    encoder = Backbone("mini").encoder
    rows, labels, sets, sides = [], [], [], []
    factors, views = ((1, 2, 4), (None,)) if options.plain else (FACTORS, VIEWS)
    for folder in options.folders:
        for label, data in pictures(folder, options):
            decodings = [shrunk(data, factor, encoder.size) for factor in factors]
            inputs = np.stack([seen(picture, number, encoder) for picture in decodings for number in views])
            rows.append(encoder.encode(inputs).reshape(len(factors), len(views), -1))
            sides.append([min(picture.size) / encoder.size for picture in decodings])
            labels.append(label)
            sets.append(str(folder.resolve()))
            if len(rows) % 50 == 0:
                print(len(rows), folder.name, file=sys.stderr, flush=True)
    np.savez(options.out, rows=np.array(rows), labels=labels, sets=sets, sides=sides)


def learned(folder: str) -> Context:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "promptctl", "learn", f"{folder}/train", "--name", "x", "--shots", "16"]
        subprocess.run(command, check=True, env={**os.environ, "PROMPTCTL_HOME": home}, capture_output=True)
        return Context.load(next(Path(home).rglob("1.safetensors")))


def table(options: argparse.Namespace) -> None:
    files = [np.load(path) for path in options.files]
    rows = np.concatenate([file["rows"] for file in files])  # (N, F, V, E)
    sides = np.concatenate([file["sides"] for file in files])  # (N, F)
    sets = np.concatenate([file["sets"] for file in files])
    labels = np.concatenate([file["labels"] for file in files])
    cosines = (rows * rows[:, :1]).sum(-1)  # (N, F, V)
    contexts = {name: learned(name) for name in np.unique(sets[labels != ""])}
    print("asked for | shrunk | cosine least, mean | zero-shot, learned the same | views: least, mean")
    for times in (1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 4.1, 5, 6, 8.2):
        chosen = (sides >= times).sum(1) - 1  # sides fall with the factor
        of = np.arange(len(rows)), chosen
        is_shrunk = chosen > 0
        if not is_shrunk.any():
            continue
        same = []
        for which in ("zero_shot_features", "text_features"):
            agree = []
            for name, context in contexts.items():
                some = is_shrunk & (sets == name) & (labels != "")
                answers = rows[some][:, :, 0] @ getattr(context, which).T  # (n, F, C)
                best = answers.argmax(-1)
                agree += list(best[np.arange(some.sum()), chosen[some]] == best[:, 0])
            same.append(f"{100 * np.mean(agree):6.2f} %" if agree else "-")
        plain, views = cosines[of][is_shrunk, 0], cosines[of][is_shrunk, 1:]
        of_views = f"{views.min():.4f}, {views.mean():.5f}" if views.size else "-"
        of_plain = f"{plain.min():.4f}, {plain.mean():.5f}"
        print(f"{times:5} | {is_shrunk.sum():5d} | {of_plain} | {same[0]}, {same[1]} | {of_views}")
    print("left, in sides | photos | cosine least, mean | views: least, mean")
    for low, high in ((1, 1.25), (1.25, 1.5), (1.5, 2), (2, 2.5), (2.5, 3), (3, 4), (4, 5), (5, 6), (6, 8)):
        some = (sides >= low) & (sides < high)
        some[:, 0] = False
        if some.any():
            plain, views = cosines[some][:, 0], cosines[some][:, 1:]
            of_views = f"{views.min():.4f}, {views.mean():.5f}" if views.size else "-"
            print(f"{low}-{high} | {some.sum()} | {plain.min():.4f}, {plain.mean():.5f} | {of_views}")


def cpu_ms(call: Callable[[], object], rounds: int = 3) -> float:
    """CPU-milliseconds of the quickest of some rounds."""
    found = []
    for _ in range(rounds):
        started = time.process_time()
        call()
        found.append(1000 * (time.process_time() - started))
    return min(found)


def speed(options: argparse.Namespace) -> None:
    encoder = Backbone("mini").encoder
    for megapixels in (12, 3, 0.3):
        options.megapixels, options.mosaic, options.step = megapixels, False, max(1, int(megapixels))
        with tempfile.TemporaryDirectory() as place:
            paths = []
            for folder in options.folders:
                for _, data in pictures(folder, options):
                    paths.append(Path(place) / f"{len(paths)}.jpg")
                    paths[-1].write_bytes(data)
            print(f"{megapixels} megapixels, {len(paths)} photos, CPU-ms each:")
            for name, way in WAYS.items():
                one_by_one = [lambda path=path, way=way: way(path, encoder) for path in paths]
                print(f"  {name:34} {sum(map(cpu_ms, one_by_one)) / len(paths):7.2f}", flush=True)


def read(path: Path, look: Look | None, encoder: ImageEncoder | None) -> None:
    """What promptctl does with a new photo before the tower."""
    with file_bytes(path) as data:
        hashlib.sha256(data).hexdigest()
        with decoded(data, look) as picture:
            if encoder:
                encoder.preprocess(picture)


WAYS: dict[str, Callable[[Path, ImageEncoder], object]] = {
    "Pillow, open and convert": lambda path, _: Image.open(path).convert("RGB"),
    "promptctl, decoded whole": lambda path, _: read(path, None, None),
    "promptctl": lambda path, encoder: read(path, look_of(encoder.size, views=False), None),
    "Pillow, and preprocessed": lambda path, encoder: encoder.preprocess(Image.open(path).convert("RGB")),
    "promptctl, whole and preprocessed": lambda path, encoder: read(path, None, encoder),
    "promptctl, and preprocessed": lambda path, encoder: read(path, look_of(encoder.size, views=False), encoder),
    "promptctl, for views": lambda path, encoder: read(path, look_of(encoder.size, views=True), None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    of_features = commands.add_parser("features")
    of_features.add_argument("folders", nargs="+", type=Path)
    of_features.add_argument("--part", default="train")
    of_features.add_argument("--megapixels", type=float, default=12)
    of_features.add_argument("--mosaic", action="store_true")
    of_features.add_argument("--plain", action="store_true")
    of_features.add_argument("--step", type=int, default=1)
    of_features.add_argument("--out", required=True)
    of_features.set_defaults(run=features)
    of_speed = commands.add_parser("speed")
    of_speed.add_argument("folders", nargs="+", type=Path)
    of_speed.add_argument("--part", default="test")
    of_speed.set_defaults(run=speed)
    of_table = commands.add_parser("table")
    of_table.add_argument("files", nargs="+")
    of_table.set_defaults(run=table)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
