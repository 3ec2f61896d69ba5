"""Plot: accuracy by shots as a figure."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

from promptctl.report import ComparedRow

KINDS = (".png", ".svg", ".pdf")


def curve(rows: Sequence[ComparedRow], title: str, kind: str) -> bytes:
    """Accuracy over shots, one line per learner with its spread over seeds; `kind` of KINDS."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # dates and random ids would make every file differ
    pyplot.rcParams["svg.hashsalt"] = "promptctl"
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    shots = sorted({row.shots for row in rows})
    for learner in dict.fromkeys(row.learner for row in rows):
        of_learner = sorted((row for row in rows if row.learner == learner), key=lambda row: row.shots)
        x = [row.shots for row in of_learner]
        mean = [100 * row.mean for row in of_learner]
        is_zero_shot = learner.startswith(("zero-shot", "ensemble"))
        (line,) = axes.plot(x, mean, "o--" if is_zero_shot else "o-", label=learner, linewidth=1.6, markersize=4)
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
    file = io.BytesIO()
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(kind)
    with warnings.catch_warnings():  # of a letter in the title that the font lacks
        warnings.simplefilter("ignore")
        figure.savefig(file, format=kind.removeprefix("."), dpi=160, metadata=metadata)
    pyplot.close(figure)
    return file.getvalue()
