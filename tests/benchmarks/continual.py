"""Continual learning on real photos: four protocols as tables in markdown, and the gates that they have to pass.

    python tests/benchmarks/continual.py FOLDER [FOLDER ...] [--together] [--protocol class|monthly|labels|guard]
                                         [--tasks 5] [--shots 16] [--seeds 1,2,3] [--names NAMES.csv]
                                         [--without joint-5x]

Each FOLDER has train/ and test/ with class folders; --together makes one set of them all. Shots are drawn from train/
as `promptctl learn` draws them, and everything is measured on all of test/: mean ± population deviation over the seeds.
A gate that is about a way that was left out is not computed, and says so.

class      the classes come in tasks, in an order that the seed decides
monthly    two shots of all classes, and then six of some of them every month
labels     a quarter of the labels is wrong in the first version and corrected in the second
guard      updates known to be honest or bad, refused or not; six seeds are as many as the published table has
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accuracy import pool_of
from numpy.typing import NDArray

from promptctl.benchmark import continual, guarding
from promptctl.benchmark.continual import Course, Line
from promptctl.benchmark.forgetting import Measures
from promptctl.benchmark.pool import Pool
from promptctl.benchmark.ways import WAYS, Photos
from promptctl.clip.backbone import Backbone

Lines = Mapping[str, Sequence[Line]]  # by way, one of each seed
Courses = Mapping[str, Sequence[Course]]
Seconds = Sequence[Sequence[float]]  # of each version, of each seed
T = TypeVar("T")
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
    last = Known({way: 100 * float(np.mean([line.last for line in of_way])) for way, of_way in lines.items()})
    pure = Known({way: 100 * float(np.mean([one.pure_forgetting for one in of_way])) for way, of_way in whole.items()})
    seconds = Known({way: [line.seconds for line in of_way] for way, of_way in lines.items()})
    curves = Known({way: np.array(curve(of_way)) for way, of_way in whole.items()})
    gate("G1", lambda: recovers(last, 0.75))
    gate("G1", lambda: passes_halfway(last))
    gate("G1+", lambda: recovers(last, 0.95))
    for way in ("replay-csc", "replay-csc-polish"):
        gate("G2", partial(behind, last, way, "joint-csc", 3))
        gate("G2", partial(forgets, pure, way))
        gate("G2+", partial(behind, last, way, "joint", 1))
    gate("G3", partial(behind, last, "no-features", "replay", 4))
    gate("G8", partial(takes, seconds, "replay-csc", 120))
    gate("G8", partial(takes, seconds, "replay", 600))
    for way in (*CONTEXTS, "replay-head"):
        gate("G8+", partial(takes_at_once, seconds, way, 10))
    gate("head", lambda: ahead_of_references(curves))


Found = tuple[str, bool]  # what there is to say, and whether it is enough


def recovers(last: Mapping[str, float], asked: float) -> Found:
    share = (last["replay"] - last["naive"]) / (last["joint"] - last["naive"])
    said = f"replay recovers {100 * share:.0f} % of the gap from naive to joint, {100 * asked:.0f} % asked"
    return said, share >= asked


def passes_halfway(last: Mapping[str, float]) -> Found:
    ceilings = [way for way in ("joint", "joint-5x") if way in last] or ["joint"]
    halfway = (last["zero-shot"] + max(last[way] for way in ceilings)) / 2
    said = f"replay {last['replay']:.1f}, half-way from zero-shot to joint {halfway:.1f}"
    return said, last["replay"] > halfway


def behind(last: Mapping[str, float], way: str, other: str, allowed: float) -> Found:
    points = last[other] - last[way]
    return f"{way} {points:.1f} points behind {other}, {allowed} allowed", points <= allowed


def forgets(pure: Mapping[str, float], way: str) -> Found:
    return f"pure forgetting of {way} {pure[way]:.1f}, 0.5 allowed", pure[way] <= 0.5


def takes(seconds: Mapping[str, Seconds], way: str, allowed: float) -> Found:
    mean = float(np.mean([sum(of_seed) for of_seed in seconds[way]]))
    return f"{way} {mean:.0f} s for all tasks, {allowed} allowed", mean < allowed


def takes_at_once(seconds: Mapping[str, Seconds], way: str, allowed: float) -> Found:
    slowest = max(of_update for of_seed in seconds[way] for of_update in of_seed[1:])
    return f"slowest update of {way} {slowest:.1f} s, {allowed} allowed", slowest <= allowed


def ahead_of_references(curves: Mapping[str, NDArray[np.float64]]) -> Found:
    ahead = curves["replay-head"] - np.max([curves[way] for way in REFERENCES], 0)
    of_stages = " ".join(f"{100 * points:+.1f}" for points in ahead)
    return f"head against the best of {', '.join(REFERENCES)} by stage: {of_stages}", bool(ahead.min() >= -0.003)


# --------------------------------------------------------------------------- months and corrections


def months(pools: Sequence[Pool], options: argparse.Namespace) -> None:
    courses = by_way(
        course
        for seed in options.seeds
        for course in continual.monthly(photos_of(pools, None, seed), of_every_version(options), seed=seed)
    )
    table_of_courses(courses, [f"month {month}" for month in range(1, continual.MONTHS + 1)])
    means = mean_of_each(courses)
    for way in (*CONTEXTS, "replay-head"):
        gate("G4", partial(falls, means, way))
        gate("G4", partial(rises, means, way))


def mean_of_each(courses: Courses) -> Mapping[str, NDArray[np.float64]]:
    """By way, points of each version."""
    return Known({way: 100 * np.mean([one.accuracies for one in of_way], 0) for way, of_way in courses.items()})


def falls(means: Mapping[str, NDArray[np.float64]], way: str) -> Found:
    worst = float(np.diff(means[way]).min())
    return f"{way}: worst month {worst:+.1f}", worst >= -1


def rises(means: Mapping[str, NDArray[np.float64]], way: str) -> Found:
    gained = float(means[way][-1] - means[way][0])
    return f"{way}: first to last {gained:+.1f}", gained >= 3


def labels(pools: Sequence[Pool], options: argparse.Namespace) -> None:
    courses = by_way(
        course
        for seed in options.seeds
        for course in continual.corrected(photos_of(pools, options.shots, seed), of_every_version(options), seed=seed)
    )
    table_of_courses(courses, ["a quarter wrong", "corrected", "right from the beginning"])
    means = mean_of_each(courses)
    for way in (*CONTEXTS, "replay-head"):
        gate("G5", partial(behind_clean, means, way, 2))
        gate("G5+", partial(behind_clean, means, way, 1))


def behind_clean(means: Mapping[str, NDArray[np.float64]], way: str, allowed: float) -> Found:
    _, mended, clean = means[way]
    return f"{way}: {clean - mended:+.1f} points behind clean, {allowed} allowed", bool(mended >= clean - allowed)


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
    gate("G4b", lambda: (f"{wrongly} of {len(honest)} honest updates refused", wrongly == 0))
    for name, asked in (("G4b", 0.9), ("G4b+", 0.95)):
        gate(name, partial(refuses, caught, len(bad), asked))
    harmless = [one for one in found if not one.harmful]
    harmful = [one for one in found if one.harmful and one.images >= 100]
    print("By what they do to all test images, however they were made:")
    print(f"{sum(one.refused for one in harmless)} of {len(harmless)} that lose at most 2 points refused,", end=" ")
    print(f"{sum(one.refused for one in harmful)} of {len(harmful)} that lose more on 100 images or more.")


def refuses(caught: int, bad: int, asked: float) -> Found:
    said = f"{caught} of {bad} bad updates refused on 100 images or more, {100 * asked:.0f} % asked"
    return said, caught >= asked * bad


# --------------------------------------------------------------------------- how it is written


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    for row in (headings, ["---"] * len(headings), *rows):
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def spread(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    return f"{np.mean(known):.1f} ± {np.std(known):.1f}" if known else ""


class LeftOut(KeyError):
    """A way that a gate is about was not measured."""


class Known(dict[str, T]):
    """What was found of each way; LeftOut for one that was left out."""

    def __missing__(self, way: str) -> T:
        raise LeftOut(way)


def gate(name: str, judge: Callable[[], Found]) -> None:
    """One line: passed, failed, or not computed, for want of a way that was left out."""
    try:
        found, passed = judge()
    except LeftOut as missing:
        print(f"- none {name}: not computed without {missing.args[0]}", flush=True)
        return
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
    if unknown := set(options.without) - set(WAYS):
        parser.error(f"--without {', '.join(sorted(unknown))}: there are {', '.join(WAYS)}")
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
