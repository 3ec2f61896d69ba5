from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptctl.cells import escape, unescape


@given(st.text(alphabet="'=+-@\t\ra0 ", max_size=6))
def test_a_cell_reads_back_as_it_was(cell):
    assert unescape(escape(cell)) == cell


@given(st.text(alphabet="'=+-@\t\ra0 ", max_size=6))
def test_no_written_cell_is_a_formula(cell):
    assert not escape(cell).startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize(
    ("cell", "written"), [("=1+1", "'=1+1"), ("'=x", "''=x"), ("''", "'''"), ("'tis", "'tis"), ("", "")]
)
def test_only_what_a_spreadsheet_would_take_gets_an_apostrophe(cell, written):
    assert escape(cell) == written
