"""Continual learning on real photos: four protocols as tables in markdown, and the gates that they have to pass.

    python tests/benchmarks/continual.py FOLDER [FOLDER ...] [--together] [--protocol class|monthly|labels|guard]
                                         [--tasks 5] [--shots 16] [--seeds 1,2,3] [--names NAMES.csv]
                                         [--without joint-5x]

Each FOLDER has train/ and test/ with class folders; --together makes one set of them all. Shots are drawn from train/
as `promptctl learn` draws them, and everything is measured on all of test/: mean ± population deviation over the seeds.

class      the classes come in tasks, in an order that the seed decides
monthly    two shots of all classes, and then six of some of them every month
labels     a quarter of the labels is wrong in the first version and corrected in the second
guard      updates known to be honest or bad, refused or not; six seeds are as many as the published table has
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accuracy import pool_of

from promptctl.benchmark import continual, guarding
from promptctl.benchmark.continual import Course, Line
from promptctl.benchmark.forgetting import Measures
from promptctl.benchmark.pool import Pool
from promptctl.benchmark.ways import WAYS, Photos
from promptctl.clip.backbone import Backbone

Lines = Mapping[str, Sequence[Line]]  # by way, one of each seed
Courses = Mapping[str, Sequence[Course]]
REFERENCES = ("joint", "clap", "kernel-ridge", "lda")
CONTEXTS = ("replay", "replay-csc", "replay-csc-polish")


def photos_of(pools: Sequence[Pool], shots: int | None, seed: int) -> Photos:
    """The photos of all pools as one set, classes one after another."""
    parts = [continual.photos_of(pool, shots, seed) for pool in pools]
    first = np.cumsum([0, *(len(part.names) for part in parts)])
    return replace(
        parts[0],
        names=tuple(name for part in parts for name in part.names),
        train=np.concatenate([part.train for part in parts]),
        targets=np.concatenate([part.targets + start for part, start in zip(parts, first, strict=False)]),
        test=np.concatenate([part.test for part in parts]),
        test_targets=np.concatenate([part.test_targets + start for part, start in zip(parts, first, strict=False)]),
        zero_shot=np.concatenate([part.zero_shot for part in parts]),
    )


# --------------------------------------------------------------------------- classes in tasks


def classes_in_tasks(pools: Sequence[Pool], options: argparse.Namespace) -> None:
    lines: defaultdict[str, list[Line]] = defaultdict(list)
    for seed in options.seeds:
        photos = photos_of(pools, options.shots, seed)
        tasks = continual.tasks_of(len(photos.names), options.tasks, seed)
        for line in continual.class_incremental(photos, tasks, options.ways, seed=seed):
            lines[line.way].append(line)
    columns = {
        "Avg": lambda measures: measures.average,
        "forgetting": lambda measures: measures.forgetting,
        "pure": lambda measures: measures.pure_forgetting,
        "learned": lambda measures: measures.learned,
        "forward": lambda measures: measures.fwt,
    }
    table(
        ["way", "Last", *columns, "seconds"],
        (
            [
                way,
                spread([line.last for line in of_way]),
                *(spread([of(line.measures) if line.measures else None for line in of_way]) for of in columns.values()),
                f"{np.mean([sum(line.seconds) for line in of_way]):.1f}",
            ]
            for way, of_way in lines.items()
        ),
    )
    whole = {way: [measures(line) for line in of_way] for way, of_way in lines.items() if of_way[0].measures}
    table(
        ["after task", *map(str, range(1, options.tasks + 1))],
        ([way, *(f"{100 * seen:.1f}" for seen in curve(of_way))] for way, of_way in whole.items()),
    )
    gates_of_classes(lines, whole)


def curve(of_way: Sequence[Measures]) -> list[float]:
    """The accuracy after each task on all classes so far, mean over the seeds."""
    return [float(mean) for mean in np.mean([one.seen for one in of_way], 0)]


def measures(line: Line) -> Measures:
    assert line.measures is not None
    return line.measures


def gates_of_classes(lines: Lines, whole: Mapping[str, Sequence[Measures]]) -> None:
    last = {way: 100 * float(np.mean([line.last for line in of_way])) for way, of_way in lines.items()}
    pure = {way: 100 * float(np.mean([one.pure_forgetting for one in of_way])) for way, of_way in whole.items()}
    seconds = {way: float(np.mean([sum(line.seconds) for line in of_way])) for way, of_way in lines.items()}
    joint = max(last[way] for way in ("joint", "joint-5x") if way in last)
    recovered = (last["replay"] - last["naive"]) / (last["joint"] - last["naive"])
    halfway = (last["zero-shot"] + joint) / 2
    gate("G1", f"replay recovers {100 * recovered:.0f} % of the gap from naive to joint", recovered >= 0.75)
    gate("G1", f"replay {last['replay']:.1f}, half-way from zero-shot to joint {halfway:.1f}", last["replay"] > halfway)
    gate("G1+", f"replay recovers {100 * recovered:.0f} %, 95 % asked", recovered >= 0.95)
    for way in ("replay-csc", "replay-csc-polish"):
        behind, behind_csc = last["joint"] - last[way], last["joint-csc"] - last[way]
        gate("G2", f"{way} {behind_csc:.1f} points behind joint-csc, 3 allowed", behind_csc <= 3)
        gate("G2", f"pure forgetting of {way} {pure[way]:.1f}, 0.5 allowed", pure[way] <= 0.5)
        gate("G2+", f"{way} {behind:.1f} points behind joint, 1 allowed", behind <= 1)
    features = last["replay"] - last["no-features"]
    gate("G3", f"no-features {features:.1f} points behind replay", features <= 4)
    gate("G8", f"class-specific {seconds['replay-csc']:.0f} s, two minutes allowed", seconds["replay-csc"] < 120)
    gate("G8", f"shared {seconds['replay']:.0f} s, ten minutes allowed", seconds["replay"] < 600)
    for way in (*CONTEXTS, "replay-head"):
        slowest = max(seconds for line in lines[way] for seconds in line.seconds[1:])
        gate("G8+", f"slowest update of {way} {slowest:.1f} s, ten seconds allowed", slowest <= 10)
    ahead = np.array(curve(whole["replay-head"])) - np.max([curve(whole[way]) for way in REFERENCES], 0)
    of_stages = " ".join(f"{100 * points:+.1f}" for points in ahead)
    gate("head", f"against the best of {', '.join(REFERENCES)} by stage: {of_stages}", ahead.min() >= -0.003)


# --------------------------------------------------------------------------- months and corrections


def months(pools: Sequence[Pool], options: argparse.Namespace) -> None:
    courses = by_way(
        course
        for seed in options.seeds
        for course in continual.monthly(photos_of(pools, None, seed), of_every_version(options), seed=seed)
    )
    table_of_courses(courses, [f"month {month}" for month in range(1, continual.MONTHS + 1)])
    for way in (*CONTEXTS, "replay-head"):
        mean = 100 * np.mean([course.accuracies for course in courses[way]], 0)
        gate("G4", f"{way}: worst month {np.diff(mean).min():+.1f}", bool(np.diff(mean).min() >= -1))
        gate("G4", f"{way}: first to last {mean[-1] - mean[0]:+.1f}", bool(mean[-1] >= mean[0] + 3))


def labels(pools: Sequence[Pool], options: argparse.Namespace) -> None:
    courses = by_way(
        course
        for seed in options.seeds
        for course in continual.corrected(photos_of(pools, options.shots, seed), of_every_version(options), seed=seed)
    )
    table_of_courses(courses, ["a quarter wrong", "corrected", "right from the beginning"])
    for way in (*CONTEXTS, "replay-head"):
        _, mended, clean = 100 * np.mean([course.accuracies for course in courses[way]], 0)
        gate("G5", f"{way}: {clean - mended:+.1f} points behind clean, 2 allowed", bool(mended >= clean - 2))
        gate("G5+", f"{way}: {clean - mended:+.1f} points behind clean, 1 allowed", bool(mended >= clean - 1))


def of_every_version(options: argparse.Namespace) -> list[str]:
    return [way for way in options.ways if not WAYS[way].last_only]


def by_way(courses: Iterable[Course]) -> Courses:
    found: defaultdict[str, list[Course]] = defaultdict(list)
    for course in courses:
        found[course.way].append(course)
    return found


def table_of_courses(courses: Courses, headings: Sequence[str]) -> None:
    table(
        ["way", *headings, "seconds"],
        (
            [
                way,
                *(spread(version) for version in zip(*(course.accuracies for course in of_way), strict=True)),
                f"{np.mean([sum(course.seconds) for course in of_way]):.1f}",
            ]
            for way, of_way in courses.items()
        ),
    )


# --------------------------------------------------------------------------- the guard


def guard(pools: Sequence[Pool], options: argparse.Namespace) -> None:
    found = [
        one for seed in options.seeds for one in guarding.guarded(photos_of(pools, options.shots, seed), seed=seed)
    ]
    rows = []
    for of in dict.fromkeys((one.update, one.way) for one in found):
        of_update = [one for one in found if (one.update, one.way) == of]
        changes = [-100 * one.drop for one in of_update]
        cells = [[one for one in of_update if one.images == images] for images in guarding.IMAGES]
        refused = [f"{sum(one.refused for one in cell)}/{len(cell)}" for cell in cells]
        beyond = f"{sum(one.beyond for one in cells[-1])}/{len(cells[-1])}"
        rows.append([*of, f"{min(changes):+.1f} .. {max(changes):+.1f}", *refused, beyond])
    table(
        [
            "update",
            "way",
            "change",
            *(f"refused, n={n}" for n in guarding.IMAGES),
            f"bare drop > 2, n={guarding.IMAGES[-1]}",
        ],
        rows,
    )
    honest = [one for one in found if one.honest]
    bad = [one for one in found if not one.honest and one.images >= 100]
    wrongly, caught = sum(one.refused for one in honest), sum(one.refused for one in bad)
    gate("G4b", f"{wrongly} of {len(honest)} honest updates refused", wrongly == 0)
    gate("G4b", f"{caught} of {len(bad)} bad updates refused on 100 images or more, 90 %", caught >= 0.9 * len(bad))
    gate("G4b+", f"{caught} of {len(bad)} bad updates refused on 100 images or more, 95 %", caught >= 0.95 * len(bad))
    harmless = [one for one in found if not one.harmful]
    harmful = [one for one in found if one.harmful and one.images >= 100]
    wrongly, caught = sum(one.refused for one in harmless), sum(one.refused for one in harmful)
    print("By what they do to all test images, however they were made:")
    print(f"{wrongly} of {len(harmless)} that lose at most 2 points refused,", end=" ")
    print(f"{caught} of {len(harmful)} that lose more on 100 images or more.")


# --------------------------------------------------------------------------- how it is written


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    for row in (headings, ["---"] * len(headings), *rows):
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def spread(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    return f"{np.mean(known):.1f} ± {np.std(known):.1f}" if known else ""


def gate(name: str, found: str, passed: bool) -> None:
    print(f"- {'pass' if passed else 'FAIL'} {name}: {found}", flush=True)


PROTOCOLS = {"class": classes_in_tasks, "monthly": months, "labels": labels, "guard": guard}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--protocol", default="class", choices=PROTOCOLS)
    parser.add_argument("--tasks", type=int, default=5)
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--without", type=lambda text: text.split(","), default=[], help="ways that are left out")
    parser.add_argument("--names", type=Path)
    parser.add_argument("--model", default="mini")
    options = parser.parse_args()
    options.ways = [way for way in WAYS if way not in options.without]
    torch.set_num_threads(1)
    backbone = Backbone(options.model)
    pools = [pool_of(folder, options.names, backbone) for folder in options.folders]
    names = [folder.name for folder in options.folders]
    sets = {" + ".join(names): pools} if options.together else {n: [pool] for n, pool in zip(names, pools, strict=True)}
    for name, some in sets.items():
        print(f"\n### {name}: {options.protocol}, seeds {', '.join(map(str, options.seeds))}\n", flush=True)
        started = time.monotonic()
        PROTOCOLS[options.protocol](some, options)
        print(f"\n{time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
