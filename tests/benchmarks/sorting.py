"""What sorting survives, and how long it takes: python sorting.py [--kills 100] [--photos 6000] [--out FOLDER]

Kills `apply` of a move, and `undo`, at random times, and counts after each kill photos that stand nowhere, photos whose
bytes changed, and photos in the target that the journal does not have. Beside it a plain mover that writes its record
after every hundred photos, killed as often. Then the time of a plan of 10,000 saved results, of a move and its undo, of
copies, and of `cp -a` and `mv` of the same files.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

CLI = "import sys; sys.argv = ['promptctl', *sys.argv[1:]]; from promptctl.cli.main import main; main()"
PLAIN = """
import json, os, sys
inbox, into, record = sys.argv[1:]
names, moved = sorted(os.listdir(inbox)), []
os.makedirs(into, exist_ok=True)
for name in names:
    os.rename(os.path.join(inbox, name), os.path.join(into, name))
    moved.append(name)
    if len(moved) == 100 or name == names[-1]:
        with open(record, "a") as file:
            file.write("".join(json.dumps(one) + "\\n" for one in moved))
            os.fsync(file.fileno())
        moved = []
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--photos", type=int, default=6000)
    parser.add_argument("--out", type=Path, help="where the files are made, on the disk that is meant")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.out) as folder:
        os.environ["PROMPTCTL_HOME"] = str(Path(folder) / "home")
        if asked.kills:
            survive(Path(folder) / "kills", asked.kills, asked.photos)
            survive_plainly(Path(folder) / "plain", asked.kills, asked.photos)
        take_time(Path(folder) / "time", 10_000)


def make(folder: Path, count: int) -> tuple[Path, Path]:
    """So many small files, each of its own, and what classify would say of them."""
    inbox, results = folder / "inbox", folder / "results.jsonl"
    inbox.mkdir(parents=True)
    with results.open("w") as file:
        for i in range(count):
            path = inbox / f"IMG_{i:05}.jpg"
            path.write_bytes(f"photo {i} ".encode() * 50)
            label = f"class {i % 10}"
            line = {"path": str(path), "label": label, "name": label, "probability": 0.9, "type": "result"}
            file.write(json.dumps(line) + "\n")
    return inbox, results


def state(*roots: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for root in roots for path in root.rglob("*.jpg")}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CLI, *map(str, arguments)], check=True, capture_output=True, text=True)


def killed(arguments: Sequence[object], watched: Path, chance: random.Random) -> bool:
    """Start a program, kill it a random moment after a folder has begun to change; False if it was done before."""
    before = entries(watched)
    with subprocess.Popen(
        [sys.executable, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None and entries(watched) == before:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.3)
        process.kill()
        return process.wait() < 0


def entries(folder: Path) -> int:
    return len(os.listdir(folder)) if folder.is_dir() else 0  # noqa: PTH208


def survive(folder: Path, kills: int, photos: int) -> None:
    inbox, results = make(folder, photos)
    into, plan = folder / "sorted", folder / "plan.jsonl"
    before = state(inbox)
    run("sort", "--from", results, "--into", into, "--move", "--plan", plan)
    every, chance = sorted(before.values()), random.Random(1)
    done = lost = unrecorded = changed = twice = 0
    while done < kills:
        for command in (["apply", plan], ["undo"]):
            while done < kills and killed(["-c", CLI, *command], inbox, chance):
                done += 1
                now = state(inbox, into)
                lost += len(set(every) - set(now.values()))
                changed += len(set(now.values()) - set(every))
                twice += len(now) - len(set(now.values()))
                unrecorded += len({path for path in now if path.startswith(str(into))} - recorded())
    while entries(inbox) < photos:
        run("undo")
    same = state(inbox) == before and not list(into.rglob("*"))
    print(f"{kills} kills of apply and undo, {photos} photos: {lost} lost, {changed} changed, {unrecorded} unrecorded,")
    print(f"  {twice / kills:.1f} in both places after a kill; names and bytes after undo as before: {same}")


def recorded() -> set[str]:
    """Every place that the journal has, also of the photos that it takes back."""
    files = (Path(os.environ["PROMPTCTL_HOME"]) / "journal").glob("*.jsonl")
    return {line.get("to") for file in files for line in lines(file)}


def lines(file: Path) -> Iterator[dict[str, str]]:
    for line in file.read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def survive_plainly(folder: Path, kills: int, photos: int) -> None:
    unrecorded = 0
    inbox, _ = make(folder, photos)
    chance, total = random.Random(1), 0
    for _ in range(kills):
        into, record = folder / "moved", folder / "record"
        shutil.rmtree(into, ignore_errors=True)
        record.unlink(missing_ok=True)
        killed(["-c", PLAIN, inbox, into, record], inbox, random.Random(chance.random()))
        known = set(record.read_text().split()) if record.exists() else set()
        moved = os.listdir(into) if into.is_dir() else []  # noqa: PTH208
        total += len(moved)
        unrecorded += len(moved) - len(known)
        for name in moved:
            (into / name).rename(inbox / name)
    print(f"{kills} kills of a plain mover with a record after every hundred: {unrecorded} of {total} unrecorded")


def take_time(folder: Path, photos: int) -> None:
    inbox, results = make(folder, photos)
    into, plan = folder / "sorted", folder / "plan.jsonl"
    timed("plan of saved results", "sort", "--from", results, "--into", into, "--move", "--plan", plan)
    timed("apply, moving", "apply", plan)
    timed("undo of it", "undo")
    timed("sort, copying", "sort", "--from", results, "--into", into)
    timed("undo of it", "undo")
    started = time.perf_counter()
    subprocess.run(["cp", "-a", inbox, folder / "cp"], check=True)
    print(f"  {time.perf_counter() - started:6.2f} s  cp -a")
    started = time.perf_counter()
    subprocess.run(["mv", inbox, folder / "mv"], check=True)
    print(f"  {time.perf_counter() - started:6.2f} s  mv of the folder as a whole")


def timed(what: str, *arguments: object) -> None:
    started, before = time.perf_counter(), os.times()
    run(*arguments)
    took, after = time.perf_counter() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"  {took:6.2f} s ({cpu:5.2f} s of CPU)  {what}, 10,000 photos")


if __name__ == "__main__":
    main()
