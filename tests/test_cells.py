"""The mark before cells that a spreadsheet would compute."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from promptctl.cells import escape, unescape

RISKY = "=+-@\t\r'"


@given(st.text(st.sampled_from([*RISKY, "a", "1", "\n"]), max_size=6) | st.text())
def test_every_cell_comes_back(cell):
    assert unescape(escape(cell)) == cell


@given(st.text(st.sampled_from(RISKY), min_size=1, max_size=4))
def test_no_cell_is_a_formula(cell):
    assert not escape(cell).startswith(tuple("=+-@\t\r"))


def test_what_is_marked_and_what_is_not():
    marked = {"=1+1": "'=1+1", "-dash.png": "'-dash.png", "'=x": "''=x", "''x": "'''x", "\rx": "'\rx", "@": "'@"}
    assert {cell: escape(cell) for cell in marked} == marked
    for cell in ("", "'", "'a", "'til dawn", "a=b", "1", " =1", "émeu"):
        assert escape(cell) == unescape(cell) == cell
