"""Tables on a terminal: numbers whole, paths cut in the middle, text wrapped between its words or cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product, zip_longest
from pathlib import Path

from promptctl.render.text import cut, cut_middle, filled, is_whole, printable, width, words
from promptctl.render.values import as_cell, columns_in, heading
from promptctl.report import Row

_GAPS = (3, 2)  # spaces between columns, where there is room, and where there is not
_LONGEST_WORDS = (24, 16, 10)  # cells; a longer word may be cut, to the first of these if there is room
_LEAST_CUT = 16  # cells of a text that is cut


@dataclass(frozen=True)
class _Column:
    """One column, and how narrow it may become."""

    key: str
    heading: str
    cells: tuple[str, ...]
    is_numeric: bool
    is_path: bool
    is_cut: bool  # one line per row: text is cut where it would be wrapped otherwise

    @cached_property
    def natural(self) -> int:
        return max(map(width, (self.heading, *self.cells)))

    def least(self, line: int, longest_word: int) -> int:
        """The fewest cells that still say something; of a path a third of the line."""
        if self.is_numeric:
            return self.natural
        if self.is_cut:
            desired = line // 3 if self.is_path else min(_LEAST_CUT, longest_word)
        else:
            desired = self.longest_word(longest_word)
        return min(self.natural, max(desired, width(self.heading)))

    def longest_word(self, cut_to: int | None = None) -> int:
        """Cells of the longest word; dates, numbers with a unit and the like count in full, others as they are cut."""
        return max(self._whole, self._longest if cut_to is None else min(self._longest, cut_to))

    @cached_property
    def _words(self) -> set[str]:
        return {word for cell in (self.heading, *self.cells) for word in _parts(cell)}

    @cached_property
    def _whole(self) -> int:
        return max((width(word) for word in self._words if is_whole(word)), default=0)

    @cached_property
    def _longest(self) -> int:
        return max(map(width, self._words), default=0)

    def lines(self, cell: str, available: int) -> list[str]:
        """A cell in lines that fit."""
        if width(cell) <= available:
            return [cell]
        if self.is_cut:
            return [cut_middle(cell, available) if self.is_path else cut(cell, available)]
        return filled([cut_middle(part, available) for part in _parts(cell)], available, _gap(cell))


@dataclass(frozen=True)
class _Layout:
    """Columns and how wide each is drawn."""

    columns: Sequence[_Column]
    widths: Sequence[int]
    gap: int

    @property
    def head(self) -> list[str]:
        rule = "─" * (sum(self.widths) + self.gap * (len(self.columns) - 1))
        return [self._line([column.heading for column in self.columns]), rule]

    def lines(self, cells: Sequence[str]) -> list[str]:
        """One row, in as many lines as its longest cell takes."""
        parts = [
            column.lines(cell, available)
            for column, cell, available in zip(self.columns, cells, self.widths, strict=True)
        ]
        return [self._line(line) for line in zip_longest(*parts, fillvalue="")]

    def _line(self, cells: Sequence[str]) -> str:
        padded = []
        for cell, column, available in zip(cells, self.columns, self.widths, strict=True):
            space = " " * (available - width(cell))
            padded.append(space + cell if column.is_numeric else cell + space)
        return (" " * self.gap).join(padded).rstrip(" ")


class StandingTable:
    """A table whose columns are settled before its rows come; every row is one line, whatever must be cut for it.

    samples   rows with cells as wide as any that will come
    spare     columns to go without rather than that, the first of them first
    """

    def __init__(self, samples: Sequence[Row], available: int, *, spare: Sequence[str] = ()) -> None:
        self._layout = _layout(samples, available, spare, is_cut=True)
        self._available = available
        self._begun = False

    @property
    def head(self) -> list[str]:
        return self._layout.head if self._layout else []

    def lines(self, row: Row) -> list[str]:
        """One row; for a terminal too narrow for the table as lines of `heading: value`, parted by empty ones."""
        if self._layout:
            return self._layout.lines([_cell(column.key, row) for column in self._layout.columns])
        parting = [""] if self._begun else []
        self._begun = True
        return [*parting, *_blocks([row], self._available)]


def table_lines(rows: Sequence[Row], available: int, *, spare: Sequence[str] = ()) -> list[str]:
    """The rows below each other, or where there is no room for that as lines of `heading: value`.

    spare   columns to go without rather than that, the first of them first
    """
    layout = _layout(rows, available, spare, is_cut=False)
    if layout is None:
        return _blocks(rows, available)
    rows_of_cells = zip(*(column.cells for column in layout.columns), strict=True)
    return [*layout.head, *(line for cells in rows_of_cells for line in layout.lines(cells))]


def _layout(rows: Sequence[Row], available: int, spare: Sequence[str], *, is_cut: bool) -> _Layout | None:
    choices = _choices(rows, spare, is_cut)
    for word, columns, gap in product(_LONGEST_WORDS, choices, _GAPS):
        widths = _widths(columns, available - gap * (len(columns) - 1), available, word)
        if widths and (gap == _GAPS[-1] or widths == [column.natural for column in columns]):
            return _Layout(columns, widths, gap)
    return None


def _choices(rows: Sequence[Row], spare: Sequence[str], is_cut: bool) -> list[list[_Column]]:
    """All columns, then fewer and fewer."""
    keys = columns_in(rows)
    spare = [key for key in spare if key in keys]
    columns = {key: _column(rows, key, is_cut) for key in keys}
    return [
        [column for key, column in columns.items() if key not in spare[:dropped]] for dropped in range(len(spare) + 1)
    ]


def _column(rows: Sequence[Row], key: str, is_cut: bool) -> _Column:
    values = [row.get(key) for row in rows]
    return _Column(
        key=key,
        heading=heading(key),
        cells=tuple(_cell(key, row) for row in rows),
        is_numeric=all(isinstance(value, (int, float)) or value is None for value in values),
        is_path=any(isinstance(value, Path) for value in values),
        is_cut=is_cut,
    )


def _widths(columns: Sequence[_Column], available: int, line: int, longest_word: int) -> list[int] | None:
    """Cells for every column: the least, then what whole words want, then all of them their share; None: no room."""
    widths = [column.least(line, longest_word) for column in columns]
    if sum(widths) > available:
        return None
    wholes = [max(least, min(c.natural, c.longest_word())) for c, least in zip(columns, widths, strict=True)]
    for desired in (wholes, [column.natural for column in columns]):
        left = available - sum(widths)
        wants = [want - have for want, have in zip(desired, widths, strict=True)]
        if desired is not wholes and not any(column.is_cut for column in columns):
            wants = _shares(wants, left)
        for i, want in enumerate(wants):
            given = min(want, left)
            widths[i] += given
            left -= given
    return widths


def _shares(wants: Sequence[int], left: int) -> list[int]:
    total = sum(wants)
    return [want if total <= left else want * left // total for want in wants]


def _cell(key: str, row: Row) -> str:
    return printable(as_cell(key, row.get(key)))


def _parts(cell: str) -> list[str]:
    """What a line of a cell may end after: at double spaces where it has any, else between words."""
    return [part for part in cell.split("  ") if part] if "  " in cell else words(cell)


def _gap(cell: str) -> str:
    return "  " if "  " in cell else " "


def _blocks(rows: Sequence[Row], available: int) -> list[str]:
    """For a terminal too narrow for the table: every row as lines of `heading: value`."""
    blocks = [
        [line for key in columns_in(rows) for line in _fact(heading(key), as_cell(key, row.get(key)), available)]
        for row in rows
    ]
    return [line for block in blocks for line in (*block, "")][:-1]


def _fact(title: str, cell: str, available: int) -> list[str]:
    """A cell after its heading; nothing where there is nothing to say."""
    if cell in ("", "–"):
        return []
    fact = f"{title}: {printable(cell)}"
    if width(fact) <= available:
        return [fact]
    first, *others = filled(_parts(fact), available - 2, _gap(fact))
    return [first, *(f"  {line}" for line in others)]
