"""The common shape of reports: rows for tables and CSV, a record for JSON, a summary for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from promptctl.errors import RowsTaken
from promptctl.report.frame import check_pandas, frame_of

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class SkippedFile:
    """A file that could not be used, and why."""

    path: Path
    reason: str

    def record(self) -> Row:
        return {"path": self.path, "reason": self.reason, "type": "error"}

    def entry(self) -> None:
        """JSON names it after the rows."""

    row = cell_row = entry  # no table has it

    def plain(self) -> None:
        """Nor does -q, which says what was found."""


class Item(Protocol):
    """One of the many things that a report finds, as each format says it; None where a format leaves it out."""

    def record(self) -> Row:
        """A line of JSON lines."""

    def entry(self) -> Row | None:
        """An element of the JSON array."""

    def row(self) -> Row | None:
        """A row of CSV."""

    def cell_row(self) -> Row | None:
        """A row of the table that a person sees."""

    def plain(self) -> tuple[str, ...] | None:
        """What -q prints of it; the last part is a path, which may be of any bytes."""


@dataclass(frozen=True)
class Chart:
    """Numbers that a terminal shows as a row of bars."""

    title: str
    values: tuple[float, ...]  # from 0
    words: str  # what stands behind them
    highest: float | None = None  # of a full bar; None: of the largest value


@dataclass(frozen=True)
class Report:
    """Common shape: `rows` for tables and CSV, `record` for JSON, `summary` for people; the rest goes to stderr."""

    type: ClassVar[str] = "report"

    def rows(self) -> list[Row]:
        return []

    def tables(self) -> list[list[Row]]:
        """What a person sees on a terminal; the rows, unless a report has more to say."""
        return [self.rows()]

    def spare(self) -> list[str]:
        """Columns that a narrow terminal leaves out, the first of them first."""
        return []

    def records(self) -> list[Row]:
        """What JSON lines hold; the rows, unless they are flattened there."""
        return self.rows()

    def summary(self) -> list[str]:
        return []

    def charts(self) -> list[Chart]:
        """What a person sees below the tables on a terminal."""
        return []

    def closing(self) -> list[str]:
        """What a person reads below the tables on a terminal."""
        return []

    def warnings(self) -> list[str]:
        return []

    def notes(self) -> list[str]:
        """What is said on stderr although nothing is wrong."""
        return []

    def advice(self) -> list[str]:
        """What to type next."""
        return []

    def names(self) -> list[str]:
        """What -q prints, one per line."""
        return []

    def columns(self) -> list[str]:
        """The columns of CSV, there even when no row is."""
        return list(dict.fromkeys(key for row in self.rows() for key in row))

    def complaint(self) -> str | None:
        """Why this is a failure although there is a result to show."""
        return None

    @property
    def exit_code(self) -> int:
        return 0

    def record(self) -> Row:
        return {"schema_version": SCHEMA_VERSION, "type": self.type, **dataclasses.asdict(self)}

    def to_pandas(self) -> pd.DataFrame:
        """The rows of the CSV as a data frame; ExtraMissing without pandas."""
        return frame_of(self.columns(), self.rows())

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from promptctl.render.notebook import notebook_page

        return notebook_page(self)


@dataclass
class _Kept:
    """The items of a stream that somebody wants to see again, and where it stands."""

    items: list[Item] = field(default_factory=list)
    stream: Iterator[Item] | None = None
    were_taken: bool = False  # some others have come and gone
    has_ended: bool = False


@dataclass(frozen=True)
class StreamedReport(Report):
    """A report whose rows come one at a time, each as soon as it is found: a head, the rows, and what is said last.

    `items` gives each once. Those that a data frame or a notebook asked for are kept, and come again. Until it has come
    to its end nobody knows what stands below the rows: closing, warnings, exit code.
    """

    array: ClassVar[str]  # the key of the items in JSON
    is_endless: ClassVar[bool] = False  # so that nobody takes items to show a few

    _kept: _Kept = field(default_factory=_Kept, init=False, repr=False, compare=False)

    def found_items(self) -> Iterator[Item]:
        """The items as they are found, asked for once."""
        raise NotImplementedError

    def items(self) -> Iterator[Item]:
        yield from tuple(self._kept.items)
        try:
            for item in self._stream():
                self._kept.were_taken = True
                yield item
        except GeneratorExit:  # the stream refers to the report: whoever lets go of both lets go of what it holds
            self._kept.stream = None
            raise
        self._kept.has_ended = True

    def _stream(self) -> Iterator[Item]:
        self._kept.stream = self._kept.stream or self.found_items()
        return self._kept.stream

    @property
    def were_taken(self) -> bool:
        """Whether items have come that nobody kept."""
        return self._kept.were_taken

    @property
    def has_ended(self) -> bool:
        """Whether all items are kept."""
        return self._kept.has_ended and not self._kept.were_taken

    def first_rows(self, count: int) -> list[Row]:
        """The first rows of the table, which are kept; where they went elsewhere, or never end, those that are kept."""
        rows = [row for item in self._kept.items if (row := item.cell_row()) is not None]
        while len(rows) < count and not (self.were_taken or self.has_ended or self.is_endless):
            if (item := self._keep_next()) and (row := item.cell_row()) is not None:
                rows.append(row)
        return rows[:count]

    def _keep_next(self) -> Item | None:
        try:
            item = next(self._stream(), None)
        except BaseException:  # Ctrl-C, say: what comes no more is not the end
            self._kept.were_taken = True
            raise
        if item is None:
            self._kept.has_ended = True
        else:
            self._kept.items.append(item)
        return item

    def to_pandas(self) -> pd.DataFrame:
        """The rows of the CSV as a data frame; it takes all items, keeps them, and may be asked for again.

        raises   RowsTaken where items have gone another way before, ExtraMissing without pandas
        """
        check_pandas()
        if self.were_taken:
            raise RowsTaken(self.type)
        while self._keep_next():
            pass
        return frame_of(self.columns(), [row for item in self._kept.items if (row := item.row()) is not None])

    def samples(self) -> Sequence[Row]:
        """Rows of the table with cells as wide as any that will come, so that its columns are known before."""
        raise NotImplementedError

    def head(self) -> Row:
        """What JSON says before the items."""
        return {"schema_version": SCHEMA_VERSION, "type": self.type}

    def tail(self) -> Row:
        """What JSON says after the items, known once they have come."""
        return {}

    def rows(self) -> list[Row]:
        return [row for item in self.items() if (row := item.row()) is not None]

    def tables(self) -> list[list[Row]]:
        return [[row for item in self.items() if (row := item.cell_row()) is not None]]

    def records(self) -> list[Row]:
        return [item.record() for item in self.items()]

    def record(self) -> Row:
        found = [entry for item in self.items() if (entry := item.entry()) is not None]
        return {**self.head(), self.array: found, **self.tail()}
