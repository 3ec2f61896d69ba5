"""The store killed and damaged as often as one has patience for.

    python tests/benchmarks/store.py kill [--times 500]
    python tests/benchmarks/store.py mutate [--times 100000]
    python tests/benchmarks/store.py save [--times 200]

kill     a process that saves, copies, renames, removes, restores and collects garbage is killed at random moments;
         after each the store must hold what was acknowledged, whole
mutate   damaged and made-up context files: each must be a context or one line of refusal, within a second
save     versions a second, beside writing the same bytes to a file with fsync and nothing else
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import payload
from test_crash import kill_at_random
from test_stranger import mutate_many

from promptctl.store.store import Store


def kill(folder: Path, times: int) -> str:
    _, done = kill_at_random(folder / "home", folder / "journal", times)
    return f"{times} kills, {done} operations acknowledged, none lost, none half done"


def mutate(folder: Path, times: int) -> str:
    mutate_many(folder, times)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return f"{times} damaged files, each read or refused in a line within a second; {peak:.0f} MB at most"


def save(folder: Path, times: int) -> str:
    data = payload(1)

    def plain() -> None:
        for number in range(times):
            with (folder / str(number)).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

    def stored() -> None:
        for _ in range(times):
            Store(folder / "home").save("birds", data, new=False)

    seconds = []
    for run in (plain, stored):
        started = time.perf_counter()
        run()
        seconds.append((time.perf_counter() - started) / times * 1000)
    return f"a file and its fsync {seconds[0]:.2f} ms, a version {seconds[1]:.2f} ms, {seconds[1] / seconds[0]:.1f}x"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kill", "mutate", "save"])
    parser.add_argument("--times", type=int)
    options = parser.parse_args()
    run, usual = {"kill": (kill, 500), "mutate": (mutate, 100_000), "save": (save, 200)}[options.what]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        said = run(Path(folder), options.times or usual)
    print(f"{said} ({time.perf_counter() - started:.0f} s)")


if __name__ == "__main__":
    main()
