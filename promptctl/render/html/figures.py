"""Figures: drawn by matplotlib, and made part of the page: its colours, its font, ids of their own, no namespaces.

Lengths are pixels of a page that shows a figure at its own width; every figure scales.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from promptctl.render.html.findings import Bin, Cover, Interval, Matrix
from promptctl.render.text import cut, printable
from promptctl.report import ClassScore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 380
_FONT, _SMALL = 12, 10.5
_NAME = 18  # letters of a class name that there is room for
_POINTS = 400  # of a curve; more are not seen
_NAME_HEIGHT = 14  # of a class beside a heat map; the others are between those named
_SHADES = 8
_BLOCKS = 150  # rows of a heat map at most: of more classes neighbours are one row, or no cell would be seen
# what matplotlib draws in, and what a page in the light or in the dark makes of it
_INK, _MUTED, _LINE, _LEARNED, _OTHER, _WRONG = (f"#0102{n:02x}" for n in range(6))
_COLOURS = dict(
    zip(
        (_INK, _MUTED, _LINE, _LEARNED, _OTHER, _WRONG),
        ("ink", "muted", "line", "learned", "other", "wrong"),
        strict=True,
    )
)
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "promptctl",  # random ids would make every page differ
    "text.parse_math": False,  # a dollar sign in a class name is one
    "font.size": _SMALL,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.labelsize": _SMALL,
    "axes.labelpad": 8,
    "grid.color": _LINE,
    "grid.linewidth": 0.8,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
}
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
_FONTS = re.compile(r"(font-family|stroke-linejoin):[^;]*;\s*")


def intervals(rows: Sequence[tuple[str, Interval]], id: str, title: str, text: str) -> Markup:
    """Fractions with their intervals, one row each; the first is what the page is about."""
    height = 40 * len(rows) + 34
    with _figure(height, left=_room([name for name, _ in rows]), right=66, top=6, bottom=28) as (figure, axes):
        low = min(interval.low for _, interval in rows)
        _percent_axis(axes, min(0.8, max(0.0, np.floor(10 * low - 0.5) / 10)))
        for y, (name, interval) in enumerate(rows):
            colour = _OTHER if y else _LEARNED
            axes.plot([interval.low, interval.high], [y, y], color=colour, linewidth=4, alpha=0.45, clip_on=False)
            axes.plot([interval.value], [y], "o", color=colour, markersize=9, clip_on=False)
            _beside(axes, y, name, f"{100 * interval.value:.1f} %")
        axes.set_ylim(len(rows) - 0.5, -0.5)
        return _inline(figure, id, title, text)


def class_bars(scores: Sequence[ClassScore], id: str, title: str, text: str) -> Markup:
    """What is recognised of each class, and below it in grey what zero-shot recognises."""
    with _figure(34 * len(scores) + 30, left=_room([s.name for s in scores]), right=46, top=4, bottom=26) as (
        figure,
        axes,
    ):
        _percent_axis(axes, 0.0)
        y = np.arange(len(scores))
        for shift, height, colour, values in (
            (-0.16, 0.36, _LEARNED, [score.accuracy for score in scores]),
            (0.2, 0.24, _OTHER, [score.zero_shot_accuracy for score in scores]),
        ):
            axes.barh(y + shift, values, height, color=colour, linewidth=0)
        for row, score in enumerate(scores):
            _beside(axes, row, score.name, f"{100 * score.accuracy:.0f} %")
        axes.set_ylim(len(scores) - 0.5, -0.5)
        return _inline(figure, id, title, text)


def heat_map(matrix: Matrix, id: str, title: str, text: str) -> Markup:
    """The shares of each row: what is right in one colour, what is not in another."""
    rows, columns = matrix.counts.shape
    left = _room(matrix.rows)
    side = WIDTH - left - 8
    named = range(0, rows, max(1, round(_NAME_HEIGHT * columns / side)))
    with _figure(side * rows / columns + 12, left=left, right=8, top=6, bottom=6) as (figure, axes):
        _shade(axes, matrix)
        axes.set_xlim(0, columns)
        axes.set_ylim(rows, 0)
        axes.set_xticks([])
        axes.set_yticks([row + 0.5 for row in named], [_short(matrix.rows[row]) for row in named])
        for spine in axes.spines.values():
            spine.set_visible(True)
        return _inline(figure, id, title, text)


def reliability(bins: Sequence[Bin], id: str, title: str, text: str) -> Markup:
    """Stated probability against the fraction that is right; the larger a point, the more photos."""
    with _square() as (figure, axes):
        axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=1, dashes=(4, 4))
        most = max(one.photos for one in bins)
        for one in bins:
            axes.plot([one.stated] * 2, [one.right.low, one.right.high], color=_LEARNED, linewidth=2, alpha=0.4)
        for one in bins:
            size = (30 + 170 * one.photos / most) ** 0.5
            axes.plot([one.stated], [one.right.value], "o", color=_LEARNED, markersize=size, clip_on=False, zorder=3)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        _percent_ticks(axes.set_xticks)
        _percent_ticks(axes.set_yticks)
        axes.grid()
        axes.set_xlabel("probability stated")
        axes.set_ylabel("of these, right")
        return _inline(figure, id, title, text)


def coverage(learned: Sequence[Cover], zero_shot: Sequence[Cover], id: str, title: str, text: str) -> Markup:
    """What is wrong among the surest answers, by how many of them are taken; zero-shot's in grey."""
    with _square() as (figure, axes):
        most = max(point.risk for point in (*learned, *zero_shot))
        for curve, colour, width in ((zero_shot, _OTHER, 1.6), (learned, _LEARNED, 2.2)):
            seen = _thinned(curve)
            x, y = [point.coverage for point in seen], [point.risk for point in seen]
            axes.plot([0, *x], [y[0], *y], color=colour, linewidth=width, clip_on=False, zorder=3)
            axes.plot(x[-1:], y[-1:], "o", color=colour, markersize=7, clip_on=False, zorder=3)
        axes.set_xlim(0, 1)
        top = min(1.0, max(0.02, 1.15 * most))
        axes.set_ylim(0, top)
        step = next(step for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if top / step <= 5.5)
        _percent_ticks(axes.set_yticks, np.arange(0, top + 1e-9, step))
        _percent_ticks(axes.set_xticks)
        axes.grid()
        axes.set_xlabel("photos answered, the surest first")
        axes.set_ylabel("of these, wrong")
        return _inline(figure, id, title, text)


def _thinned(curve: Sequence[Cover]) -> list[Cover]:
    step = -(-len(curve) // _POINTS)
    return [*curve[:-1:step], curve[-1]]


def _shade(axes: Axes, matrix: Matrix) -> None:
    """Cells as one path for each shade: a hundred classes have ten thousand cells, most of them empty."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    block = -(-matrix.counts.shape[1] // _BLOCKS)
    corners = block * np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)])
    outline = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY]
    for shares, colour in zip(_blocks(matrix, block), (_LEARNED, _WRONG), strict=True):
        shades = np.ceil(shares**0.6 * _SHADES)  # few are to be seen too
        for level in range(1, _SHADES + 1):
            row, column = np.nonzero(shades == level)
            vertices = block * np.stack([column, row], 1)[:, None] + corners  # (cells, 5, 2)
            path = Path(vertices.reshape(-1, 2), np.tile(outline, len(row)))
            if len(row):
                axes.add_patch(PathPatch(path, facecolor=colour, alpha=level / _SHADES, linewidth=0))


def _blocks(matrix: Matrix, block: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The fractions of so many rows that are right, and that are taken for so many columns, each (B, B)."""
    side = -(-matrix.counts.shape[1] // block)
    found = np.zeros((2, side, side))
    row, column = np.nonzero(matrix.counts)
    np.add.at(found, ((row != column).astype(int), row // block, column // block), matrix.counts[row, column])
    right, wrong = found / np.maximum(found.sum((0, 2)), 1)[:, None]
    return right, wrong


@contextmanager
def _figure(height: float, *, left: float, right: float, top: float, bottom: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of WIDTH and one pair of axes with so much room around it; whoever's settings it were."""
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that matplotlib's font lacks: the page's own is used
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - top - bottom) / height)
        axes = figure.add_axes(box)
        axes.patch.set_visible(False)
        figure.patch.set_visible(False)
        yield figure, axes


@contextmanager
def _square() -> Iterator[tuple[Figure, Axes]]:
    with _figure(WIDTH - 70, left=60, right=20, top=12, bottom=48) as drawn:
        yield drawn


def _percent_axis(axes: Axes, first: float) -> None:
    step = 0.25 if first == 0 else 0.2 if first < 0.45 else 0.1 if first < 0.65 else 0.05
    _percent_ticks(axes.set_xticks, np.arange(1, first - 1e-9, -step))
    axes.set_xlim(first, 1)
    axes.set_yticks([])
    axes.grid(axis="x")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _percent_ticks(set_ticks: Callable[[Any, Any], object], at: Any = (0, 0.25, 0.5, 0.75, 1)) -> None:
    set_ticks(at, [f"{100 * value:.3g} %" for value in at])


def _beside(axes: Axes, y: float, name: str, value: str) -> None:
    for x, text, side, colour in ((0.0, _short(name), "right", _INK), (1.0, value, "left", _INK)):
        axes.annotate(
            text,
            (x, y),
            (8 if side == "left" else -8, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha=side,
            va="center",
            size=_FONT,
            color=colour,
        )


def _room(names: Sequence[str]) -> float:
    return 16 + 6.9 * max(len(_short(name)) for name in names)


def _short(name: str) -> str:
    return cut(printable(name), _NAME)


def _inline(figure: Figure, id: str, title: str, text: str) -> Markup:
    """The figure as an element of a page.

    id      that all ids in it start with
    title   what a screen reader calls it
    text    what it shows, in a sentence
    """
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", metadata=nothing)
    root = ElementTree.fromstring(file.getvalue())
    _plain(root, id)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-labelledby": f"{id}-title {id}-desc"}
    for name, said in (("desc", text), ("title", title)):
        told = ElementTree.Element(name, {"id": f"{id}-{name}"})
        told.text = printable(said)
        root.insert(0, told)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _plain(element: ElementTree.Element, id: str) -> None:
    """Without namespaces, metadata and a style for the whole page, and with the page's colours."""
    element.tag = element.tag.rpartition("}")[2]
    attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    if attributes.get("transform", "").startswith("rotate(-0 "):  # none at all, of every text
        del attributes["transform"]
    attributes = {key: _rewritten(key, value, id) for key, value in attributes.items()}
    if "id" in attributes:
        attributes["id"] = f"{id}-{attributes['id']}"
    if "href" in attributes:
        attributes["href"] = f"#{id}-{attributes['href'].removeprefix('#')}"
    element.attrib = attributes
    element.tail = None
    if not (element.text or "").strip():
        element.text = None
    for child in list(element):
        if child.tag.rpartition("}")[2] in ("metadata", "style"):
            element.remove(child)
        else:
            _plain(child, id)


def _rewritten(key: str, value: str, id: str) -> str:
    value = _REFERENCE.sub(rf"url(#{id}-\1)", value)
    if key != "style":
        return _NUMBER.sub(lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), " ".join(value.split()))
    for colour, name in _COLOURS.items():
        value = value.replace(colour, f"var(--{name})")
    return _FONTS.sub("", value)
