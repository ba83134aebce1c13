"""The smallest case of `benchmarks/steepest.py`."""

import json

import pytest

from benchmarks import steepest


@pytest.mark.slow
def test_linear_flows_end_at_their_linear_programs():
    rows = steepest.main(("linear",))
    assert [row["case"] for row in rows] == ["linear, l2", "linear, linf", "linear, l1"]
    assert all(row["ok"] and row["missed"] == [] for row in rows)
    assert all(row["ahead"] > 0 for row in rows)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
