"""Plot: figures of what was measured. Accuracy by shots, and how a context learned."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

from promptctl.context.card import CurvePoint
from promptctl.report import ComparedRow, VersionScore

KINDS = (".png", ".svg", ".pdf")
_LINE: dict[str, Any] = {"linewidth": 1.6, "markersize": 4}
_TICKS = 12  # versions whose number there is room for


def curve(rows: Sequence[ComparedRow], title: str, kind: str) -> bytes:
    """Accuracy over shots, one line per learner with its spread over seeds; `kind` of KINDS."""
    figure, ((axes,),) = _figure(1)
    shots = sorted({row.shots for row in rows})
    for learner in dict.fromkeys(row.learner for row in rows):
        of_learner = sorted((row for row in rows if row.learner == learner), key=lambda row: row.shots)
        x = [row.shots for row in of_learner]
        mean = [100 * row.mean for row in of_learner]
        is_zero_shot = learner.startswith(("zero-shot", "ensemble"))
        (line,) = axes.plot(x, mean, "o--" if is_zero_shot else "o-", label=learner, **_LINE)
        low = [100 * (row.mean - (row.std or 0)) for row in of_learner]
        high = [100 * (row.mean + (row.std or 0)) for row in of_learner]
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(shots, [str(n) for n in shots])
    axes.set_xlabel("labelled photos per class")
    axes.set_ylabel("top-1 accuracy (%)")
    axes.set_title(title)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize="small")
    return _drawn(figure, kind)


def learning(points: Sequence[CurvePoint], versions: Sequence[VersionScore], title: str, kind: str) -> bytes:
    """How a context learned, and how good its versions are, each where there is something to draw.

    points     of its learning curve
    versions   the oldest first; those without an accuracy are left out
    """
    known = [row for row in versions if row.accuracy is not None]
    figure, (panels,) = _figure(bool(points) + bool(known))
    if points:
        _draw_curve(panels[0], points)
    if known:
        _draw_versions(panels[-1], known)
    figure.suptitle(title)
    return _drawn(figure, kind)


def _draw_curve(axes: Any, points: Sequence[CurvePoint]) -> None:
    """The loss, and on a scale of its own the shots that are right."""
    steps = [point.step for point in points]
    (loss,) = axes.plot(steps, [point.loss for point in points], "o-", color="C0", label="loss", **_LINE)
    beside = axes.twinx()
    percents = [100 * point.accuracy for point in points]
    (right,) = beside.plot(steps, percents, "s-", color="C1", label="shots right", **_LINE)
    axes.set_ylim(bottom=0)
    beside.set_ylim(0, 103)
    axes.set_xlabel("steps")
    axes.set_ylabel("loss", color="C0")
    beside.set_ylabel("shots right (%)", color="C1")
    axes.grid(alpha=0.25)
    axes.legend(handles=[loss, right], frameon=False, fontsize="small", loc="center right")


def _draw_versions(axes: Any, versions: Sequence[VersionScore]) -> None:
    numbers = range(len(versions))  # evenly spaced, however many have gone between two
    for name, line, values in (
        ("the context", "o-", [row.accuracy for row in versions]),
        ("zero-shot", "o--", [row.zero_shot_accuracy for row in versions]),
    ):
        axes.plot(numbers, [None if v is None else 100 * v for v in values], line, label=name, **_LINE)
    shown = numbers[:: 1 + (len(versions) - 1) // _TICKS]
    axes.set_xticks(list(shown), [f"@{versions[i].version}" for i in shown])
    axes.set_xlim(-0.5, len(versions) - 0.5)
    axes.set_xlabel("version")
    axes.set_ylabel("accuracy, as log measures it (%)")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize="small")


def _figure(panels: int) -> tuple[Any, Any]:
    """A figure and the axes of its panels, side by side in one row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # dates and random ids would make every file differ
    pyplot.rcParams["svg.hashsalt"] = "promptctl"
    return pyplot.subplots(1, panels, figsize=(7 if panels == 1 else 11, 4.5), layout="constrained", squeeze=False)


def _drawn(figure: Any, kind: str) -> bytes:
    """The same bytes for the same figure."""
    from matplotlib import pyplot

    file = io.BytesIO()
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(kind)
    with warnings.catch_warnings():  # of a letter in the title that the font lacks
        warnings.simplefilter("ignore")
        figure.savefig(file, format=kind.removeprefix("."), dpi=160, metadata=metadata)
    pyplot.close(figure)
    return file.getvalue()
