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

    heading: str
    cells: tuple[str, ...]
    is_numeric: bool
    is_path: bool
    is_cut: bool  # a line a row: text is cut where it would be wrapped otherwise

    @cached_property
    def natural(self) -> int:
        return max(map(width, (self.heading, *self.cells)))

    def least(self, line: int, longest_word: int) -> int:
        """The fewest cells that still say something; of a path two fifths of the line."""
        if self.is_numeric:
            return self.natural
        if self.is_cut:
            wanted = 2 * line // 5 if self.is_path else min(_LEAST_CUT, longest_word)
        else:
            wanted = self.longest_word(longest_word)
        return min(self.natural, max(wanted, width(self.heading)))

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

    def lines(self, row: int, room: int) -> list[str]:
        """A cell in lines that fit."""
        cell = self.cells[row]
        if width(cell) <= room:
            return [cell]
        if self.is_cut:
            return [cut_middle(cell, room) if self.is_path else cut(cell, room)]
        return filled([cut_middle(part, room) for part in _parts(cell)], room, _gap(cell))


def table_lines(rows: Sequence[Row], room: int, *, spare: Sequence[str] = (), line_a_row: bool = False) -> list[str]:
    """The rows below each other, or where there is no room for that as lines of `heading: value`.

    spare       columns to go without rather than that, the first of them first
    line_a_row  every row is one line, whatever must be cut for it
    """
    choices = _choices(rows, spare, line_a_row)
    for word, columns, gap in product(_LONGEST_WORDS, choices, _GAPS):
        widths = _widths(columns, room - gap * (len(columns) - 1), room, word)
        if widths and (gap == _GAPS[-1] or widths == [column.natural for column in columns]):
            return _drawn(columns, widths, gap, len(rows))
    return _blocks(rows, room)


def _choices(rows: Sequence[Row], spare: Sequence[str], line_a_row: bool) -> list[list[_Column]]:
    """All columns, then fewer and fewer."""
    keys = columns_in(rows)
    spare = [key for key in spare if key in keys]
    columns = {key: _column(rows, key, line_a_row) for key in keys}
    return [
        [column for key, column in columns.items() if key not in spare[:dropped]] for dropped in range(len(spare) + 1)
    ]


def _column(rows: Sequence[Row], key: str, line_a_row: bool) -> _Column:
    values = [row.get(key) for row in rows]
    return _Column(
        heading=heading(key),
        cells=tuple(printable(as_cell(key, value)) for value in values),
        is_numeric=all(isinstance(value, (int, float)) or value is None for value in values),
        is_path=any(isinstance(value, Path) for value in values),
        is_cut=line_a_row,
    )


def _widths(columns: Sequence[_Column], room: int, line: int, longest_word: int) -> list[int] | None:
    """Cells for every column: the least, then what whole words want, then all of them their share; None: no room."""
    widths = [column.least(line, longest_word) for column in columns]
    if sum(widths) > room:
        return None
    wholes = [max(least, min(c.natural, c.longest_word())) for c, least in zip(columns, widths, strict=True)]
    for wanted in (wholes, [column.natural for column in columns]):
        left = room - sum(widths)
        wants = [want - have for want, have in zip(wanted, widths, strict=True)]
        if wanted is not wholes and not any(column.is_cut for column in columns):
            wants = _shares(wants, left)
        for i, want in enumerate(wants):
            given = min(want, left)
            widths[i] += given
            left -= given
    return widths


def _shares(wants: Sequence[int], left: int) -> list[int]:
    total = sum(wants)
    return [want if total <= left else want * left // total for want in wants]


def _drawn(columns: Sequence[_Column], widths: Sequence[int], gap: int, n_rows: int) -> list[str]:
    head = _line([column.heading for column in columns], columns, widths, gap)
    rule = "─" * (sum(widths) + gap * (len(columns) - 1))
    body = []
    for row in range(n_rows):
        cells = [column.lines(row, room) for column, room in zip(columns, widths, strict=True)]
        body += [_line(parts, columns, widths, gap) for parts in zip_longest(*cells, fillvalue="")]
    return [head, rule, *body]


def _line(cells: Sequence[str], columns: Sequence[_Column], widths: Sequence[int], gap: int) -> str:
    padded = []
    for cell, column, room in zip(cells, columns, widths, strict=True):
        space = " " * (room - width(cell))
        padded.append(space + cell if column.is_numeric else cell + space)
    return (" " * gap).join(padded).rstrip(" ")


def _parts(cell: str) -> list[str]:
    """What a line of a cell may end after: at double spaces where it has any, else between words."""
    return [part for part in cell.split("  ") if part] if "  " in cell else words(cell)


def _gap(cell: str) -> str:
    return "  " if "  " in cell else " "


def _blocks(rows: Sequence[Row], room: int) -> list[str]:
    """For a terminal too narrow for the table: every row as lines of `heading: value`."""
    blocks = [
        [line for key in columns_in(rows) for line in _fact(heading(key), as_cell(key, row.get(key)), room)]
        for row in rows
    ]
    return [line for block in blocks for line in (*block, "")][:-1]


def _fact(title: str, cell: str, room: int) -> list[str]:
    """A cell after its heading; nothing where there is nothing to say."""
    if cell in ("", "–"):
        return []
    fact = f"{title}: {printable(cell)}"
    if width(fact) <= room:
        return [fact]
    first, *others = filled(_parts(fact), room - 2, _gap(fact))
    return [first, *(f"  {line}" for line in others)]
