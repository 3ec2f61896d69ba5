"""A folder of very many photos: how long until the first is read, and what dividing them takes.

    python tests/benchmarks/folders.py [--files 100000] [--classes 100] [--profile]

CPU-seconds of each step that `learn` takes, libraries already imported: what lies there, the first photo read, a
thousand read, and every way to divide so many. The photos are sixteen pixels wide, and no two are the same.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from promptctl.data import images, sampling
from promptctl.data.folder import ImageFolder
from promptctl.data.images import HashedImage


class Enough(Exception):
    """So many files have been read."""


def fill(root: Path, n_files: int, n_classes: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, "JPEG")
    for label in range(n_classes):
        folder = root / f"class{label:03d}"
        folder.mkdir()
        for number in range(n_files // n_classes):
            (folder / f"{number:06d}.jpg").write_bytes(file.getvalue() + f"{label}.{number}".encode())


def timed(what: str, call: Callable[[], object]) -> object:
    started, wall = time.process_time(), time.perf_counter()
    result = call()
    print(f"{what:32} {time.process_time() - started:7.2f} CPU-s {time.perf_counter() - wall:7.2f} s", flush=True)
    return result


def read(folder: ImageFolder, n_files: int) -> None:
    def stop(done: int, _: int) -> None:
        if done >= n_files:
            raise Enough

    try:
        images.hash_images(folder.images, stop)
    except Enough:
        return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        fill(Path(place), options.files, options.classes)
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        folder = ImageFolder.scan(Path(place))
        profile.disable()
        if options.profile:
            pstats.Stats(profile).sort_stats("cumtime").print_stats(30)
            return
        timed("scan", lambda: ImageFolder.scan(Path(place)))
        for n_files in (1, 1000):
            timed(f"read {n_files}", lambda n_files=n_files: read(folder, n_files))
        hashed = tuple(
            HashedImage(image.path, image.label, None, sampling.rank_key(str(i), 0))
            for i, image in enumerate(folder.images)
        )
        one_class = tuple(HashedImage(image.path, "one", None, image.sha256) for image in hashed)
        for name, some in ((f"{options.classes} classes", hashed), ("1 class", one_class)):
            timed(f"sample 16 of {name}", lambda some=some: sampling.sample(some, 16, seed=1))
            timed(f"hold_out of {name}", lambda some=some: sampling.hold_out(some))
            pairs = [i // 2 for i in range(len(some))]
            timed(f"the same in pairs, of {name}", lambda some=some, pairs=pairs: sampling.hold_out(some, groups=pairs))
            timed(f"fifth_of_each of {name}", lambda some=some: sampling.fifth_of_each(some))
            timed(f"at_most 1000 of {name}", lambda some=some: sampling.at_most(some, 1000))


if __name__ == "__main__":
    main()
