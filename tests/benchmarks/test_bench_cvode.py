"""The smallest case of `benchmarks/cvode.py`."""

import json

import pytest


pytest.importorskip("sksundae")

from benchmarks import cvode


@pytest.mark.slow
def test_rows_compare_with_cvode():
    rows = cvode.main(width=2, times=(2.0,), samples=50, repeats=1)
    assert [row["result"] for row in rows] == ["successful"] * 2
    assert all(row["error"] < 300 * row["rtol"] for row in rows)
    assert all(row["ratio"] > 0 for row in rows)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
