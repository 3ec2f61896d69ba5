"""Page: an evaluation as one HTML file that needs nothing else, no network, no script, no font."""

from __future__ import annotations

import os
from functools import partial

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from promptctl import __version__
from promptctl.render.html import figures, findings, verdict
from promptctl.render.html.thumbnails import thumbnail
from promptctl.render.html.verdict import Verdict
from promptctl.render.text import printable
from promptctl.report import EvaluateReport, PhotoAnswer

MISTAKES = 48  # thumbnails; some ten kilobytes each
_IN_A_TABLE = 15  # classes of which a confusion matrix is read number by number
_BARS = 20  # classes in one figure
_ALL_BARS = 200
_PAIRS = 12
_ALL_PAIRS = 200


def page(
    report: EvaluateReport, *, backbone: str | None = None, command: str | None = None, made: str | None = None
) -> str:
    """What an evaluation found, for people, with the mistakes' photos as they lie on the disk.

    backbone   what encoded the photos
    command    as it was typed
    made       when, in words; None: it is not said, and the same report gives the same page
    """
    template = _environment().get_template("page.html.j2")
    return template.render(
        report=report,
        verdict=Verdict.of(report.photos),
        names=findings.names_of(report),
        backbone=backbone,
        command=command,
        made=made,
        version=__version__,
        **_classes(report),
        **_confusion(report),
        **_probabilities(report),
        **_mistakes(report),
        draw_intervals=partial(_intervals, report),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("promptctl.render.html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=verdict.percent, between=verdict.between, points=verdict.points, count="{:,}".format
    )
    return environment


def _shown(value: object) -> object:
    """Names of files and classes may be anything: what would hide, turn text around or break the encoding is shown."""
    return value if isinstance(value, Markup) else printable(str(value))


def _intervals(report: EvaluateReport, told: Verdict) -> Markup:
    rows = [(report.context, told.accuracy), ("zero-shot", told.zero_shot)]
    if report.together:
        rows.insert(1, ("one by one", findings.accuracy(findings.alone_right(report.photos))))
    said = "; ".join(f"{name} {verdict.percent(of.value)}, {verdict.between(of)}" for name, of in rows)
    return figures.intervals(rows, "accuracy", "Accuracy with its 95 % interval", f"{said}.")


def _classes(report: EvaluateReport) -> dict[str, object]:
    worst = findings.worst_first(report)
    told = f"Bars of {len(worst)} classes, the one recognised worst first; the table after it has every number."
    parts = [worst[:_BARS], *([worst[_BARS:_ALL_BARS]] if worst[_BARS:] else [])]
    return {
        "worst_classes": worst,
        "recognised": findings.recognised(report),
        "precision": findings.precision(report),
        "bars": [
            figures.class_bars(part, f"bars{i}", "Photos of each class that are recognised", told)
            for i, part in enumerate(parts)
        ],
    }


def _confusion(report: EvaluateReport) -> dict[str, object]:
    matrix, pairs = findings.matrix(report), findings.confused(report)
    told = "Rows are what photos show, columns what was answered, in the same order; the diagonal is right."
    few = len(matrix.columns) <= _IN_A_TABLE
    return {
        "matrix": matrix,
        "in_a_table": few,
        "heat_map": None if few else figures.heat_map(matrix, "confusion-map", "Confusion matrix", told),
        "pairs": pairs[:_PAIRS],
        "more_pairs": pairs[_PAIRS:_ALL_PAIRS],
        "pairs_left_out": len(pairs[_ALL_PAIRS:]),
    }


def _probabilities(report: EvaluateReport) -> dict[str, object]:
    photos = report.photos
    bins = findings.reliability(photos)
    hits, others = findings.right(photos), findings.zero_shot_right(photos)
    curve = findings.covered([photo.probability for photo in photos], hits)
    zero_shot = findings.covered([photo.zero_shot_probability for photo in photos], others)
    return {
        "calibration_verdict": verdict.calibration(photos, findings.accuracy(hits)),
        "coverage_verdict": verdict.covering(curve, len(photos)),
        "bins": bins,
        "reliability": figures.reliability(
            bins,
            "reliability",
            "Reliability diagram",
            "Points on the dashed diagonal are right as often as they say; the table after it has every number.",
        ),
        "covers": findings.at_deciles(curve),
        "coverage": figures.coverage(
            curve,
            zero_shot,
            "risk",
            "Coverage and risk",
            "What is wrong among the surest answers, by how many are taken; the table after it has every number.",
        ),
    }


def _mistakes(report: EvaluateReport) -> dict[str, object]:
    wrong = findings.worst_mistakes(report.photos)
    shown = [(photo, thumbnail(photo), name) for photo, name in _with_names(report, wrong[:MISTAKES])]
    return {"mistakes": shown, "mistakes_in_all": len(wrong), "shots_verdict": verdict.shots_of_mistakes(report)}


def _with_names(report: EvaluateReport, some: list[PhotoAnswer]) -> list[tuple[PhotoAnswer, str]]:
    """Each photo with its path below the folder that all of the evaluation lie in: what is above it is private."""
    try:
        top = os.path.commonpath([os.path.dirname(photo.file) for photo in report.photos])  # noqa: PTH120
        return [(photo, os.path.relpath(photo.file, top)) for photo in some]
    except ValueError:  # of different drives
        return [(photo, photo.file) for photo in some]
