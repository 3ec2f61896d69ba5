"""Frame: the rows of a report as a data frame of pandas, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from promptctl.errors import ExtraMissing

if TYPE_CHECKING:
    import pandas as pd

    from promptctl.report.base import Row


def frame_of(columns: Sequence[str], rows: Sequence[Row]) -> pd.DataFrame:
    """One row for each, with the columns of the CSV in their order.

    Whole numbers and truth values stay what they are where some are missing (Int64, boolean); paths are text.

    raises   ExtraMissing
    """
    check_pandas()
    import pandas as pd

    cells = [[_plain(row.get(key)) for row in rows] for key in columns]
    series = {i: pd.Series(some, dtype=dtype_of(some)) for i, some in enumerate(cells)}
    return pd.DataFrame(series).set_axis(list(columns), axis=1)


def check_pandas() -> None:
    if find_spec("pandas") is None:
        raise ExtraMissing("a data frame", "pandas", "pandas")


def dtype_of(cells: Sequence[object]) -> str:
    """What pandas calls the type that keeps all of them as they are."""
    kinds = {type(cell) for cell in cells if cell is not None}
    is_whole = len(kinds) > 0 and None not in cells
    if kinds == {bool}:
        return "bool" if is_whole else "boolean"
    if kinds == {int}:
        return "int64" if is_whole else "Int64"
    return "float64" if kinds and kinds <= {int, float} else "object"


def _plain(value: Any) -> Any:
    return value if value is None or type(value) in (bool, int, float) else str(value)
