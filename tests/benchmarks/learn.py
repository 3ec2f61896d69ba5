"""How long `learn` takes from known features, as a ratio to importing numpy, Pillow and OpenVINO in the same breath.

python tests/benchmarks/learn.py FOLDER [--shots 4] [--runs 5] [--model mini]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = [sys.executable, "-c", "import numpy, PIL.Image, openvino"]


def taken(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """CPU and wall seconds of a command."""
    before, started = os.times(), time.monotonic()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, time.monotonic() - started


def fastest(command: list[str], runs: int, environment: dict[str, str]) -> tuple[float, float]:
    """The least CPU and the least wall seconds of several runs."""
    cpu, wall = zip(*(taken(command, environment) for _ in range(runs)), strict=True)
    return min(cpu), min(wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shots", default="4")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", default="mini")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "PROMPTCTL_HOME": home}
        own = [sys.executable, "-m", "promptctl"]
        learn = [*own, "learn", str(options.folder), "--name", "c", "--shots", options.shots, "--model", options.model]
        taken(learn, environment)
        taken([*own, "evaluate", "c", str(options.folder)], environment)  # keeps what is kept of a backbone
        bare, learned = (fastest(command, options.runs, environment) for command in (BARE, [*learn, "--fresh"]))
    for name, (cpu, wall) in (("bare", bare), ("learn", learned)):
        print(f"{name:6s} {cpu:5.2f} CPU-s {wall:5.2f} s   {cpu / bare[0]:4.1f} and {wall / bare[1]:4.1f} times bare")


if __name__ == "__main__":
    main()
