"""`classify --engine ray` beside the plain pipeline, in pairs, and what the process that asks keeps of many paths.

    python tests/benchmarks/distributed.py PHOTOS --small 2000 --pairs 3    # photos a second, start-up apart
    python tests/benchmarks/distributed.py PHOTOS --paths 1000000           # memory of the driver

PHOTOS is a folder of JPEGs; variants of them are saved again, each with its edges cut off by another pixel, so that no
file is a copy and no cache answers. Both engines start with an empty cache.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

_PATHS_A_TABLE = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--small", type=int, default=2000, metavar="N", help="photos to classify")
    parser.add_argument("--pairs", type=int, default=3, metavar="N", help="runs of each engine, in turn")
    parser.add_argument("--paths", type=int, metavar="N", help="measure the driver's memory for so many paths instead")
    parser.add_argument("--one", choices=("local", "ray"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(_ENGINES[asked.one](asked.photos)))
    elif asked.paths:
        _memory(asked.paths)
    else:
        _pairs(asked.photos, asked.small, asked.pairs)


def _pairs(photos: Path, count: int, pairs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        variants = _variants(photos, Path(folder) / "photos", count)
        print(f"{count} photos, {_load()}")
        ratios = []
        for number in range(pairs):
            order = ("local", "ray") if number % 2 == 0 else ("ray", "local")
            found = {engine: _measured(engine, variants) for engine in order}
            ratios.append(found["ray"]["rate"] / found["local"]["rate"])
            for engine in ("local", "ray"):
                one = found[engine]
                print(
                    f"{engine:>6}: {one['rate']:6.1f} a second, {one['cpu_ms']:5.1f} CPU-ms a photo; "
                    f"first after {one['start']:.1f} s, whole {one['whole']:.1f} s ({_load()})"
                )
            print(f"        ray at {100 * ratios[-1]:.0f} % of local")
        print(f"median: ray at {100 * statistics.median(ratios):.0f} % of local")


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def _variants(photos: Path, into: Path, count: int) -> Path:
    """So many photos, none the copy of another."""
    into.mkdir()
    found = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    for number in range(count):
        with Image.open(found[number % len(found)]) as picture:
            edge = number // len(found)
            box = (edge, edge, picture.width - edge, picture.height - edge)
            picture.convert("RGB").crop(box).save(into / f"{number:06}.jpg", quality=90)
    return into


def _measured(engine: str, photos: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "PROMPTCTL_HOME": home}
        command = [sys.executable, __file__, str(photos), "--one", engine]
        said = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    return dict(json.loads(said.splitlines()[-1]))


@dataclass
class _Clock:
    """When how many photos were done, and what the machine had worked by then."""

    begun: float

    def __post_init__(self) -> None:
        self.points: list[tuple[float, float, int]] = []  # seconds, CPU-seconds of the machine, photos

    def __call__(self, stage: str, done: int, total: int) -> None:
        if done and (not self.points or done > self.points[-1][2]):
            self.points.append((time.monotonic(), _cpu_seconds(), done))

    def facts(self) -> dict[str, float]:
        """The rate between the first photos and the last, so that no start is in it."""
        (first, worked, some), (last, worked_last, all_of_them) = self.points[0], self.points[-1]
        return {
            "rate": (all_of_them - some) / (last - first),
            "cpu_ms": 1000 * (worked_last - worked) / (all_of_them - some),
            "start": first - self.begun,
            "whole": time.monotonic() - self.begun,
        }


def _cpu_seconds() -> float:
    """Of this process and all below it, as far as they live."""
    import psutil

    me = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in [me, *me.children(recursive=True)] if one.is_running())


_WORDS = "emu, flamingo, ibis, pigeon, rooster"


def _local(photos: Path) -> dict[str, float]:
    from promptctl import commands

    clock = _Clock(time.monotonic())
    for _ in commands.classify(photos, words=_WORDS, on_progress=clock).items():
        pass
    return clock.facts()


def _ray(photos: Path) -> dict[str, float]:
    from promptctl import commands

    clock = _Clock(time.monotonic())
    with tempfile.TemporaryDirectory() as folder:
        commands.classify_distributed(photos, words=_WORDS, output=Path(folder) / "out", on_progress=clock)
        return clock.facts()


_ENGINES = {"local": _local, "ray": _ray}


def _memory(count: int) -> None:
    """What a run over so many paths that cannot be read adds to the process that asked for it."""
    from promptctl import commands
    from promptctl.distributed import source
    from promptctl.distributed.shards import Photo

    class Made(source.Wanted):
        def tables(self, tell: source.Tell) -> Iterator[Any]:
            for first in range(0, count, _PATHS_A_TABLE):
                numbers = range(first, min(first + _PATHS_A_TABLE, count))
                tell(len(numbers), source.Counter())
                name = "s3://bucket/photos/of/a/usual/length/{:012}.jpg"
                yield source.table_of([Photo(name.format(number), reason="made up") for number in numbers])

    points: list[tuple[int, float]] = []

    def told(stage: str, done: int, total: int) -> None:
        if not points or done > points[-1][0]:
            points.append((done, _resident()))

    source.Wanted = Made  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        begun, before = time.monotonic(), _resident()
        commands.classify_distributed(folder, words=_WORDS, output=Path(folder) / "out", on_progress=told)
        seconds = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    (some, early), (most, late) = points[len(points) // 5], points[-1]
    print(f"{count:,} paths in {seconds:.0f} s: driver {before:.0f} MB before, {peak:.0f} MB at most")
    a_million = 1e6 * (late - early) / (most - some)
    print(f"from {some:,} to {most:,} paths: {early:.0f} to {late:.0f} MB, {a_million:.0f} MB a million")


def _resident() -> float:
    """MB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()
