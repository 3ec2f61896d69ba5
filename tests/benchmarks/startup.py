"""What an answer costs from the start of the process, beside importing what it cannot do without.

    python tests/benchmarks/startup.py [PHOTOS] [--model mini] [--times 5]

PHOTOS     class folders to learn from and to classify; painted ones if none are given
baseline   python -c "import numpy, PIL.Image, openvino"

Every command runs so many times in turns with the others, in a home whose features are forgotten where photos are to be
new. CPU-seconds and wall-seconds are the least of its runs; ratios are of CPU-seconds, to the baseline's. The first
answer of a backbone that is not `mini`, which waits for PyTorch and keeps what the others use, is not counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import paint

BASELINE = [sys.executable, "-c", "import numpy, PIL.Image, openvino"]
PROMPTCTL = [sys.executable, "-m", "promptctl"]


@dataclass
class Least:
    """The quickest of some runs of a command."""

    name: str
    command: list[str]
    forgets: bool = False  # the features of photos, before every run
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)  # wall-seconds until something is printed

    def run(self, features: Path) -> None:
        if self.forgets:
            for path in features.parent.glob(f"{features.name}*"):
                path.unlink()
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        with subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            process.stdout.read(1)
            self.first.append(time.perf_counter() - start)
            process.stdout.read()
        self.wall.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if process.returncode:
            raise SystemExit(f"{' '.join(self.command)} ended with {process.returncode}")

    def line(self, baseline: float) -> str:
        cpu, wall, first = min(self.cpu), min(self.wall), min(self.first)
        return f"{self.name:34} {cpu:6.2f} {wall:6.2f} {first:6.2f} {cpu / baseline:6.1f}"


def prepared(folder: Path, photos: Path | None, model: str) -> tuple[Path, Path]:
    """A learned context `it`, five of the photos apart, and the photos as class folders."""
    photos = photos or paint(folder / "photos", images=20)
    few = folder / "few"
    few.mkdir()
    for path in sorted(path for path in photos.rglob("*") if path.is_file())[:5]:
        shutil.copy(path, few)
    learn = [*PROMPTCTL, "learn", str(photos), "--name", "it", "--shots", "4", "--epochs", "5", "--model", model]
    subprocess.run(learn, check=True, capture_output=True)
    subprocess.run([*PROMPTCTL, "classify", str(few), "--prompt", "it"], check=True, capture_output=True)
    return few, photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["PROMPTCTL_HOME"] = str(Path(temporary, "home"))
        few, photos = prepared(Path(temporary), options.photos, options.model)
        features = Path(temporary, "home", "cache", "features.sqlite")
        runs = [
            Least("import numpy, PIL.Image, openvino", BASELINE),
            Least("promptctl --version", [*PROMPTCTL, "--version"]),
            Least("classify 5 new photos", [*PROMPTCTL, "classify", str(few), "--prompt", "it"], forgets=True),
            Least("classify 5 cached photos", [*PROMPTCTL, "classify", str(few), "--prompt", "it"]),
            Least("inspect", [*PROMPTCTL, "inspect", "it"]),
            Least("evaluate, photos new", [*PROMPTCTL, "evaluate", "it", str(photos)], forgets=True),
            Least("evaluate, photos cached", [*PROMPTCTL, "evaluate", "it", str(photos)]),
        ]
        for _ in range(options.times):
            for some in runs:
                some.run(features)
        print(f"{'seconds':34} {'CPU':>6} {'wall':>6} {'first':>6} {'ratio':>6}")
        for some in runs:
            print(some.line(min(runs[0].cpu)))


if __name__ == "__main__":
    main()
